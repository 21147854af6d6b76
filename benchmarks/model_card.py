"""Writes the figures of `MODEL_CARD.md` and of the README anew: from the default checkpoint and from results.

    python benchmarks/model_card.py [--results FOLDER] [--checkpoint FILE] [--page FILE ...]

Results are `robustness.json`, `wild.json` and `leave_one_out.json`, as the scripts of these names write them. A
page holds a block for each of `BLOCKS`, from `<!-- figures: NAME -->` to `<!-- end -->`; the rest is left as it is. A
block whose source is missing says so.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from performance import RESULTS, table

from aura_model.checkpoint import Checkpoint, read_checkpoint
from aura_model.config import PACKAGED_CHECKPOINT
from training.calibration import share_interval

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "MODEL_CARD.md", ROOT / "README.md")
AURA = "Aura"
IN_FORCE = "in_force"
NONE = "none"
LEVELS = 5
COUNTS = MappingProxyType({"n": "videos", "fakes": "fakes", "groups": "groups"})
Figures = Mapping[str, Any]
Lines = Iterator[str]


def main() -> None:
    """Rewrite the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--checkpoint", type=Path, default=PACKAGED_CHECKPOINT)
    parser.add_argument("--page", type=Path, nargs="*", default=list(PAGES))
    args = parser.parse_args()
    sources = read_sources(args.results, args.checkpoint)
    for page in args.page:
        page.write_text(rewrite(page.read_text(), sources))


def read_sources(results: Path, checkpoint: Path) -> dict[str, Figures]:
    """What there is of `weights` and of the results."""
    paths = {name: results / f"{name}.json" for name in ("robustness", "wild", "leave_one_out")}
    sources = {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}
    return sources | ({"weights": facts_of(read_checkpoint(checkpoint))} if checkpoint.exists() else {})


def facts_of(checkpoint: Checkpoint) -> Figures:
    """What a checkpoint tells of itself, as plain types."""
    points, calibration = checkpoint.operating_points, checkpoint.calibration
    return {
        "sha256": checkpoint.sha256,
        "bytes": checkpoint.path.stat().st_size,
        "parameters": sum(
            value.numel()
            for name, value in checkpoint.model_state_dict.items()
            if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        ),
        "epoch": checkpoint.epoch,
        "metrics": dict(checkpoint.metrics),
        "config": dict(checkpoint.config),
        "calibration": calibration.model_dump() if calibration else None,
        "operating_points": [point.model_dump() for point in points.ordered] if points else [],
    }


def rewrite(page: str, sources: Mapping[str, Figures]) -> str:
    """The page with every block filled from its source."""

    def fill(match: re.Match[str]) -> str:
        """One block."""
        block = BLOCKS.get(match[1])
        if block is None:
            return match[0]
        found = {name: sources[name] for name in block.sources if name in sources}
        lines = block.lines(found) if found else ["Not measured yet."]
        return "\n".join((f"<!-- figures: {match[1]} -->", *lines, "<!-- end -->"))

    return re.sub(r"<!-- figures: (\w+) -->.*?<!-- end -->", fill, page, flags=re.DOTALL)


def summary(sources: Mapping[str, Figures]) -> Lines:
    """The few figures that matter most."""
    wild, robust = sources.get("wild", {}), sources.get("robustness", {})
    slices = {name: row[AURA] for name, row in wild.get("auc", {}).items() if AURA in row}
    rows: list[list[object]] = [
        [f"videos from the wild, {name}, AUC", ranged(slices[name])]
        for name in ("overall", "matched pairs", "matched swaps")
        if name in slices
    ]
    called = at(wild, "decisions", "balanced", "reals", "fake")
    if called is not None:
        reals = at(wild, "auc", "overall", AURA, "n") - at(wild, "auc", "overall", AURA, "fakes")
        beside = ", ".join(map(share, share_interval(called, reals)))
        rows.append([f"of {reals} reals among them called fake, at `balanced`", f"{share(called)} [{beside}]"])
    for kind, words in (("trained", "trained on"), ("held_out", "never trained on")):
        found = at(robust, "families", kind)
        if found:
            said = f"mean {number(found.get('mean'))}, worst {number(found.get('worst'))}"
            rows.append([f"pseudo-fakes of unseen people, families {words}, AUC", said])
    yield from table(["measured on", "figure, 95 % interval"], rows)


