"""Groups become files with the clips that evaluation and training need; what cannot be used is told, never raised."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aura_model.clips import ClipLoader, sample_starts
from aura_model.config import Config
from aura_model.settings import parse_config
from training.data.manifest import Sample
from training.extraction import MediaRows
from training.rows import ClipShape, Row, error_row, rows_of, to_rows
from training.store.clip_store import ClipStore
from training.store.extractor import GroupExtractor, Report, extraction_config

MEDIA = Path(__file__).parents[2] / "media"
EVALUATION: Row = {"epoch": -1, "slot": 0, "label": 1, "split": "val"}


def sample(name: str, split: Any = "train") -> Sample:
    return Sample(name, 1, split, str(MEDIA / name), {"identity": name[:3]})


def run(extractor: GroupExtractor, *groups: Sequence[Sample]) -> list[Report]:
    texts = np.array([json.dumps([asdict(one) for one in group]) for group in groups])
    return [row for columns in extractor({"group": texts}) for row in to_rows(columns)]


@pytest.fixture
def quick(make_config: Callable[..., Config]) -> Config:
    """Without face detection and sound, so that a decode child starts and works fast."""
    return make_config(
        "dataset.face.detect=false",
        "dataset.audio.enabled=false",
        "dataset.preprocessing.train_clips=5",
        "dataset.video.clips_per_video={train: 2, eval: 3}",
    )


def test_files_become_rows_or_errors(tmp_path: Path, quick: Config) -> None:
    names = ("talking_face.mp4", "not_a_video.mp4", "empty.mp4", "huge_frame.mp4", "gone.mp4", "two_faces.mp4")
    reports = run(GroupExtractor(quick.plain(), str(tmp_path)), [sample(name) for name in names])
    assert [(one["video_id"], one["code"]) for one in reports] == [
        ("talking_face.mp4", ""),
        ("not_a_video.mp4", "invalid_video"),
        ("empty.mp4", "empty_file"),
        ("huge_frame.mp4", "resolution_too_large"),
        ("gone.mp4", "unreadable_file"),
        ("two_faces.mp4", ""),
    ]
    store = ClipStore(str(tmp_path), quick)
    assert store.samples() == sorted(map(sample, names), key=lambda one: one.video_id)
    assert {one["video_id"]: one["code"] for one in reports} == {
        name: store.rows(EVALUATION | {"video_id": name, "path": name})[0]["error"] for name in names
    }
    assert [path.suffix for path in tmp_path.iterdir()] == [".parquet"]


def test_stored_clips_are_those_of_evaluation(tmp_path: Path, quick: Config) -> None:
    one = sample("talking_face.mp4", "val")
    run(GroupExtractor(quick.plain(), str(tmp_path)), [one])
    path_row = EVALUATION | {"video_id": one.video_id, "path": one.path}
    stored = ClipStore(str(tmp_path), quick).rows(path_row)
    direct = rows_of(ClipLoader(quick).load(Path(one.path), None), path_row, ClipShape.of(quick))
    assert len(stored) == len(direct) == 3
    for there, here in zip(stored, direct, strict=True):
        assert set(there) == set(here)
        for name in set(here) - {"frames"}:
            assert np.array_equal(there[name], here[name]), name
        assert np.abs(there["frames"].astype(int) - here["frames"]).mean() < 3


def test_training_videos_get_train_clips_windows(tmp_path: Path, quick: Config) -> None:
    one = sample("talking_face.mp4")
    [report] = run(GroupExtractor(quick.plain(), str(tmp_path)), [one])
    store = ClipStore(str(tmp_path), quick)
    path_row = EVALUATION | {"video_id": one.video_id, "path": one.path}
    starts = [float(row["times"][0]) for row in store.rows(path_row)]
    assert len(set(starts)) == report["clips"] == 5
    assert np.ptp(np.diff(starts)) < 1e-9
    assert len(store.rows(path_row | {"epoch": 1})) == 2


def test_which_clips_are_stored(make_config: Callable[..., Config]) -> None:
    config = make_config("dataset.preprocessing.train_clips=9", "dataset.video.max_clips=16")
    assert extraction_config(config, "val") == extraction_config(config, "test") == config
    train = extraction_config(config, "train")
    assert len(sample_starts(60.0, train.dataset.video, None)) == 9
    assert train.dataset.video.max_clips == 16 * 5
    assert train.dataset.face == config.dataset.face


@pytest.mark.parametrize(("windows", "most"), [(8, 64), (1, 16), (1000, 256)])
def test_the_bound_on_clips_grows_with_the_windows(make_config: Callable[..., Config], windows: int, most: int) -> None:
    config = make_config(f"dataset.preprocessing.train_clips={windows}", "dataset.video.max_clips=16")
    assert extraction_config(config, "train").dataset.video.max_clips == most


class Opened:
    """A source of rows that notes which configurations were opened."""

    def __init__(self) -> None:
        self.configs: list[Config] = []

    def __call__(self, config: Config) -> Callable[[Mapping[str, Any]], list[Row]]:
        self.configs.append(config)
        return lambda source: [error_row("corrupt_video", "", source, ClipShape.of(config))]


def test_one_source_serves_all_groups_of_a_kind(tmp_path: Path, quick: Config) -> None:
    opened = Opened()
    groups = [[sample(str(number), split)] for number, split in enumerate(("train", "train", "val", "test"))]
    assert len(run(GroupExtractor(quick.plain(), str(tmp_path), opened), *groups)) == 4
    assert opened.configs == [extraction_config(quick, "train"), quick]


def test_a_group_that_is_done_again_replaces_its_file(tmp_path: Path, quick: Config) -> None:
    for _ in range(2):
        run(GroupExtractor(quick.plain(), str(tmp_path), Opened()), [sample("a"), sample("b")])
    assert len(list(tmp_path.iterdir())) == 1
    assert len(ClipStore(str(tmp_path), parse_config(quick.plain())).samples()) == 2


def test_media_are_the_default_source(tmp_path: Path, quick: Config) -> None:
    assert isinstance(GroupExtractor(quick.plain(), str(tmp_path))._source("val"), MediaRows)
