import doctest
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml
from torch.utils.data import DataLoader, default_collate

import aura_model.dataset
from aura_model.augment.clip import augment_clip
from aura_model.batch import to_batch
from aura_model.clips import Clip, Clips, load_clips
from aura_model.config import Config
from aura_model.dataset import Item, MultimodalDataset, Video, middle_clip
from aura_model.errors import DecoderError
from aura_model.media import MediaInfo
from aura_model.model import MultimodalModel
from aura_model.sandbox import Sandbox
from aura_model.seeds import derive_seed

MEDIA = Path(__file__).parents[1] / "media"
TENSORS = ("video", "audio", "video_mask", "audio_mask", "label")
NAMES = ("talking_face.mp4", "no_face_speech.mp4", "two_faces.mp4", "no_face.mp4", "not_a_video.mp4", "missing.mp4")


def videos(*names: str) -> list[Video]:
    return [Video(MEDIA / name, index % 2) for index, name in enumerate(names)]


def equal(first: Item, second: Item) -> bool:
    tensors = all(torch.equal(first[name], second[name]) for name in TENSORS)  # type: ignore[literal-required]
    return tensors and (first["video_id"], first["error"]) == (second["video_id"], second["error"])


@pytest.fixture(scope="module")
def config(tiny_config: Callable[..., Config]) -> Config:
    return tiny_config("dataset.video.clips_per_video.train=3", "dataset.video.clips_per_video.eval=3")


@pytest.fixture(scope="module")
def evaluation(config: Config) -> Iterator[MultimodalDataset]:
    with MultimodalDataset(videos(*NAMES), config) as data:
        yield data


@pytest.fixture(scope="module")
def training(config: Config) -> Iterator[MultimodalDataset]:
    with MultimodalDataset(videos("talking_face.mp4", "two_faces.mp4"), config, train=True) as data:
        yield data


@pytest.fixture
def fresh(training: MultimodalDataset) -> MultimodalDataset:
    training.set_epoch(1)
    return training


def test_a_video_is_called_like_its_file_unless_it_has_a_name() -> None:
    assert Video(Path("a/b.mp4"), 1) == Video(Path("a/b.mp4"), 1, "b.mp4")
    assert Video(Path("a/b.mp4"), 1, "mine").video_id == "mine"


def test_there_is_one_item_for_each_video_in_their_order(evaluation: MultimodalDataset) -> None:
    items = [evaluation[index] for index in range(len(evaluation))]
    assert [item["video_id"] for item in items] == list(NAMES)
    assert [int(item["label"]) for item in items] == [0, 1, 0, 1, 0, 1]


