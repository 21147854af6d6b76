"""`python training/launch.py`: train the detector on Ray."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.markup import escape

from aura_model.config import Config, Device
from aura_model.errors import ConfigError
from aura_model.logging import setup_logging
from aura_model.settings import load_config
from training.command_line import (
    EXIT_FAILED,
    auto_split_option,
    check_writable,
    data_options,
    fail,
    given_overrides,
    run_command,
    settings_options,
    warn,
    whole_number,
)
from training.data.debugset import debug_samples, make_debug_set
from training.data.errors import DatasetError
from training.data.leakage import refuse_leaks
from training.data.manifest import Sample, check_samples, warnings
from training.pairing.partners import training_samples
from training.plan import plan_workers
from training.run_folder import LATEST, RunFolder, anchored

DEBUG_OVERRIDES = (
    "training.epochs=1",
    "training.batch_size=2",
    "training.num_workers=1",
    "training.device=cpu",
    "dataset.video.clips_per_video={train: 1, eval: 1}",
)

GOES_ON = "--resume goes on from the last checkpoint; where there is none yet, start the run again"


def parser() -> argparse.ArgumentParser:
    """The command line's surface."""
    options = argparse.ArgumentParser(
        prog="python training/launch.py",
        description="Train the detector with Ray Data and Ray Train.",
        epilog="Exit status: 0 trained, 1 the run failed, 2 refused before any work, 130 interrupted.",
    )
    data_options(options)
    auto_split_option(options)
    options.add_argument("--num-workers", type=whole_number, metavar="N", help="Ray Train workers")
    options.add_argument("--epochs", type=int, metavar="N")
    options.add_argument("--batch-size", type=int, metavar="N", help="clips per worker and forward pass")
    options.add_argument("--device", help="auto, cpu or cuda; auto takes a GPU per worker where the cluster has any")
    options.add_argument(
        "--resume",
        nargs="?",
        const=LATEST,
        metavar="RUN",
        help="go on with a run of training.output from its last checkpoint, the newest where none is named",
    )
    options.add_argument(
        "--debug",
        action="store_true",
        help="one epoch on four videos on the CPU of this machine, made up where none are",
    )
    settings_options(options)
    return options


def overrides_of(arguments: argparse.Namespace) -> list[str]:
    """The command line as `section.key=value` strings, weakest first."""
    keys = {
        "num_workers": "training.num_workers",
        "epochs": "training.epochs",
        "batch_size": "training.batch_size",
        "device": "training.device",
    }
    return [*(DEBUG_OVERRIDES if arguments.debug else ()), *given_overrides(arguments, keys)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(
        partial(_launch, parser().parse_args(argv)),
        failed=lambda error: fail(EXIT_FAILED, f"the run failed: {error}; once that is mended, {GOES_ON}"),
    )


def _launch(arguments: argparse.Namespace, console: Console) -> int:
    with TemporaryDirectory(prefix="aura-") as scratch:
        return _train(arguments, Path(scratch), console)


def _train(arguments: argparse.Namespace, scratch: Path, console: Console) -> int:
    config, earlier = _configuration(arguments)
    from training.optim.monitor import check_metric  # scikit-learn takes seconds

    check_metric(config.training.monitor.metric)
    if arguments.debug:
        plan_workers(config.training.num_workers, config.training.device, _own_resources(config.training.device))
    samples = _samples(arguments, config, scratch, console)
    console.print(f"{_count(samples, 'train')} training and {_count(samples, 'val')} validation videos")
    from training.run import cluster_plan, ray_cluster, run_training  # Ray takes seconds: bad arguments are told before
    from training.watch.listening import listening
    from training.worker.tally import TrainingError

    check_writable(config.training.output / "checkpoint.pth")
    setup_logging(config.logging)
    target = config.training.output / "debug.pth" if arguments.debug else None
    with ray_cluster(local=arguments.debug):
        plan = cluster_plan(config)
        for warning in plan.warnings:
            warn(console, warning)
        folder = earlier or RunFolder.new(scratch if arguments.debug else _runs(config), config)
        storage = config.training.storage or str(folder.path.parent)
        try:
            with folder.held(), listening(config, folder, console) as listeners:
                outcome = run_training(
                    config, samples, plan, storage=storage, name=folder.name, target=target, listeners=listeners
                )
        except TrainingError as error:
            return fail(EXIT_FAILED, f"training failed: {error.detail}")
    path = outcome.checkpoint
    served = escape(quote(str(path.resolve())))
    console.print(f"wrote {escape(str(path))}; serve it with AURA_INFERENCE__CHECKPOINT={served}")
    return 0


def _configuration(arguments: argparse.Namespace) -> tuple[Config, RunFolder | None]:
    """The configuration, its paths those of this folder, and the earlier run to go on with."""
    overrides = overrides_of(arguments)
    if arguments.resume is None:
        return anchored(load_config(arguments.config, overrides=overrides)), None
    if arguments.config or arguments.debug:
        raise ConfigError("--resume takes the run's own configuration: leave out --config and --debug")
    folder = RunFolder.find(_runs(load_config(overrides=overrides)), arguments.resume)
    config = load_config(folder.config, overrides=overrides)
    folder.refuse_another_course(config)
    return anchored(config), folder


def _runs(config: Config) -> Path:
    return config.training.output / "runs"


def _samples(arguments: argparse.Namespace, config: Config, scratch: Path, console: Console) -> list[Sample]:
    """The checked samples of the run."""
    given = bool(arguments.data_root or arguments.manifest)
    samples = _debug_set(config, given, scratch, console) if arguments.debug else _all_samples(config, given)
    pseudo_fakes = config.dataset.pseudo_fakes.enabled
    check_samples(samples, pseudo_fakes=pseudo_fakes)
    refuse_leaks(samples)
    for warning in () if pseudo_fakes else warnings(samples):
        warn(console, warning)
    return samples


def _all_samples(config: Config, given: bool) -> list[Sample]:
    if given and config.dataset.preprocessing.mode == "preextracted":
        raise ConfigError("a store of clips names its own videos: leave out --data-root and --manifest")
    return training_samples(config)


def _own_resources(device: Device) -> dict[str, float]:
    """What a Ray of this machine alone would have; torch, which takes seconds, is asked only where GPUs matter."""
    cpus = {"CPU": float(os.cpu_count() or 1)}
    if device == "cpu":
        return cpus
    import torch

    return cpus | {"GPU": float(torch.cuda.device_count())}


def _debug_set(config: Config, given: bool, scratch: Path, console: Console) -> list[Sample]:
    """At most four training and four validation videos, genuine ones alone where fakes are made of them."""
    samples = _all_samples(config, given) if given or _has_data(config) else _made_up(config, scratch, console)
    made = config.dataset.pseudo_fakes.enabled
    return debug_samples([sample for sample in samples if not (made and sample.label)])


def _has_data(config: Config) -> bool:
    dataset = config.dataset
    return dataset.preprocessing.mode == "preextracted" or dataset.manifest is not None or dataset.data_root.is_dir()


def _made_up(config: Config, scratch: Path, console: Console) -> list[Sample]:
    root = escape(str(config.dataset.data_root))
    console.print(f"no data in {root}: making a tiny labelled set from the tests' media")
    try:
        return make_debug_set(scratch / "data")
    except FileNotFoundError as error:
        raise DatasetError("dataset_missing", f"{error.filename} is not there: name a data set") from None


def _count(samples: Sequence[Sample], split: str) -> int:
    return sum(sample.split == split for sample in samples)


if __name__ == "__main__":
    sys.exit(main())
