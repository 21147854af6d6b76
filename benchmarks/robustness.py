"""How good is a detector on forgeries of people it never saw, under what a platform does to videos, and without a face?

    python benchmarks/robustness.py --checkpoint FILE --manifest FACES.csv [--config training/recipes/default.yaml]
        [--json benchmarks/results/robustness.json] [--pairs 570] [--family-pairs 200] [--quick] [--sheet FILE.png]

Pairs of a genuine clip and its forgery are made of the genuine people of the split test and scored: `--pairs` of them
by the recipe's weights under every condition, and `--family-pairs` of each family, also of those that are never
trained on. Reported are AUC and ECE with intervals clustered by person, per family and in the robustness grid of
DeeperForensics-1.0 (7 perturbations, 5 levels); shortcut probes, whose AUC should be a half; what each operating point
decides; coverage and risk; the heat-map's overlap with the truth; the worst pairs. Fakes that the data set has in the
split test, faces that a network drew, are put beside their partners as in training.

Scores are kept in `--scores` while they come: a run that was interrupted goes on where it was. `--sheet` draws the
worst pairs; it shows faces, so it is not for sharing. Exit status 1: a demand is missed.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from scrutiny.acceptance import IN_FORCE, Line, lines
from scrutiny.examiner import Examiner, Task, deal
from scrutiny.judging import judge
from scrutiny.records import Record, RecordFile
from scrutiny.sheet import draw_sheet
from scrutiny.studio import Studio

from aura_model.augment.families import HELD_OUT
from aura_model.augment.pairs import GENERATED
from aura_model.augment.perturbations import LEVELS, PERTURBATIONS
from aura_model.calibration import Band, band_in_force
from aura_model.checkpoint import read_checkpoint
from aura_model.config import Config, Family
from aura_model.model_loading import LoadedModel
from aura_model.predictor import load_scorer
from aura_model.scoring import Scorer
from aura_model.settings import load_config, override, parse_config
from training.data.manifest import Sample, read_samples
from training.extraction import MediaRows
from training.pairing.loose import loose
from training.pairing.partners import Partners

RECIPE = Path(__file__).parents[1] / "training" / "recipes" / "default.yaml"
DONORS = 48
QUICK_PAIRS, QUICK_FAMILY_PAIRS, QUICK_LEVELS = 24, 6, (1, 3, 5)


@dataclass(frozen=True)
class Setup:
    """What every process needs to know, as text: it travels with each task."""

    config: str
    donors: str
    levels: tuple[int, ...]
    threads: int


def parser() -> argparse.ArgumentParser:
    """The command line's surface."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--checkpoint", required=True, help="a file, or `default`: the one in the package")
    data = options.add_mutually_exclusive_group(required=True)
    data.add_argument("--manifest", type=Path)
    data.add_argument("--data-root", type=Path)
    options.add_argument("--config", type=Path, default=RECIPE)
    options.add_argument("--split", default="test")
    options.add_argument("--pairs", type=int, default=570, help="by the recipe's weights, under every condition")
    options.add_argument("--family-pairs", type=int, default=200, help="of each family")
    options.add_argument("--quick", action="store_true", help="few pairs and levels: to see that it runs")
    options.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options.add_argument("--scores", type=Path, default=Path("robustness_scores.jsonl"))
    options.add_argument("--json", type=Path)
    options.add_argument("--sheet", type=Path, help="PNG of the worst pairs; it shows faces")
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Score what has not been scored, judge, print; returns the exit status."""
    args = parser().parse_args(argv)
    if args.quick:
        args.pairs, args.family_pairs = QUICK_PAIRS, QUICK_FAMILY_PAIRS
    config = read_config(args)
    scorer, trained = load_scorer(config), trained_families(config)
    tasks, setup = plan(config, trained, args)
    made = provenance(scorer.loaded, trained, args)
    kept = RecordFile(args.scores, made)
    collect(tasks, setup, kept, args.workers)
    report = judge(kept.records, bands_of(scorer.loaded), trained) | {"provenance": made}
    demands = lines(report)
    write(args.json, report | {"acceptance": [one.plain() for one in demands]})
    if args.sheet:
        show_worst(report["worst"], tasks, examiner_of(setup), scorer, args.sheet)
    tell(Console(soft_wrap=True, highlight=False), report, demands)
    return int(not all(one.passed for one in demands if one.gate))


def read_config(args: argparse.Namespace) -> Config:
    """The recipe with this data and this checkpoint."""
    data = {"manifest": args.manifest} if args.manifest else {"data_root": args.data_root}
    given = [override(f"dataset.{key}", value.absolute()) for key, value in data.items()]
    return load_config(args.config, overrides=[*given, override("inference.checkpoint", args.checkpoint), *args.set])


def trained_families(config: Config) -> dict[str, float]:
    """The families that the checkpoint was trained on, with their weights; the recipe's where it does not say."""
    file = config.inference.checkpoint_file
    stored: Mapping[str, Any] = read_checkpoint(file).config if file else {}
    said = stored.get("dataset", {}).get("pseudo_fakes", {}).get("families")
    weights: Mapping[str, float] = said or dict(config.dataset.pseudo_fakes.families.items())
    return {str(name): weight for name, weight in sorted(weights.items()) if weight}