def weights(sources: Mapping[str, Figures]) -> Lines:
    """The file and the run that made it."""
    facts = sources["weights"]
    config, calibration = facts["config"], facts.get("calibration")
    rows: list[list[object]] = [
        ["file", f"{facts['bytes'] / 1e6:.1f} MB, SHA-256 `{facts['sha256']}`"],
        [
            "parameters",
            f"{facts['parameters'] / 1e6:.2f} million, frame backbone `{at(config, 'model', 'video', 'backbone')}`",
        ],
        ["a clip", clip_words(config)],
        ["seed", config.get("seed")],
        [
            "epoch",
            f"{facts['epoch']} of {at(config, 'training', 'epochs')}, the best one on pseudo-fakes of unseen people",
        ],
        ["families trained on", weighted(at(config, "dataset", "pseudo_fakes", "families"))],
        ["what was made of drawn faces", weighted(at(config, "dataset", "pseudo_fakes", "generated"))],
        ["calibration", f"scale {calibration['scale']:.3f}, bias {calibration['bias']:.3f}" if calibration else "none"],
    ]
    yield from table(["", ""], rows)


def weighted(weights: Mapping[str, float] | None) -> str:
    """Names with their weights, without those that weigh nothing."""
    return ", ".join(f"{name} {weight:g}" for name, weight in (weights or {}).items() if weight) or "none"


def clip_words(config: Figures) -> str:
    """What the model looks at."""
    video, face = at(config, "dataset", "video") or {}, at(config, "dataset", "face") or {}
    sound = "with sound" if at(config, "dataset", "audio", "enabled") else "without sound"
    frames = f"{video.get('temporal_window')} frames at {video.get('frame_rate')} a second"
    return f"{frames}, faces of {face.get('size')} pixels with a margin of {face.get('margin')}, {sound}"


def points(sources: Mapping[str, Figures]) -> Lines:
    """The operating points."""
    rows = [
        [
            f"`{one['name']}`",
            number(one["low"]),
            number(one["high"]),
            f"{share(one['false_positive_rate'])} [{', '.join(map(share, one['false_positive_interval']))}]",
            share(one["true_positive_rate"]),
            f"{share(one['real_abstention'])}, {share(one['fake_abstention'])}",
        ]
        for one in sources["weights"].get("operating_points", [])
    ]
    head = ["point", "real below", "fake above", "reals called fake", "fakes called fake", "uncertain: reals, fakes"]
    yield from table(head, rows) if rows else ["The weights have no operating points."]


def acceptance(sources: Mapping[str, Figures]) -> Lines:
    """Every demand, whether met or not."""
    demands = [one for source in sources.values() for one in source.get("acceptance", [])]
    rows = [[one["what"].replace("|", "or"), one["found"], "met" if one["passed"] else "**missed**"] for one in demands]
    yield from table(["demand", "found", ""], rows)


def wild(sources: Mapping[str, Figures]) -> Lines:
    """Videos that nobody here made: each system on each slice."""
    slices = sources["wild"].get("auc", {})
    systems = list(dict.fromkeys(name for row in slices.values() for name in row))
    rows = [
        [name, *(at(row, AURA, count) or "" for count in COUNTS), *(ranged(row.get(system)) for system in systems)]
        for name, row in slices.items()
    ]
    yield from table(["AUC of", *COUNTS.values(), *systems], rows)
    won = {name: row.get(AURA) for name, row in sources["wild"].get("pairs_won", {}).items()}
    if won:
        yield ""
        said = ", ".join(f"{name} {share(value)}" for name, value in won.items())
        yield f"The fake of a pair looks more fake than its original: {said}."


def decided(sources: Mapping[str, Figures]) -> Lines:
    """What becomes of reals and fakes at each operating point."""
    rows = [
        [f"{where}, `{name}`", *(share(at(sides, side, kind)) for side in ("reals", "fakes") for kind in KINDS)]
        for source, where in (("wild", "wild"), ("robustness", "pseudo-fakes"))
        for name, sides in sources.get(source, {}).get("decisions", {}).items()
        if name != IN_FORCE
    ]
    head = [f"{side}: {kind}" for side in ("reals", "fakes") for kind in KINDS]
    yield from table(["", *head], rows) if rows else ["The weights have no operating points."]