def test_an_index_beyond_the_videos_ends_an_iteration(evaluation: MultimodalDataset) -> None:
    with pytest.raises(IndexError):
        evaluation[len(NAMES)]
    assert evaluation[-1]["video_id"] == NAMES[-1]


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_shapes_and_types_are_the_same_for_every_video(evaluation: MultimodalDataset, index: int) -> None:
    item = evaluation[index]
    assert (item["video"].shape, item["video"].dtype) == ((3, 3, 64, 64), torch.uint8)
    assert (item["audio"].shape, item["audio"].dtype) == ((32, 6000 // 160 + 1), torch.float32)
    assert (item["video_mask"].shape, item["video_mask"].dtype) == ((), torch.bool)
    assert (item["audio_mask"].shape, item["audio_mask"].dtype) == ((), torch.bool)
    assert (item["label"].shape, item["label"].dtype) == ((), torch.int64)


@pytest.mark.parametrize(
    ("name", "seen", "heard", "error"),
    [
        ("talking_face.mp4", True, True, ""),
        ("no_face_speech.mp4", False, True, ""),
        ("two_faces.mp4", True, False, ""),
        ("no_face.mp4", False, False, "no_clips"),
        ("not_a_video.mp4", False, False, "invalid_video"),
        ("missing.mp4", False, False, "unreadable_file"),
    ],
)
def test_what_is_missing_is_zero_and_masked(
    evaluation: MultimodalDataset, name: str, seen: bool, heard: bool, error: str
) -> None:
    item = evaluation[NAMES.index(name)]
    assert (bool(item["video_mask"]), bool(item["audio_mask"]), item["error"]) == (seen, heard, error)
    assert (bool(item["video"].any()), bool(item["audio"].any())) == (seen, heard)


@pytest.mark.parametrize(("name", "index"), [("talking_face.mp4", 1), ("two_faces.mp4", 1), ("no_face_speech.mp4", 1)])
def test_an_evaluation_item_is_the_batch_of_the_middle_clip(
    evaluation: MultimodalDataset, config: Config, name: str, index: int
) -> None:
    clips = load_clips(MEDIA / name, config).clips
    assert [clip.track_id for clip in clips[:3]] == [clips[0].track_id] * 3
    batch, item = to_batch([clips[index]], config), evaluation[NAMES.index(name)]
    for found, expected in ((item["video"], batch.video), (item["audio"], batch.audio)):
        assert expected is None or torch.equal(found, expected[0])
    assert torch.equal(item["video_mask"], batch.video_mask[0])
    assert torch.equal(item["audio_mask"], batch.audio_mask[0])


@pytest.mark.parametrize(
    ("tracks", "chosen"), [([0], 0), ([0, 0], 1), ([0, 0, 0, 0], 2), ([3, 3, 3, 1, 1, 1], 1), ([None, None, None], 1)]
)
def test_the_middle_clip_is_that_of_the_first_face(
    make_clip: Callable[..., Clip], tracks: list[int | None], chosen: int
) -> None:
    clips = [replace(make_clip(seed), track_id=track) for seed, track in enumerate(tracks)]
    assert middle_clip(Clips(tuple(clips), MediaInfo.model_construct(), (), {})) is clips[chosen]


def test_evaluation_is_the_same_in_every_epoch(evaluation: MultimodalDataset) -> None:
    before = evaluation[0]
    evaluation.set_epoch(7)
    assert equal(evaluation[0], before)


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_training_item_is_an_augmented_clip_of_its_epoch(
    fresh: MultimodalDataset, config: Config, epoch: int
) -> None:
    """The very clip and the very draws that any other consumer of these seeds gets."""
    fresh.set_epoch(epoch)
    names = (config.seed, epoch, "talking_face.mp4")
    clips = load_clips(MEDIA / "talking_face.mp4", config, np.random.default_rng(derive_seed(*names))).clips
    candidates = [
        augment_clip(clip, config.dataset.augmentation, np.random.default_rng(derive_seed(*names, index)))
        for index, clip in enumerate(clips)
    ]
    found = fresh[0]
    batches = [to_batch([clip], config) for clip in candidates]
    assert [b.video is not None and torch.equal(found["video"], b.video[0]) for b in batches].count(True) == 1
    if found["audio_mask"]:
        assert any(b.audio is not None and torch.equal(found["audio"], b.audio[0]) for b in batches)


def test_training_repeats_within_an_epoch_and_differs_between_epochs(fresh: MultimodalDataset) -> None:
    first, again = fresh[0], fresh[0]
    assert equal(first, again)
    fresh.set_epoch(2)
    assert not equal(fresh[0], first)
    fresh.set_epoch(1)
    assert equal(fresh[0], first)


def test_every_clip_of_a_video_has_its_turn(fresh: MultimodalDataset, config: Config) -> None:
    """Three clips of one face: in 60 epochs each is drawn about 20 times."""
    blank = Clip(np.arange(3.0), 3.0, np.zeros((3, 64, 64, 3), np.uint8), None, None, 0, None)
    marked = tuple(replace(blank, times=blank.times + index) for index in range(3))
    drawn = []
    for epoch in range(60):
        fresh.set_epoch(epoch)
        clip = fresh._training_clip(Video(Path("a.mp4"), 0), Clips(marked, MediaInfo.model_construct(), (), {}))
        drawn.append(int(clip.times[0]))
    assert all(10 <= drawn.count(index) <= 30 for index in range(3))


@pytest.mark.parametrize(
    ("change", "same"), [({"video_id": "other"}, False), ({"label": 1}, True), ({"path": MEDIA / "copy.mp4"}, True)]
)
def test_draws_depend_on_the_name_of_the_video_alone(config: Config, change: dict[str, Any], same: bool) -> None:
    data, video = MultimodalDataset([], config, train=True), Video(MEDIA / "talking_face.mp4", 0, "name")
    assert (data._seed(video) == data._seed(replace(video, **change))) is same


def test_the_seed_of_the_configuration_counts(tiny_config: Callable[..., Config]) -> None:
    video = Video(Path("a.mp4"), 0)
    seeds = [MultimodalDataset([], tiny_config(f"seed={seed}"), train=True)._seed(video) for seed in (0, 1)]
    assert seeds[0] != seeds[1]


def test_switched_off_sound_is_masked(tiny_config: Callable[..., Config]) -> None:
    with MultimodalDataset(videos("talking_face.mp4"), tiny_config("dataset.audio.enabled=false")) as data:
        item = data[0]
    assert (bool(item["video_mask"]), bool(item["audio_mask"])) == (True, False)
    assert item["audio"].shape == (32, 38)


def usable(batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    rows = batch["video_mask"] | batch["audio_mask"]
    return {name: batch[name][rows] for name in ("video", "audio", "video_mask", "audio_mask")}


def test_a_collated_batch_goes_through_the_model(evaluation: MultimodalDataset, config: Config) -> None:
    batch = default_collate([evaluation[index] for index in range(len(NAMES))])
    assert batch["video"].shape == (6, 3, 3, 64, 64)
    assert batch["error"] == ["", "", "", "no_clips", "invalid_video", "unreadable_file"]
    model = MultimodalModel(config.model).eval()
    with torch.inference_mode():
        logits = model(**usable(batch))
        clip = middle_clip(load_clips(MEDIA / NAMES[0], config))
        alone = to_batch([clip], config)
        expected = model(alone.video, alone.audio, video_mask=alone.video_mask, audio_mask=alone.audio_mask)
    assert logits.shape == (3, 2)
    torch.testing.assert_close(logits[:1], expected, atol=1e-5, rtol=1e-4)


def loaded(data: MultimodalDataset, workers: int, **options: Any) -> list[dict[str, Any]]:
    return list(DataLoader(data, batch_size=2, num_workers=workers, **options))


@pytest.mark.parametrize("train", [False, True])
def test_workers_give_the_same_batches_as_this_process(config: Config, train: bool) -> None:
    with MultimodalDataset(videos(*NAMES), config, train=train) as data:
        here, there = loaded(data, 0), loaded(data, 2)
    assert [batch["video_id"] for batch in there] == [list(NAMES[at : at + 2]) for at in (0, 2, 4)]
    for first, second in zip(here, there, strict=True):
        assert first["error"] == second["error"]
        assert all(torch.equal(first[name], second[name]) for name in TENSORS)


def test_a_new_iteration_sees_a_new_epoch(config: Config) -> None:
    with MultimodalDataset(videos("talking_face.mp4"), config, train=True) as data:
        loader: Any = DataLoader(data, num_workers=1)
        first, again = next(iter(loader)), next(iter(loader))
        data.set_epoch(2)
        second = next(iter(loader))
        expected = data[0]
    assert torch.equal(first["video"], again["video"])
    assert not torch.equal(first["video"], second["video"])
    assert torch.equal(second["video"][0], expected["video"])


def test_persistent_workers_go_on_with_their_copy(config: Config) -> None:
    with MultimodalDataset(videos("talking_face.mp4", "no_face.mp4"), config) as data:
        loader: Any = DataLoader(data, num_workers=2, persistent_workers=True)
        first, second = list(loader), list(loader)
    assert [batch["error"] for batch in first] == [[""], ["no_clips"]]
    assert torch.equal(first[0]["video"], second[0]["video"])


class Watched(MultimodalDataset):
    """Tells which process made an item, and which decode children that process had."""

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]
        error = super().__getitem__(index)["error"]
        children = [child.pid for child in psutil.Process().children()]
        return {"error": error, "process": os.getpid(), "children": children}


def ended(process: int) -> bool:
    """Whether a process has gone, or goes within ten seconds."""
    try:
        psutil.Process(process).wait(10)
    except psutil.TimeoutExpired:
        return False
    except psutil.NoSuchProcess:
        return True
    return True


def test_each_worker_has_a_decode_child_of_its_own_that_ends_with_it(config: Config) -> None:
    others = {child.pid for child in psutil.Process().children()}
    with Watched(videos(*["no_face.mp4"] * 4), config) as data:
        mine = data[0]["children"]
        items = list(DataLoader(data, batch_size=None, num_workers=2))
        assert len({item["process"] for item in items} | {os.getpid()}) == 3
        theirs = {child for item in items for child in item["children"]}
        assert [len(item["children"]) for item in items] == [1, 1, 1, 1]
        assert len(theirs) == 2
        assert not theirs & set(mine)
        assert all(ended(child) for child in theirs)
        assert data[0]["children"] == mine  # outlived the workers, who held a copy of its handle
    assert len(set(mine) - others) == 1
    assert all(ended(child) for child in set(mine) - others)


def test_a_decode_child_starts_with_the_first_item_and_ends_on_close(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Sandbox] = []

    def open_sandbox(config: Config) -> Sandbox:
        made.append(Sandbox(config))
        return made[-1]

    monkeypatch.setattr(aura_model.dataset, "Sandbox", open_sandbox)
    data = MultimodalDataset(videos("no_face.mp4"), config)
    data.close()
    assert made == []
    assert [data[0]["error"], data[0]["error"]] == ["no_clips"] * 2
    assert len(made) == 1
    data.close()
    with pytest.raises(DecoderError, match="sandbox is closed"):
        made[0].load_clips(MEDIA / "no_face.mp4")
    assert data[0]["error"] == "no_clips"
    data.close()
    assert len(made) == 2


def test_a_pickled_copy_opens_files_of_its_own(evaluation: MultimodalDataset) -> None:
    before = evaluation[3]
    copy = pickle.loads(pickle.dumps(evaluation))
    with copy:
        assert copy._sandboxes == {}
        assert equal(copy[3], before)
    assert equal(evaluation[3], before)


def test_a_spawned_worker_loads_items(evaluation: MultimodalDataset) -> None:
    context = multiprocessing.get_context("spawn")
    loader: Any = DataLoader(evaluation, batch_size=6, num_workers=1, multiprocessing_context=context)
    batch: Any = next(iter(loader))
    assert batch["error"] == ["", "", "", "no_clips", "invalid_video", "unreadable_file"]


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Config) -> None:
    (tmp_path / "real.mp4").symlink_to(MEDIA / "talking_face.mp4")
    (tmp_path / "fake.mp4").symlink_to(MEDIA / "not_a_video.mp4")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config.plain()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AURA_CONFIG", str(tmp_path / "tiny.yaml"))
    (example,) = doctest.DocTestFinder(recurse=False).find(MultimodalDataset, globs={})
    said: list[str] = []
    assert doctest.DocTestRunner().run(example, out=said.append).failed == 0, "".join(said)
    assert len(example.examples) > 8