def plan(config: Config, trained: Mapping[str, float], args: argparse.Namespace) -> tuple[list[Task], Setup]:
    """Whom to forge how, and what every process needs to know.

    Args:
        config: the recipe with the data.
        trained: the weights of the families that the detector was trained on.
        args: the command line.

    Raises:
        ValueError: the split has no genuine sample.
    """
    samples = [sample for sample in read_samples(config.dataset) if sample.split == args.split]
    people = shuffled([sample for sample in samples if not sample.label], config.seed)
    if not people:
        raise ValueError(f"the split {args.split} has no genuine sample")
    deep = {name: round(args.pairs * weight / sum(trained.values())) for name, weight in trained.items()}
    counts = {name: max(args.family_pairs, deep.get(name, 0)) for name in sorted({*get_args(Family), *HELD_OUT})}
    fakes = shuffled([sample for sample in samples if sample.label], config.seed)
    drawn = dict.fromkeys(sorted(GENERATED), args.family_pairs if fakes else 0)
    tasks = [*deal(people, counts, deep), *deal(fakes, drawn, {})]
    return tasks, Setup(
        config=json.dumps(config.plain()),
        donors=json.dumps([_plain(one) for one in people[-DONORS:]]),
        levels=QUICK_LEVELS if args.quick else LEVELS,
        threads=max(1, len(os.sched_getaffinity(0)) // args.workers),
    )


def shuffled(samples: Iterable[Sample], seed: int) -> list[Sample]:
    """The same order on every machine."""
    ordered = sorted(samples, key=lambda sample: sample.video_id)
    return [ordered[place] for place in np.random.default_rng(seed).permutation(len(ordered))]


def provenance(loaded: LoadedModel, trained: Mapping[str, float], args: argparse.Namespace) -> dict[str, Any]:
    """What the scores depend on, without a path of this machine."""
    data: Path = args.manifest or args.data_root
    return {
        "model": loaded.info.version,
        "data": data.name,
        "data_sha256": hashlib.sha256(data.read_bytes()).hexdigest() if data.is_file() else None,
        "split": args.split,
        "pairs": args.pairs,
        "family_pairs": args.family_pairs,
        "quick": args.quick,
        "overrides": args.set,
        "frames": loaded.config.dataset.video.temporal_window,
        "size": loaded.config.dataset.face.size,
        "restoration": loaded.config.inference.restoration.model_dump(),
        "trained_families": dict(trained),
    }


def bands_of(loaded: LoadedModel) -> dict[str, Band]:
    """The band that decides, and that of each operating point."""
    points = loaded.info.operating_points
    named: dict[str, Band] = {point.name: point.band for point in points.ordered} if points else {}
    return {IN_FORCE: band_in_force(points, loaded.config.inference), **named}


def collect(tasks: Sequence[Task], setup: Setup, kept: RecordFile, workers: int) -> None:
    """Examine what is not in the file, in several processes."""
    left = {task_name(task): task for task in tasks if task_name(task) not in kept.done}
    bar = (TextColumn("people"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        with Progress(*bar, console=Console(stderr=True)) as progress:
            watched = progress.add_task("", total=len(tasks), completed=len(tasks) - len(left))
            futures = {pool.submit(examine, setup, task): name for name, task in left.items()}
            for future in as_completed(futures):
                kept.add(futures[future], future.result())
                progress.advance(watched)
    finally:
        pool.shutdown(cancel_futures=True)


def task_name(task: Task) -> str:
    """Names a task in the file of scores."""
    return f"{task.sample.label} {task.sample.video_id}"


def examine(setup: Setup, task: Task) -> list[Record]:
    """One task, in a process of the pool."""
    return examiner_of(setup).examine(task)


@cache
def examiner_of(setup: Setup) -> Examiner:
    """The examiner of this process: its model and its decode child."""
    torch.set_num_threads(setup.threads)
    scorer = load_scorer(parse_config(json.loads(setup.config)))
    grid = [(name, level) for name in PERTURBATIONS for level in setup.levels]
    return Examiner(scorer.loaded.config, studio_of(scorer.loaded.config, setup), scorer, grid)


def studio_of(config: Config, setup: Setup) -> Studio:
    """Makes pairs as the checkpoint's clips are cut."""
    donors = [Sample(**one) for one in json.loads(setup.donors)]
    return Studio(config, MediaRows(loose(config)), donors, Partners(config))


def show_worst(
    worst: Sequence[Mapping[str, Any]], tasks: Sequence[Task], examiner: Examiner, scorer: Scorer, path: Path
) -> None:
    """Make the worst pairs again and draw them."""
    jobs = {
        (f"{task.sample.video_id}#{job.draw}", job.family): (task.sample, job) for task in tasks for job in task.jobs
    }
    drawn = []
    for one in worst:
        sample, job = jobs[one["pair"], one["family"]]
        pair = examiner.studio.pair(examiner.studio.open(sample), sample, job.family, job.draw)
        if pair:
            drawn.append((pair, f"{one['family']} {one['pair']}  real {one['real']:+.2f}  fake {one['fake']:+.2f}"))
    draw_sheet(drawn, scorer, path)


def write(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write the report as JSON where a path is given."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")


def tell(console: Console, report: Mapping[str, Any], demands: Sequence[Line]) -> None:
    """Print families, grid and demands."""
    table = Table("family", "kind", "n", "AUC", "95 % interval")
    for name, one in sorted(report["families"]["table"].items(), key=lambda item: item[1]["auc"]["value"]):
        table.add_row(name, one["kind"], str(one["n"]), _number(one["auc"]["value"]), _range(one["auc"]))
    console.print(table)
    console.print(grid_table(report["robustness"]))
    tell_demands(console, demands)


def tell_demands(console: Console, demands: Sequence[Line]) -> None:
    """Print what was asked, what was found, and whether it passes."""
    for one in demands:
        line = f"{'pass' if one.passed else 'MISS'}  {one.what}: {one.found}"
        console.print(line, style=None if one.passed else "red")


def grid_table(robustness: Mapping[str, Any]) -> Table:
    """AUC of each cell."""
    clean = robustness["clean"]
    table = Table(
        "AUC", *(str(level) for level in LEVELS), title=f"clean {_number(clean['auc']['value'])}, n = {clean['n']}"
    )
    for name in PERTURBATIONS:
        cells = [robustness["cells"].get(f"{name}:{level}") for level in LEVELS]
        table.add_row(name, *("" if cell is None else _number(cell["auc"]["value"]) for cell in cells))
    return table


def _plain(sample: Sample) -> dict[str, Any]:
    return asdict(sample) | {"columns": dict(sample.columns)}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _range(figure: Mapping[str, Any]) -> str:
    return f"{_number(figure['low'])} .. {_number(figure['high'])}"


if __name__ == "__main__":
    sys.exit(main())
