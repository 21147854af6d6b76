from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from aura_model.clips import load_clips
from aura_model.config import Config
from training.data.debugset import MEDIA, SOURCES, add_artefact, debug_samples, make_debug_set, rewrite
from training.data.manifest import Sample, check_samples


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return make_debug_set(tmp_path_factory.mktemp("debug"))


def first_frame(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24").astype(float)


def test_the_made_set_can_be_trained_on(made: list[Sample]) -> None:
    check_samples(made)
    assert [(one.split, one.label) for one in made].count(("train", 1)) == 2
    assert len(made) == len({one.video_id for one in made}) == 8
    assert all(Path(one.path).is_file() for one in made)


def test_every_made_video_shows_its_face_and_holds_its_speech(
    make_config: Callable[..., Config], made: list[Sample]
) -> None:
    config = make_config("dataset.video.clips_per_video.eval=2")
    for sample in made:
        clips = load_clips(Path(sample.path), config)
        assert clips.notes == (), sample.video_id
        assert [clip.track_id for clip in clips.clips] == [0, 0], sample.video_id


def test_fakes_carry_the_artefact_and_validation_is_mirrored(made: list[Sample]) -> None:
    by_kind = {(one.split, one.label): first_frame(Path(one.path)) for one in made[:4]}
    real, fake, mirrored = by_kind["train", 0], by_kind["train", 1], by_kind["val", 0]
    difference = np.abs(fake - real)[..., 1]
    assert 6 < np.median(difference) < 20
    assert np.abs(mirrored[:, ::-1] - real).mean() < 3


def test_the_artefact_is_a_green_checkerboard_within_range() -> None:
    frame = np.full((8, 8, 3), 100, np.uint8)
    marked = add_artefact(frame)
    assert set(np.unique(marked[..., 1])) == {88, 112}
    assert (marked[..., [0, 2]] == 100).all()
    assert add_artefact(np.full((8, 8, 3), 250, np.uint8)).max() == 255
    assert (frame == 100).all()


def test_rewriting_keeps_length_and_sound(tmp_path: Path) -> None:
    source, target = MEDIA / SOURCES[0], tmp_path / "copy.mp4"
    rewrite(source, target, lambda frame: frame)
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert after.streams.video[0].frames == before.streams.video[0].frames
        assert after.streams.audio[0].frames == before.streams.audio[0].frames
        assert before.duration is not None
        assert after.duration == pytest.approx(before.duration, rel=0.02)


def test_missing_media_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_debug_set(tmp_path / "data", media=tmp_path)


def test_a_debug_run_takes_a_few_videos_of_each_kind(make_sample: Callable[..., Sample]) -> None:
    samples = [
        make_sample(f"{split}{label}{n}", label, split)
        for n in range(5)
        for split in ("train", "val", "test")
        for label in (0, 1)
    ]
    taken = debug_samples(samples)
    assert [(one.split, one.label) for one in taken] == [
        ("train", 0), ("train", 0), ("train", 1), ("train", 1),
        ("val", 0), ("val", 0), ("val", 1), ("val", 1),
    ]  # fmt: skip
    assert len({one.video_id for one in taken}) == 8
