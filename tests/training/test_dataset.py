"""Samples as path rows, and the actor that makes clip rows of them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from aura_model.config import Config
from training import dataset
from training.data.debugset import MEDIA
from training.data.manifest import Sample
from training.dataset import ClipExtractor
from training.rows import EVALUATION, Row, path_row, to_rows


def test_a_path_row_says_which_file_and_how_it_is_drawn(make_sample: Callable[..., Sample]) -> None:
    sample = make_sample("a", 1, "val", "s3://bucket/a.mp4", identity="someone")
    facts = {"video_id": "a", "path": "s3://bucket/a.mp4", "label": 1, "split": "val", "slot": 4}
    assert path_row(sample, 4) == facts | {"epoch": EVALUATION}
    assert path_row(sample, 4, epoch=2) == facts | {"epoch": 2}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """The path rows for which rows were wanted; each video has as many clips as its label says."""
    seen: list[Row] = []

    def rows(source: Mapping[str, Any]) -> list[Row]:
        seen.append({name: value.item() for name, value in source.items()})
        return [{**source, "clip": clip} for clip in range(int(source["label"]))]

    monkeypatch.setattr(dataset, "setup_logging", lambda config: None)
    monkeypatch.setattr(dataset, "clip_source", lambda config: rows)
    return seen


def test_an_extractor_yields_each_clip_of_each_path_row_by_itself(
    config: Config, make_sample: Callable[..., Sample], asked: list[Row]
) -> None:
    sources = [path_row(make_sample(name, label), slot) for slot, (name, label) in enumerate([("a", 3), ("b", 1)])]
    batch = {name: np.array([source[name] for source in sources]) for name in sources[0]}
    given = [to_rows(columns) for columns in ClipExtractor(config.plain())(batch)]
    assert [len(rows) for rows in given] == [1, 1, 1, 1]
    assert [(row["video_id"], row["clip"]) for (row,) in given] == [("a", 0), ("a", 1), ("a", 2), ("b", 0)]
    assert asked == sources


def test_an_extractor_decodes_only_when_the_next_clip_is_wanted(
    config: Config, make_sample: Callable[..., Sample], asked: list[Row]
) -> None:
    sources = [path_row(make_sample(name, 1), 0) for name in ("a", "b")]
    given = ClipExtractor(config.plain())({name: np.array([one[name] for one in sources]) for name in sources[0]})
    next(given)
    assert [row["video_id"] for row in asked] == ["a"]


def test_an_extractor_takes_up_the_configuration(make_config: Callable[..., Config], asked: list[Row]) -> None:
    config, found = make_config("seed=7"), list[Config]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "clip_source", found.append)
        ClipExtractor(config.plain())
    assert found == [config]
    assert asked == []


def test_an_extractor_of_evaluation_makes_no_pairs(
    make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the configuration says of training: what is evaluated are the media as they are."""
    monkeypatch.setattr(dataset, "setup_logging", lambda config: None)
    config = make_config("dataset.pseudo_fakes.enabled=true", "dataset.face.detect=false")
    source = path_row(Sample("a", 0, "test", str(MEDIA / "face.jpg")), 0)
    batch = {name: np.array([value]) for name, value in source.items()}
    rows = [row for columns in ClipExtractor(config.plain())(batch) for row in to_rows(columns)]
    assert [(row["variant"], bool(row["has_places"]), row["label"]) for row in rows] == [("", False, 0)]
