"""A folder of labelled videos that nobody here made."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class WildClip:
    """One labelled video."""

    path: Path
    file: str
    """As the manifest names it."""
    label: int
    """1 is fake."""
    kind: str
    """Of forgery, or what the genuine ones are."""
    group: str
    """Videos of one group are no independent samples."""
    pair: str
    """The name, without folder and suffix, of the genuine video that a fake was made of; empty where there is none."""


def read_wild(folder: Path) -> list[WildClip]:
    """The videos of `manifest.csv`: its columns are file, label (real or fake), kind, group, and for fakes pair.

    Raises:
        OSError: there is no such file.
        ValueError: a label is neither of the two.
    """
    with (folder / MANIFEST).open(newline="", encoding="utf-8") as file:
        return [_clip(folder, row) for row in csv.DictReader(file)]


def matched(clips: Sequence[WildClip], kind: str | None = None) -> npt.NDArray[np.intp]:
    """Places of the fakes that have their original in the set, and of these originals, [pairs, 2].

    Args:
        clips: all of the set.
        kind: just the fakes of this kind.
    """
    places = {Path(clip.file).stem: place for place, clip in enumerate(clips)}
    pairs = [
        (place, places[clip.pair])
        for place, clip in enumerate(clips)
        if clip.label and clip.pair in places and kind in (None, clip.kind)
    ]
    return np.array(pairs, np.intp).reshape(-1, 2)


def _clip(folder: Path, row: dict[str, str]) -> WildClip:
    label = {"real": 0, "fake": 1}.get(row["label"])
    if label is None:
        raise ValueError(f"{row['file']}: the label is {row['label']!r}, not real or fake")
    group = row.get("group") or row["file"]
    return WildClip(folder / row["file"], row["file"], label, row.get("kind", ""), group, row.get("pair") or "")
