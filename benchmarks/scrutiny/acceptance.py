"""What is asked of a detector, line by line: what was found, and whether that passes."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

TRAINED = 0.98
HELD_OUT_MEAN, HELD_OUT_WORST = 0.90, 0.80
MOST_DROP = 0.08
GATED_LEVELS = (1, 2, 3)
ECE_CLEAN, ECE_SHIFT = 0.05, 0.12
LEAST_CLIPS, LEAST_A_CLASS = 1000, 400
CALLED_FAKE = 0.05
"""Share of null blends that may be called fake: the false positive rate that `balanced` promises."""
IN_FORCE = "in_force"
ROUNDING = 1e-9


@dataclass(frozen=True)
class Line:
    """One demand."""

    what: str
    found: str
    passed: bool
    gate: bool = True
    """False: an ambition, or told for information."""

    def plain(self) -> dict[str, Any]:
        """As plain types."""
        return asdict(self)


def lines(report: Mapping[str, Any]) -> list[Line]:
    """Every demand on what `scrutiny.judging.judge` gives that was measured."""
    return [*_families(report["families"]), *_robustness(report), *_probes(report)]


def _families(families: Mapping[str, Any]) -> Iterator[Line]:
    for kind, least_mean, least in (("trained", TRAINED, TRAINED), ("held_out", HELD_OUT_MEAN, HELD_OUT_WORST)):
        if kind in families:
            name, found = kind.replace("_", "-"), families[kind]
            yield Line(
                f"{name} families, mean AUC >= {least_mean:.2f}", f"{found['mean']:.3f}", found["mean"] >= least_mean
            )
            yield Line(f"{name} families, worst AUC >= {least:.2f}", f"{found['worst']:.3f}", found["worst"] >= least)


def _robustness(report: Mapping[str, Any]) -> Iterator[Line]:
    clean, cells = report["robustness"]["clean"], report["robustness"]["cells"]
    ece = report["clean"]["ece"]["value"]
    yield Line(f"ECE, clean <= {ECE_CLEAN:.2f}", f"{ece:.3f}", ece <= ECE_CLEAN)
    if not cells:
        return
    gated = {name: cell for name, cell in cells.items() if int(name.split(":")[1]) in GATED_LEVELS}
    yield Line(f"clips in each cell >= {LEAST_CLIPS}", str(clean["n"]), clean["n"] >= LEAST_CLIPS)
    for what, among in (("levels 1-3", gated), ("all levels", cells)):
        if not among:
            continue
        drop = max(among, key=lambda name: among[name]["drop"])
        shift = max(among, key=lambda name: among[name]["ece"]["value"])
        found, error = among[drop]["drop"], among[shift]["ece"]["value"]
        gate = among is gated
        yield Line(f"AUC drop, {what} <= {MOST_DROP:.2f}", f"{found:.3f} ({drop})", found <= MOST_DROP, gate)
        yield Line(f"ECE under shift, {what} <= {ECE_SHIFT:.2f}", f"{error:.3f} ({shift})", error <= ECE_SHIFT, gate)


def _probes(report: Mapping[str, Any]) -> Iterator[Line]:
    for name, found in report["probes"].items():
        auc, enough = found["auc"], min(found["reals"], found["fakes"]) >= LEAST_A_CLASS
        known = auc["low"] is not None
        inside = known and auc["low"] - ROUNDING <= 0.5 <= auc["high"] + ROUNDING
        beside = f"[{auc['low']:.3f}, {auc['high']:.3f}]" if known else "no interval"
        few = "" if enough else f", only {min(found['reals'], found['fakes'])} a class"
        yield Line(f"probe {name}: 0.5 in the interval", f"{auc['value']:.3f} {beside}{few}", inside and enough)
    called = report["null_blend"][IN_FORCE]["reals"]["fake"]
    if called is not None:
        yield Line(f"null blends called fake <= {CALLED_FAKE:.2f}", f"{called:.3f}", called <= CALLED_FAKE)
