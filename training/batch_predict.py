"""`python training/batch_predict.py`: verdicts for many videos, on Ray Data."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from aura_model.errors import ConfigError
from aura_model.logging import setup_logging
from aura_model.settings import load_config
from training.command_line import (
    EXIT_FAILED,
    fail,
    given_overrides,
    run_command,
    settings_options,
    warn,
    whole_number,
)
from training.data.manifest import Sample
from training.prediction.inputs import find_inputs
from training.prediction.journal import Journal, JournalHeader, journal_path, open_journal
from training.prediction.model_facts import ModelFacts, read_model_facts
from training.prediction.rows import PredictionRow, check_output, prediction_row, write_predictions
from training.watch.video_progress import VideoProgress

GOES_ON = "the same command goes on from here"
ON_THE_FLY = "dataset.preprocessing.mode=on_the_fly"
"""The videos are those of the input, never those of a store."""


def parser() -> argparse.ArgumentParser:
    """The command line's surface."""
    options = argparse.ArgumentParser(
        prog="python training/batch_predict.py",
        description="Tell for each of many videos whether the people in it have been manipulated.",
        epilog="Exit status: 0 a row for each video, errors among them; 1 the run failed; 2 refused before any work; "
        "130 interrupted. After 1 and 130 the same command goes on where it was.",
    )
    options.add_argument(
        "--input",
        required=True,
        metavar="PATH",
        help="folder of videos, CSV or JSON manifest with a column path, or file",
    )
    options.add_argument("--output", required=True, type=Path, metavar="FILE", help="out.parquet or out.jsonl")
    options.add_argument("--checkpoint", type=Path, metavar="FILE", help="inference.checkpoint")
    options.add_argument("--num-workers", type=whole_number, metavar="N", help="actors that cut out clips")
    options.add_argument("--device", help="auto, cpu or cuda; auto takes every GPU that the cluster has")
    settings_options(options)
    options.add_argument("--restart", action="store_true", help="begin anew, and replace the output that is there")
    return options


def overrides_of(arguments: argparse.Namespace) -> list[str]:
    """The command line as `section.key=value` strings, weakest first."""
    keys = {"checkpoint": "inference.checkpoint", "device": "inference.device"}
    return [*given_overrides(arguments, keys), ON_THE_FLY]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(
        partial(_batch_predict, parser().parse_args(argv)),
        failed=lambda error: fail(EXIT_FAILED, f"the run failed: {error}; {GOES_ON}"),
        interrupted=f"interrupted; {GOES_ON}",
    )


def _batch_predict(arguments: argparse.Namespace, console: Console) -> int:
    config = load_config(arguments.config, overrides=overrides_of(arguments))
    refuse_output(arguments.output, restart=arguments.restart)
    samples = find_inputs(arguments.input)
    setup_logging(config.logging)
    model = read_model_facts(config)
    if not model.info.trained:
        warn(console, "no checkpoint is set: an untrained model answers, and each verdict is uncertain")
    from training.prediction.scoring import ScoringError  # Ray takes seconds: bad arguments are told before

    with open_journal(arguments.output, JournalHeader.of(model), restart=arguments.restart) as journal:
        try:
            _predict_missing(samples, journal, model, arguments.num_workers, console)
        except ScoringError as error:
            return fail(EXIT_FAILED, f"the run failed: {error.detail}; {GOES_ON}")
        _finish(arguments.output, journal, samples, console)
    return 0


def refuse_output(output: Path, *, restart: bool) -> None:
    """Refuse an output file that cannot be written, or is done already.

    Raises:
        ConfigError: see above.
    """
    check_output(output)
    if output.is_dir():
        raise ConfigError(f"--output {output} is a folder")
    if output.exists() and not restart and not journal_path(output).exists():
        raise ConfigError(f"--output {output} is there already; use --restart to replace it")


def _predict_missing(
    samples: Sequence[Sample], journal: Journal, model: ModelFacts, extractors: int | None, console: Console
) -> None:
    missing = journal.missing(samples)
    done = len(samples) - len(missing)
    console.print(f"{len(samples)} videos" + (f", {done} of them done before" if done else ""))
    if not missing:
        return
    from training.prediction.scoring import score_samples
    from training.run import ray_cluster

    with ray_cluster(local=False), VideoProgress(len(missing), console) as progress:
        for video in score_samples(missing, model, extractors):
            row = prediction_row(video, model)
            journal.add(row)
            progress.advance(failed=row.error is not None)


def _finish(output: Path, journal: Journal, samples: Sequence[Sample], console: Console) -> None:
    """Turn the journal into the output."""
    errors: Counter[str] = Counter()
    write_predictions(output, _counted(journal.rows(samples), errors))
    journal_path(output).unlink()
    console.print(f"wrote {escape(str(output))}: {len(samples)} videos{_without_answer(errors)}")


def _counted(rows: Iterable[PredictionRow], errors: Counter[str]) -> Iterator[PredictionRow]:
    for row in rows:
        if row.error:
            errors[row.error.code] += 1
        yield row


def _without_answer(errors: Counter[str]) -> str:
    if not errors:
        return ""
    codes = ", ".join(f"{count} {code}" for code, count in sorted(errors.items()))
    return f", [yellow]{errors.total()} without an answer[/] ({codes})"


if __name__ == "__main__":
    sys.exit(main())
