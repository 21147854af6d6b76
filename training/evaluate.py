"""`python training/evaluate.py`: how good a checkpoint is on a split, as figures, a table of scores and a report."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aura_model.analysis import Aggregation
from aura_model.config import Config
from aura_model.errors import ConfigError
from aura_model.intervals import Interval
from aura_model.logging import setup_logging
from aura_model.settings import load_config
from training.command_line import (
    EXIT_FAILED,
    auto_split_option,
    check_writable,
    data_options,
    fail,
    given_overrides,
    make_console,
    refuse_beside_table,
    run_command,
    settings_options,
    warn,
    whole_number,
)
from training.data.leakage import refuse_leaks
from training.data.manifest import Sample, read_samples, samples_of
from training.data.split_warning import split_warning
from training.data.splits import SPLITS
from training.evaluation.evaluation import Evaluation, Level, VideoScore, check_columns, evaluate, video_logit
from training.evaluation.html_parts import counted, show, show_range
from training.evaluation.provenance import (
    CheckpointFacts,
    Provenance,
    describe_checkpoint,
    provenance_of_run,
    provenance_of_table,
)
from training.evaluation.report import FIGURES
from training.evaluation.results import REPORT, SKIPPED, Results, write_results
from training.evaluation.score_table import VideoLines, read_scores, write_scores
from training.evaluation.scored_lines import lines_of
from training.evaluation.thumbnails import FOLDER, Thumbnails, read_thumbnails
from training.run_folder import anchored
from training.watch.video_progress import VideoProgress

if TYPE_CHECKING:
    from training.prediction.model_facts import ModelFacts

TABLE = "predictions.csv"
SCORING_ONLY = ("data_root", "manifest", "auto_split", "split", "save_csv", "num_workers", "device")
"""Options that mean nothing where the scores are there already."""


def parser() -> argparse.ArgumentParser:
    """The command line's surface."""
    options = argparse.ArgumentParser(
        prog="python training/evaluate.py",
        description="Tell how good a checkpoint is on labelled videos, with Ray Data.",
        epilog="Exit status: 0 evaluated, 1 the run failed or too few videos could be scored, 2 refused before any "
        "work, 130 interrupted.",
    )
    what = options.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", type=Path, metavar="FILE", help="the checkpoint to evaluate")
    what.add_argument(
        "--from-csv", type=Path, metavar="FILE", help="a table of scores: make results and report again, without Ray"
    )
    data_options(options)
    auto_split_option(options)
    options.add_argument("--split", choices=SPLITS, help="which videos; default test")
    options.add_argument(
        "--aggregation", choices=get_args(Aggregation), default="mean", help="how the clips of a face make its score"
    )
    options.add_argument(
        "--group-by", action="append", default=[], metavar="COLUMN", help="figures for each value; repeatable"
    )
    options.add_argument("--output", type=Path, default=Path("results"), metavar="DIR", help="default results")
    options.add_argument("--save-csv", type=Path, metavar="FILE", help=f"the table of scores; default DIR/{TABLE}")
    options.add_argument("--num-workers", type=whole_number, metavar="N", help="actors that cut out clips")
    options.add_argument("--device", help="auto, cpu or cuda; auto takes every GPU that the cluster has")
    settings_options(options)
    return options


