"""What does each family of forgeries give a detector? It is trained without each of them, and tried on all.

    python benchmarks/leave_one_out.py --manifest FACES.csv --output FOLDER [--epochs 2] [--family-pairs 200]
        [--wild VIDEOS] [--json benchmarks/results/leave_one_out.json] [--set KEY=VALUE]

The first row is trained on all families of the recipe: those made of genuine faces, and those made of the manifest's
fakes, faces that a network drew. Each further row lacks one of them; the others take its share. All rows begin with the
same weights and the same seed. Each is tried on pairs of unseen people as in `robustness.py`, on as many frames as it
was trained on, and with `--wild` on the videos of `wild.py`.

Rows that are finished stay in `--output`: a run that was interrupted goes on with the next one.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from robustness import RECIPE, write
from wild import AURA

from aura_model.config import Config
from aura_model.settings import load_config

HERE = Path(__file__).parent
LAUNCH, ROBUSTNESS, WILD = HERE.parent / "training" / "launch.py", HERE / "robustness.py", HERE / "wild.py"
DEEP_PAIRS = 10
"""About as few as `robustness.py` can report on: the matrix needs none of them."""
ALL = "all"
WILD_SLICES = ("overall", "matched pairs")


@dataclass(frozen=True)
class Row:
    """A detector of the matrix."""

    missing: str
    """The family that it is trained without; `all` where none is missing."""
    overrides: tuple[str, ...] = ()


def parser() -> argparse.ArgumentParser:
    """The command line's surface."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--manifest", type=Path, required=True)
    options.add_argument("--output", type=Path, required=True, help="where the rows' runs and figures go")
    options.add_argument("--config", type=Path, default=RECIPE)
    options.add_argument("--epochs", type=int, default=2, help="of each row")
    options.add_argument("--family-pairs", type=int, default=200, help="of each family, to try the rows on")
    options.add_argument("--wild", type=Path, help="folder of videos as `wild.py` takes it")
    options.add_argument("--json", type=Path)
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings of the training")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Train and try what is not there yet, print the matrix."""
    args, console = parser().parse_args(argv), Console(soft_wrap=True, highlight=False)
    config = load_config(args.config, overrides=args.set)
    report = {
        "epochs": args.epochs,
        "seed": config.seed,
        "family_pairs": args.family_pairs,
        "rows": {row.missing: tried(trained(row, config, args), args) for row in rows_of(config)},
    }
    write(args.json, report)
    console.print(matrix(report["rows"]))


def rows_of(config: Config) -> Iterator[Row]:
    """All, then one row without each family of pseudo-fakes and without each that is made of drawn faces."""
    yield Row(ALL)
    pseudo_fakes = config.dataset.pseudo_fakes
    weights = (("families", pseudo_fakes.families.items()), ("generated", pseudo_fakes.generated.items()))
    for key, of_key in weights:
        for family, weight in of_key:
            if weight:
                yield Row(family, (f"dataset.pseudo_fakes.{key}.{family}=0",))


def trained(row: Row, config: Config, args: argparse.Namespace) -> Path:
    """The row's checkpoint."""
    folder = args.output.absolute() / row.missing
    length = (f"training.epochs={args.epochs}", f"training.scheduler.period={args.epochs}")
    settings = (f"training.output={folder}", *length, *row.overrides, *args.set)
    data = ("--manifest", args.manifest) if config.dataset.preprocessing.mode == "on_the_fly" else ()
    return made(folder / "*.pth", LAUNCH, "--config", args.config, *data, *(f"--set={one}" for one in settings))


def tried(checkpoint: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The row's AUCs with intervals: of each family, and of the wild where there is a folder of it."""
    folder = checkpoint.parent
    given = ("--checkpoint", checkpoint, "--manifest", args.manifest, "--config", args.config)
    kept = ("--scores", folder / "scores.jsonl", "--json", folder / "robustness.json")
    pairs = ("--pairs", DEEP_PAIRS, "--family-pairs", args.family_pairs)
    report = json.loads(made(folder / "robustness.json", ROBUSTNESS, *given, *kept, *pairs).read_text())
    families = {name: one["auc"] for name, one in report["families"]["table"].items()}
    return families | (in_the_wild(checkpoint, args.wild) if args.wild else {})


def in_the_wild(checkpoint: Path, videos: Path) -> dict[str, Any]:
    """AUCs with intervals of videos that nobody here made."""
    path = checkpoint.parent / "wild.json"
    slices = json.loads(made(path, WILD, videos, "--checkpoint", checkpoint, "--json", path).read_text())["auc"]
    return {f"wild, {name}": slices[name][AURA] for name in WILD_SLICES if name in slices}


def made(wanted: Path, script: Path, *arguments: object) -> Path:
    """A file, from a script of this project where it is not there yet; that one misses demands is none of ours.

    Args:
        wanted: its path; the name may be a pattern.
        script: makes it.
        arguments: of the script.

    Raises:
        SystemExit: with the script's status, as the file is not there even now.
    """
    if not any(wanted.parent.glob(wanted.name)):
        done = subprocess.run([sys.executable, script, *map(str, arguments)], check=False)
        if not any(wanted.parent.glob(wanted.name)):
            raise SystemExit(done.returncode or 1)
    return next(wanted.parent.glob(wanted.name))


def matrix(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """A line for each thing that the rows were tried on, a column for each row."""
    table = Table("AUC on", ALL, *(f"without {name}" for name in rows if name != ALL))
    for name in rows[ALL]:
        table.add_row(name, *(f"{row[name]['value']:.3f}" for row in rows.values()))
    return table


if __name__ == "__main__":
    main()