def families(sources: Mapping[str, Figures]) -> Lines:
    """Each family of pseudo-fakes, the hardest first."""
    found = at(sources["robustness"], "families", "table") or {}
    overlaps = at(sources["robustness"], "heatmap", "families") or {}
    ordered = sorted(found.items(), key=lambda item: at(item[1], "auc", "value") or 0)
    rows = [
        [
            f"`{name}`",
            TRAINED[one["kind"]],
            one.get("n"),
            one.get("people"),
            ranged(one.get("auc")),
            number(at(overlaps, name, "mean")),
        ]
        for name, one in ordered
    ]
    yield from table(["family", "", "clips", "people", "AUC", "heat-map's IoU with the truth"], rows)


def leave_one_out(sources: Mapping[str, Figures]) -> Lines:
    """Each family by detectors that were trained on all and without each; bold where it is the missing one."""
    detectors = sources["leave_one_out"].get("rows", {})
    tried = dict.fromkeys(name for found in detectors.values() for name in found)
    head = [name if name == "all" else f"without {name}" for name in detectors]
    rows = [[name, *(auc_without(name, missing, found) for missing, found in detectors.items())] for name in tried]
    yield from table(["AUC on", *head], rows)


def auc_without(tried: str, missing: str, found: Figures) -> str:
    """The AUC of one family by a detector; bold where that never saw it."""
    said = number(at(found, tried, "value"))
    return f"**{said}**" if tried == missing else said


def grid(sources: Mapping[str, Figures]) -> Lines:
    """AUC under each perturbation at each level."""
    robustness = sources["robustness"].get("robustness", {})
    cells = robustness.get("cells", {})
    names = list(dict.fromkeys(name.rpartition(":")[0] for name in cells))
    rows = [
        [name, *(number(at(cells, f"{name}:{level}", "auc", "value")) for level in range(1, LEVELS + 1))]
        for name in names
    ]
    clean = robustness.get("clean", {})
    yield f"Unperturbed: {ranged(clean.get('auc'))} on {clean.get('n')} clips; ECE {ranged(clean.get('ece'))}."
    yield ""
    yield from table(["level", *map(str, range(1, LEVELS + 1))], rows)


def probes(sources: Mapping[str, Figures]) -> Lines:
    """Shortcuts that the detector should not have: each AUC should be a half."""
    found = sources["robustness"].get("probes", {})
    rows = [[name, one.get("n"), ranged(one.get("auc"))] for name, one in found.items()]
    yield from table(["probe", "clips", "AUC, wanted 0.5"], rows)
    called = at(sources["robustness"], "null_blend", IN_FORCE, "reals", "fake")
    if called is not None:
        yield ""
        yield f"Of null blends, faces blended back unchanged, {share(called)} are called fake."


def coverage(sources: Mapping[str, Figures]) -> Lines:
    """The error that is left when the least certain answers are withheld."""
    risks = at(sources["robustness"], "selective", "risk_at") or {}
    yield from table(["answered", *(share(float(one)) for one in risks)], [["wrong", *map(share, risks.values())]])


def at(tree: object, *path: str) -> Any:
    """The value under nested keys; None where one is missing."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def number(value: float | None) -> str:
    """Three decimals."""
    return NONE if value is None else f"{value:.3f}"


def share(value: float | None) -> str:
    """A percentage."""
    return NONE if value is None else f"{100 * value:.1f} %"


def ranged(figure: Figures | None) -> str:
    """A figure and its interval."""
    if not figure or figure.get("value") is None:
        return NONE
    low, high = figure.get("low"), figure.get("high")
    return number(figure["value"]) + ("" if low is None or high is None else f" [{number(low)}, {number(high)}]")


KINDS = ("fake", "real", "uncertain")
TRAINED = {"trained": "trained on", "held_out": "never trained on", "drawn": "made of drawn faces"}


@dataclass(frozen=True)
class Block:
    """What fills a block of a page."""

    sources: tuple[str, ...]
    """Of which at least one must be there."""
    lines: Callable[[Mapping[str, Figures]], Iterable[str]]


BLOCKS: Mapping[str, Block] = {
    "summary": Block(("wild", "robustness"), summary),
    "weights": Block(("weights",), weights),
    "points": Block(("weights",), points),
    "acceptance": Block(("wild", "robustness"), acceptance),
    "wild": Block(("wild",), wild),
    "decided": Block(("wild", "robustness"), decided),
    "families": Block(("robustness",), families),
    "grid": Block(("robustness",), grid),
    "leave_one_out": Block(("leave_one_out",), leave_one_out),
    "probes": Block(("robustness",), probes),
    "coverage": Block(("robustness",), coverage),
}


if __name__ == "__main__":
    main()
