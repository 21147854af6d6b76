"""`python training/export.py CHECKPOINT OUTPUT`: a run's checkpoint in the form that the package carries."""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from aura_model.errors import AuraError
from training.command_line import EXIT_REFUSED, fail, make_console


def weight(text: str) -> float:
    """A number from 0, as the value of an option.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return value


def parser() -> argparse.ArgumentParser:
    """The command line's surface."""
    options = argparse.ArgumentParser(
        prog="python training/export.py",
        description="Write a checkpoint as aura_model/weights/default.pth is: no state of training, no places of the "
        "machine that trained it, at most 20 MB.",
        epilog="Exit status: 0 written, 2 refused: the checkpoint, its size or the place of the output.",
    )
    options.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="such as checkpoints/multimodal_best_0.9312.pth"
    )
    options.add_argument("output", type=Path, metavar="OUTPUT", help="such as aura_model/weights/default.pth")
    options.add_argument("--half", action="store_true", help="store kernels and matrices as float16")
    options.add_argument("--frames", type=int, metavar="N", help="frames in each clip that is served; calibrate again")
    options.add_argument(
        "--average", type=Path, nargs="+", default=[], metavar="FILE", help="average its weights with theirs"
    )
    options.add_argument(
        "--place-weight", type=weight, metavar="W", help="of the most suspicious place in the verdict; calibrate again"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = parser().parse_args(argv)
    from aura_model.export import ServedChanges, export_checkpoint  # torch takes seconds

    try:
        changes = ServedChanges(arguments.frames, arguments.place_weight, tuple(arguments.average))
        report = export_checkpoint(arguments.checkpoint, arguments.output, half=arguments.half, changes=changes)
    except AuraError as error:
        return fail(EXIT_REFUSED, error.detail)
    except OSError as error:
        return fail(EXIT_REFUSED, f"cannot write {arguments.output}: {error.strerror}")
    console = make_console()
    console.print(f"{escape(str(arguments.output))}: {report.bytes:,} bytes, SHA-256 {report.sha256}")
    if arguments.half:
        console.print(f"the largest change of a weight is {report.rounded:.1e} of the largest one of its tensor")
    return 0


if __name__ == "__main__":
    sys.exit(main())
