"""From records to the report: families, robustness, probes, decisions, the worst pairs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from aura_model.augment.pairs import GENERATED
from aura_model.augment.perturbations import LEVELS, PERTURBATIONS
from aura_model.calibration import Band
from scrutiny.examiner import CLEAN, NULL
from scrutiny.figures import decisions, figure, grouped_log_odds, reliability_bins, selective
from scrutiny.probes import EDITS
from scrutiny.records import Record

WORST = 24
"""Pairs that are listed."""
Report = dict[str, Any]


def judge(records: Sequence[Record], bands: Mapping[str, Band], trained: Collection[str]) -> Report:
    """Everything that the records tell, as plain types.

    Args:
        records: of all tasks.
        trained: the families that the detector was trained on; the others were held out.
        bands: by the names of the operating points, the one in force as `in_force`.
    """
    clean = [one for one in records if one.view == CLEAN]
    mixture = _deep(records)
    labels, odds = [one.label for one in mixture], [_odds(one) for one in mixture]
    return {
        "clean": _figure(mixture),
        "families": _families(clean, trained),
        "robustness": _robustness(records),
        "probes": _probes(records, mixture),
        "null_blend": decisions(
            [0] * _count(records, NULL), [_odds(one) for one in records if one.view == NULL], bands
        ),
        "decisions": decisions(labels, odds, bands),
        "reliability": reliability_bins(labels, odds),
        "selective": selective(labels, odds),
        "heatmap": _heatmap(clean),
        "worst": worst_pairs(clean)[:WORST],
    }


def worst_pairs(clean: Iterable[Record]) -> list[dict[str, Any]]:
    """The pairs by how much more fake the fake one looks, the least first."""
    sides: dict[tuple[str, str], dict[int, float]] = {}
    for one in clean:
        sides.setdefault((one.pair, one.family), {})[one.label] = _odds(one)
    pairs = [
        {"pair": pair, "family": family, "real": both[0], "fake": both[1], "lead": both[1] - both[0]}
        for (pair, family), both in sides.items()
        if len(both) == 2
    ]
    return sorted(pairs, key=lambda one: (one["lead"], one["pair"], one["family"]))


def _families(clean: Sequence[Record], trained: Collection[str]) -> Report:
    """Each family's fakes against the reals they were made of."""
    found = {}
    for name in sorted({one.family for one in clean}):
        own = [one for one in clean if one.family == name]
        kind = "drawn" if name in GENERATED else "trained" if name in trained else "held_out"
        found[name] = {"kind": kind, **_figure(own)}
    aucs = {
        kind: [one["auc"]["value"] for one in found.values() if one["kind"] == kind] for kind in ("trained", "held_out")
    }
    return {
        "table": found,
        **{kind: {"mean": mean(values), "worst": min(values)} for kind, values in aucs.items() if values},
    }


def _robustness(records: Sequence[Record]) -> Report:
    """Each cell beside the same pairs without a perturbation."""
    base = _figure(_deep(records))
    cells = {}
    for name in PERTURBATIONS:
        for level in LEVELS:
            own = [one for one in records if one.view == f"{name}:{level}"]
            if own:
                cell = _figure(own)
                cells[f"{name}:{level}"] = cell | {"drop": base["auc"]["value"] - cell["auc"]["value"]}
    return {"clean": base, "cells": cells}


def _deep(records: Sequence[Record]) -> list[Record]:
    """The clean clips of the pairs that were examined under every condition: the recipe's mixture of families."""
    deep = {one.pair for one in records if one.view == NULL}
    return [one for one in records if one.view == CLEAN and one.pair in deep]


def _probes(records: Sequence[Record], mixture: Sequence[Record]) -> Report:
    """Each an AUC that should be about a half."""
    reals = [one for one in mixture if not one.label]
    background = [one for one in records if one.view == "background"]
    coded = [one for one in records if one.view == "coded"]
    against = {name: [*reals, *(one for one in records if one.view == name)] for name in (NULL, "silence")}
    edits = {f"edit: {name}": [*reals, *(one for one in records if one.view == f"edit:{name}")] for name in EDITS}
    scored = {
        "null blend": against[NULL],
        "background, by the detector": background,
        "silent sound": against["silence"],
        "coded twice": coded,
        **edits,
    }
    measured = {"background, by cheap statistics": background, "file metadata": mixture}
    return {
        **{name: _figure(own) for name, own in scored.items() if _both(own)},
        **{name: _by_statistics(own) for name, own in measured.items() if _both(own)},
    }


def _by_statistics(own: Sequence[Record]) -> Report:
    labels, people = [one.label for one in own], [one.person for one in own]
    return figure(labels, grouped_log_odds([one.statistics for one in own], labels, people).tolist(), people)


def _heatmap(clean: Sequence[Record]) -> Report:
    """Mean overlap with the truth for each family whose forgeries have a place."""
    families = sorted({one.family for one in clean})
    found = {name: [one.iou for one in clean if one.family == name and one.iou is not None] for name in families}
    whole = [value for values in found.values() for value in values]
    return {
        "mean": mean(whole) if whole else None,
        "families": {name: {"n": len(values), "mean": mean(values)} for name, values in found.items() if values},
    }


def _figure(own: Sequence[Record]) -> Report:
    return figure([one.label for one in own], [_odds(one) for one in own], [one.person for one in own])


def _both(own: Sequence[Record]) -> bool:
    return {one.label for one in own} == {0, 1}


def _count(records: Sequence[Record], view: str) -> int:
    return sum(one.view == view for one in records)


def _odds(record: Record) -> float:
    if record.log_odds is None:
        raise ValueError(f"{record.pair} has no score")
    return record.log_odds