def overrides_of(arguments: argparse.Namespace) -> list[str]:
    """The command line as `section.key=value` strings, weakest first."""
    return given_overrides(arguments, {"checkpoint": "inference.checkpoint", "device": "inference.device"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = parser().parse_args(argv)
    return run_command(
        partial(_again if arguments.from_csv else _evaluate, arguments),
        failed=lambda error: fail(EXIT_FAILED, f"the evaluation failed: {error}"),
    )


def _again(arguments: argparse.Namespace, console: Console) -> int:
    """Results and report from a table of scores."""
    refuse_beside_table(arguments, SCORING_ONLY)
    config, table = load_config(arguments.config, overrides=overrides_of(arguments)), arguments.from_csv
    videos = read_scores(table)
    check_columns([video.columns for video in videos], arguments.group_by)
    _prepare(arguments.output)
    provenance = provenance_of_table(table, (table.parent, arguments.output))
    _tell(console, _judge(arguments, config.seed, videos, provenance, table), arguments.output)
    return 0


def _evaluate(arguments: argparse.Namespace, console: Console) -> int:
    """Score, then judge the scores."""
    config = load_config(arguments.config, overrides=overrides_of(arguments))
    split, table = arguments.split or "test", arguments.save_csv or arguments.output / TABLE
    everything = read_samples(config.dataset)
    samples = samples_of(everything, split)
    refuse_leaks(everything)
    check_columns([sample.columns for sample in samples], arguments.group_by)
    _prepare(arguments.output)
    check_writable(table)
    setup_logging(config.logging)
    checkpoint, model = _read_model(config, console)
    from training.prediction.scoring import ScoringError  # Ray takes seconds: bad arguments are told before

    pictures = Thumbnails()
    try:
        videos = _score(samples, model, arguments, pictures, console)
    except ScoringError as error:
        return fail(EXIT_FAILED, f"the evaluation failed: {error.detail}")
    write_scores(table, videos)
    pictures.save(arguments.output / FOLDER)
    provenance = provenance_of_run(checkpoint, config, split, table)
    results = _judge(arguments, config.seed, videos, provenance, table)
    _tell(console, results, arguments.output)
    return _status(results.evaluation, config, arguments.output)


def _prepare(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output {output}: {error.strerror}") from None


def _read_model(config: Config, console: Console) -> "tuple[CheckpointFacts, ModelFacts]":
    """Refuses a checkpoint, a store, or a device of this machine, where that is the cluster, that cannot be used."""
    from aura_model.checkpoint import read_checkpoint
    from aura_model.device import resolve_device
    from training.prediction.model_facts import read_model_facts

    path = config.inference.checkpoint_file
    if path is None:
        raise ConfigError("inference.checkpoint is null: name the checkpoint to evaluate")
    checkpoint = read_checkpoint(path)
    if warning := split_warning(checkpoint.config, config):
        warn(console, warning)
    if "RAY_ADDRESS" not in os.environ:
        resolve_device(config.inference.device)
    model = read_model_facts(anchored(config))
    _refuse_store(model.config)
    return describe_checkpoint(checkpoint, path), model


def _refuse_store(config: Config) -> None:
    """Refuse a store of clips that cannot be read: else the actors would be the first to notice.

    Raises:
        ConfigError, DatasetError: see `ClipStore`.
    """
    preprocessing = config.dataset.preprocessing
    if preprocessing.mode == "preextracted":
        from training.store.clip_store import ClipStore

        ClipStore(preprocessing.store, config)


def _score(
    samples: Sequence[Sample],
    model: "ModelFacts",
    arguments: argparse.Namespace,
    pictures: Thumbnails,
    console: Console,
) -> list[VideoLines]:
    from training.prediction.scoring import score_samples
    from training.run import ray_cluster

    console.print(counted(len(samples), "video"))
    watcher, videos = make_console(stderr=True), []
    with ray_cluster(local=False), VideoProgress(len(samples), watcher) as progress:
        for scored in score_samples(samples, model, arguments.num_workers):
            video = lines_of(scored)
            if video.clips:
                score = VideoScore(video, video_logit(video, arguments.aggregation))
                pictures.add(score, [clip.thumbnail for clip in scored.scored])
            videos.append(video)
            progress.advance(failed=bool(video.error))
    return videos


def _judge(
    arguments: argparse.Namespace, seed: int, videos: Sequence[VideoLines], provenance: Provenance, table: Path
) -> Results:
    """Judge the scores and write the results."""
    evaluation = evaluate(videos, arguments.aggregation, arguments.group_by, seed)
    worst = [one.video.video_id for one in evaluation.worst]
    pictures = read_thumbnails((table.parent / FOLDER, arguments.output / FOLDER), worst)
    results = Results(evaluation, provenance, videos, pictures, _command(arguments, table, seed))
    write_results(arguments.output, results)
    return results


def _tell(console: Console, results: Results, output: Path) -> None:
    for warning in results.warnings:
        warn(console, warning)
    console.print(_summary(results.evaluation.videos, results.evaluation.clips), soft_wrap=False)
    console.print(f"wrote {escape(str(output / REPORT))}")


def _command(arguments: argparse.Namespace, table: Path, seed: int) -> str:
    """Makes the report again, in the folder that this command ran in; no path of this machine."""
    places = ["--from-csv", _portable(table), "--output", _portable(arguments.output)]
    groups = [word for column in arguments.group_by for word in ("--group-by", column)]
    settings = ["--aggregation", arguments.aggregation, *groups, *(["--set", f"seed={seed}"] if seed else [])]
    return shlex.join(["python", "training/evaluate.py", *places, *settings])


def _portable(path: Path) -> str:
    return path.name if path.is_absolute() else str(path)


def _summary(videos: Level, clips: Level) -> Table:
    """At most 80 columns wide."""
    table = Table(box=box.SIMPLE_HEAD, caption=f"n = {videos.figures['n']} videos, {clips.figures['n']} clips")
    table.add_column("figure", no_wrap=True)
    for name in ("per video", "per clip"):
        table.add_column(name, justify="right", no_wrap=True)
        table.add_column("95 % interval", max_width=20)
    for name, (label, _, _) in FIGURES.items():
        table.add_row(label, *_cells((videos, clips), name))
    return table


def _cells(levels: Iterable[Level], name: str) -> list[str]:
    pairs = ((level.figures[name], level.intervals[name]) for level in levels)
    return [cell for value, interval in pairs for cell in (show(value), _beside(value, interval))]


def _beside(value: float | None, interval: Interval) -> str:
    return interval.reason if value is None else show_range(interval) or "none"


def _status(evaluation: Evaluation, config: Config, output: Path) -> int:
    """Fails where too many videos had no score; the files are written all the same."""
    scored, unusable = evaluation.videos.figures["n"], evaluation.unusable_count
    if scored and unusable <= config.dataset.max_skipped * (scored + unusable):
        return 0
    total = counted(scored + unusable, "video")
    return fail(EXIT_FAILED, f"{unusable} of {total} could not be scored: see {output / SKIPPED}")


if __name__ == "__main__":
    sys.exit(main())
