"""`python -m aura_model.predict VIDEO...`: the whole path in one process, from files to answers."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from aura_model.calibration import band_in_force
from aura_model.config import Config, InferenceConfig
from aura_model.contact_sheet import Image, draw_sheet, write_sheets
from aura_model.errors import (
    MEDIA_ERRORS,
    CheckpointError,
    ConfigError,
    DecoderError,
    MediaError,
    media_status,
    problem_type,
)
from aura_model.logging import printable, setup_logging
from aura_model.predictor import Prediction, Predictor
from aura_model.reply import Analysis, Verdict
from aura_model.settings import load_config, override

MOST_CHILDREN = 4
PIPED_WIDTH = 160
"""Columns of the table where it does not go to a terminal."""
COLOURS: dict[Verdict, str] = {"real": "green", "uncertain": "yellow", "fake": "red", "not_applicable": "dim"}
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Problem:
    """Why a file has no answer, as RFC 9457 puts it; the service gives the same for the same media."""

    code: str
    title: str
    status: int
    detail: str

    @classmethod
    def of(cls, error: MediaError | OSError) -> Self:
        """Describe what decoding raised."""
        if isinstance(error, MediaError):
            return cls(error.code, MEDIA_ERRORS[error.code], media_status(error.code), error.detail)
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return cls("file_missing", "There is no such file.", 404, "Nothing is at this path; check its spelling.")
        return cls("file_unreadable", "The file cannot be opened.", 422, f"The system says: {error.strerror}.")

    def plain(self) -> dict[str, Any]:
        """The members of a problem document."""
        return {"type": problem_type(self.code), **asdict(self)}


@dataclass
class _Run:
    """What the command line has so far."""

    inference: InferenceConfig
    draw: bool
    done: list[tuple[str, Analysis | Problem]] = field(default_factory=list)
    sheets: list[Image] = field(default_factory=list)

    def add(self, file: str, result: Prediction | MediaError | OSError) -> None:
        """Take in what became of one file."""
        if not isinstance(result, Prediction):
            self.done.append((file, Problem.of(result)))
            return
        self.done.append((file, result.analysis))
        if self.draw:
            band = band_in_force(result.analysis.model.operating_points, self.inference)
            self.sheets.append(draw_sheet(Path(file).name, result.clips, result.scores, result.analysis, band))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    0: an answer for each file; 1: some files have none; 2: wrong usage, settings or checkpoint; 130: interrupted.
    """
    args = _parse(argv)
    out = sys.stdout
    with redirect_stdout(sys.stderr):  # log records and libraries' prints
        try:
            config = load_config(args.config, overrides=_overrides(args))
            setup_logging(config.logging)
            run = _Run(config.inference, draw=args.contact_sheet is not None)
            finished = _predict(args.files, config, run, explain=args.explain)
        except (ConfigError, CheckpointError, DecoderError) as error:
            return _fail(error.detail)
    _report(run.done, out, as_json=args.json)
    if args.contact_sheet is not None:
        try:
            write_sheets(args.contact_sheet, run.sheets)
        except OSError as error:
            return _fail(f"cannot write {args.contact_sheet}: {error.strerror}")
    if not finished:
        return EXIT_INTERRUPTED
    return EXIT_SOME_FAILED if any(isinstance(result, Problem) for _, result in run.done) else 0


def _predict(files: Sequence[str], config: Config, run: _Run, *, explain: bool) -> bool:
    """Fill `run`; False where the user interrupted."""
    children = min(len(files), MOST_CHILDREN, os.cpu_count() or 1)
    try:
        with (
            Predictor(config, children=children, with_heatmaps=explain) as predictor,
            _progress(len(files)) as progress,
        ):
            results = predictor.predict_all(Path(file) for file in files)
            for file, result in zip(
                files, progress.track(results, total=len(files), description="Analysing"), strict=True
            ):
                run.add(file, result)
    except KeyboardInterrupt:
        return False
    return True


def _progress(count: int) -> Progress:
    return Progress(console=Console(stderr=True), transient=True, disable=count < 2)


def _report(done: Sequence[tuple[str, Analysis | Problem]], out: IO[str], *, as_json: bool) -> None:
    if as_json:
        out.write(json.dumps([_entry(file, result) for file, result in done], indent=2) + "\n")
    else:
        width = None if out.isatty() else PIPED_WIDTH
        Console(file=out, width=width).print(_table(done))
    out.flush()


def _entry(file: str, result: Analysis | Problem) -> dict[str, Any]:
    plain = result.plain() if isinstance(result, Problem) else result.model_dump(mode="json")
    return {"file": file, **plain}


def _table(done: Sequence[tuple[str, Analysis | Problem]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("file", overflow="fold", ratio=1)
    table.add_column("verdict", no_wrap=True)
    for name in ("fake", "faces", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reasons", ratio=1)
    for file, result in done:
        table.add_row(_shown(file), *_answer_cells(result) if isinstance(result, Analysis) else _problem_cells(result))
    return table


def _answer_cells(answer: Analysis) -> tuple[Text, ...]:
    fake = "" if answer.fake_probability is None else f"{answer.fake_probability:.3f}"
    seconds = f"{answer.timings['total'] / 1000:.2f}"
    verdict = Text(answer.verdict, COLOURS[answer.verdict])
    return verdict, Text(fake), Text(str(len(answer.faces))), Text(seconds), Text(", ".join(answer.reasons))


def _problem_cells(problem: Problem) -> tuple[Text, ...]:
    return Text("failed", "bold"), Text(), Text(), Text(), _shown(f"{problem.code}: {problem.detail}")


def _shown(text: str) -> Text:
    """Text from outside: no markup, and nothing that moves a terminal's cursor."""
    return Text(printable(text))


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return EXIT_USAGE


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.explain and not args.json:
        parser.error("--explain adds to the JSON: it needs --json")
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m aura_model.predict",
        description="Tell whether the people in videos, pictures or recordings have been manipulated.",
        epilog="Exit status: 0 an answer for each file, 1 some files failed, 2 wrong usage, 130 interrupted.",
    )
    parser.add_argument("files", nargs="+", metavar="VIDEO", help="a video, picture or sound file")
    parser.add_argument("--json", action="store_true", help="print one JSON list instead of a table")
    parser.add_argument("--explain", action="store_true", help="with --json: add where each face looks forged")
    parser.add_argument("--contact-sheet", type=_png, metavar="PNG", help="write the analysed crops and their scores")
    parser.add_argument("--checkpoint", type=Path, metavar="PATH", help="inference.checkpoint")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="inference.device")
    parser.add_argument("--config", type=Path, metavar="PATH", help="a YAML file with settings")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="one setting; repeatable",
    )
    return parser


def _png(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{text} does not end in .png")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path


def _overrides(args: argparse.Namespace) -> list[str]:
    """The settings of the command line; JSON is YAML, so a path keeps its exact letters."""
    named = {"inference.checkpoint": args.checkpoint, "inference.device": args.device}
    return [*args.overrides, *(override(key, value) for key, value in named.items() if value is not None)]


if __name__ == "__main__":
    sys.exit(main())
