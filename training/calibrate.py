"""`python training/calibrate.py`: fit calibration and operating points of a checkpoint to held-out samples."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aura_model.config import Config
from aura_model.errors import ConfigError
from aura_model.logging import setup_logging
from aura_model.settings import load_config
from training.calibration import CalibrationError, Fit, HeldOut, check_enough, fit
from training.command_line import (
    EXIT_FAILED,
    EXIT_REFUSED,
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
from training.evaluation.evaluation import video_logit
from training.evaluation.provenance import provenance_of_table
from training.evaluation.score_table import read_scores
from training.watch.video_progress import VideoProgress

if TYPE_CHECKING:
    from aura_model.checkpoint import Checkpoint

SPLIT = "val"
TRAINED_ON = (
    "samples of the split train are not held out: a model is surer of what it was trained on, so what is fitted here "
    "promises too much"
)
UNKNOWN_MODEL = (
    "which model gave these scores is not known, as the table came without its results file: they are taken for those "
    "of this checkpoint, calibrated as it is"
)
SCORING_ONLY = ("data_root", "manifest", "auto_split", "split", "num_workers")
"""Options that mean nothing where the scores are there already."""


def parser() -> argparse.ArgumentParser:
    """The command line's surface."""
    options = argparse.ArgumentParser(
        prog="python training/calibrate.py",
        description="Fit a checkpoint's calibration and operating points to held-out samples: to pseudo-fake pairs of "
        "a split, or to the videos of a table of scores. The weights stay as they are.",
        epilog="Exit status: 0 written, 1 scoring or writing failed, 2 refused, 130 interrupted; run it again.",
    )
    options.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="a file, or `default`: the one in the package"
    )
    options.add_argument("--output", type=Path, required=True, metavar="FILE", help="the calibrated checkpoint")
    data = data_options(options)
    data.add_argument(
        "--from-csv", type=Path, metavar="FILE", help="a table that training/evaluate.py wrote for this checkpoint"
    )
    auto_split_option(options)
    options.add_argument("--split", choices=SPLITS, help=f"whose genuine videos pairs are made of; default {SPLIT}")
    options.add_argument("--bias", action="store_true", help="fit a constant beside the temperature")
    options.add_argument(
        "--num-workers", type=whole_number, metavar="N", help="processes that make pairs; default: one a CPU"
    )
    settings_options(options)
    return options


def overrides_of(arguments: argparse.Namespace) -> list[str]:
    """The command line as `section.key=value` strings, weakest first."""
    return given_overrides(arguments, {"checkpoint": "inference.checkpoint"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(
        partial(_calibrate, parser().parse_args(argv)),
        failed=lambda error: fail(EXIT_FAILED, f"the calibration failed: {error}"),
    )


def held_out_videos(table: Path, checkpoint: "Checkpoint") -> HeldOut:
    """The videos of a table of scores, each joined as in service, without the calibration of the checkpoint.

    Raises:
        ScoreTableError: the table cannot be used.
        CalibrationError: foreign_scores: of another checkpoint, as far as the results beside the table tell.
    """
    videos = [video for video in read_scores(table) if video.clips]
    scorer = provenance_of_table(table, (table.parent,)).checkpoint
    if not scorer:
        _warn(UNKNOWN_MODEL)
    if any(video.split == "train" for video in videos):
        _warn(TRAINED_ON)
    if scorer and scorer.sha256 != checkpoint.sha256:
        raise CalibrationError("foreign_scores", f"{table} holds scores of another checkpoint, {scorer.name}")
    log_odds = [video_logit(video, "mean") for video in videos]
    if checkpoint.calibration:
        log_odds = [checkpoint.calibration.undo(one) for one in log_odds]
    return HeldOut.of([video.label for video in videos], log_odds, [video.cluster for video in videos])


def held_out_pairs(samples: Sequence[Sample], config: Config, processes: int) -> HeldOut:
    """Both clips of each pair that is made of genuine samples.

    Raises:
        CalibrationError: too_few_samples; scoring_failed, also where more samples than `dataset.max_skipped` gave none.
    """
    people = len({sample.identity or sample.video_id for sample in samples})
    check_enough(people, people)  # before hours of work
    from training.pairing.pair_scores import score_pairs

    watcher, scored = make_console(stderr=True), []
    with VideoProgress(len(samples), watcher) as progress:
        for one in score_pairs(samples, config, processes):
            progress.advance(failed=bool(one.error))
            scored.append(one)
    errors = [f"{one.sample.video_id}: {one.error}" for one in scored if one.error]
    if len(errors) > config.dataset.max_skipped * len(samples):
        raise CalibrationError("scoring_failed", f"{len(errors)} of {len(samples)} gave no pair, such as {errors[0]}")
    flat = [(one.sample.identity or one.sample.video_id, score) for one in scored for score in one.scores]
    return HeldOut.of(
        [score.label for _, score in flat], [score.log_odds for _, score in flat], [person for person, _ in flat]
    )


def _calibrate(arguments: argparse.Namespace, console: Console) -> int:
    try:
        fitted = _fit(arguments)
    except CalibrationError as error:
        return fail(EXIT_FAILED if error.code == "scoring_failed" else EXIT_REFUSED, error.detail)
    _tell(console, fitted, arguments.output)
    return 0


def _fit(arguments: argparse.Namespace) -> Fit:
    config = load_config(arguments.config, overrides=overrides_of(arguments))
    samples = _samples(arguments, config)
    setup_logging(config.logging)
    from aura_model.checkpoint import read_checkpoint, save_calibrated  # torch takes seconds

    path = config.inference.checkpoint_file
    if path is None:
        raise ConfigError("inference.checkpoint is null: name the checkpoint to calibrate")
    checkpoint = read_checkpoint(path)
    check_writable(arguments.output)
    if arguments.from_csv:
        held_out = held_out_videos(arguments.from_csv, checkpoint)
    else:
        if warning := split_warning(checkpoint.config, config):
            _warn(warning)
        if arguments.split == "train":
            _warn(TRAINED_ON)
        held_out = held_out_pairs(samples, config, arguments.num_workers or len(os.sched_getaffinity(0)))
    fitted = fit(held_out, with_bias=arguments.bias)
    save_calibrated(arguments.output, checkpoint, fitted.calibration, fitted.points)
    return fitted


def _samples(arguments: argparse.Namespace, config: Config) -> list[Sample]:
    """Genuine samples of the split, of which pairs are made; none where there is a table."""
    if arguments.from_csv:
        refuse_beside_table(arguments, SCORING_ONLY)
        return []
    if not config.dataset.pseudo_fakes.enabled:
        raise ConfigError(
            "dataset.pseudo_fakes.enabled is false, so there are no pairs: give --from-csv, the table of scores that "
            "training/evaluate.py writes, or the --config of a recipe with pseudo-fakes"
        )
    everything = read_samples(config.dataset)
    chosen = [sample for sample in samples_of(everything, arguments.split or SPLIT) if not sample.label]
    refuse_leaks(everything)
    return chosen


def _warn(said: str) -> None:
    warn(make_console(stderr=True), said)


def _tell(console: Console, fitted: Fit, output: Path) -> None:
    strict, before, after = fitted.points.strict, fitted.before, fitted.after
    console.print(f"held out: {strict.reals} reals, {strict.fakes} fakes, AUC {fitted.auc:.4f}")
    bias = f", bias {fitted.calibration.bias:+.4f}" if fitted.calibration.bias else ""
    console.print(f"temperature {1 / fitted.calibration.scale:.4f}{bias}")
    console.print(f"ECE {before.ece:.4f} before, {after.ece:.4f} after; NLL {before.nll:.4f}, {after.nll:.4f}")
    console.print(points_table(fitted), soft_wrap=False)
    console.print(f"wrote {escape(str(output))}")


def points_table(fitted: Fit) -> Table:
    """The operating points, at most 80 columns wide; rates in per cent."""
    table = Table(
        box=box.SIMPLE_HEAD,
        caption="rates in %. FPR: reals called fake; TPR: fakes called fake; unc.: uncertain",
    )
    table.add_column("point", no_wrap=True)
    for name in ("low", "high", "FPR", "95 %", "TPR", "unc. real", "unc. fake"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in fitted.points.ordered:
        least, most = (100 * bound for bound in point.false_positive_interval)
        rates = (point.true_positive_rate, point.real_abstention, point.fake_abstention)
        bounds = (f"{point.low:.4f}", f"{point.high:.4f}")
        accused = (f"{100 * point.false_positive_rate:.1f}", f"{least:.1f}-{most:.1f}")
        table.add_row(point.name, *bounds, *accused, *(f"{100 * rate:.1f}" for rate in rates))
    return table


if __name__ == "__main__":
    sys.exit(main())
