import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.scores import ClipScore
from training.data.manifest import Sample
from training.prediction.scoring import ClipScorer, ScoredVideo, group_videos, score_each, thumbnail
from training.rows import ClipShape, Columns, Row, error_row, path_row, rows_of, to_columns, to_rows

MakeClip = Callable[..., Clip]
MakeClips = Callable[..., Clips]


class FakeModel:
    """Scores a clip by its start time; refuses or breaks where told to."""

    def __init__(self, refused: Sequence[float] = (), unknown: Sequence[float] = (), broken: bool = False) -> None:
        self.refused, self.unknown, self.broken = refused, unknown, broken
        self.batches: list[int] = []

    def score(self, clips: Sequence[Clip]) -> list[ClipScore]:
        self.batches.append(len(clips))
        if self.broken:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> ClipScore:
        start = float(clip.times[0])
        if start in self.refused:
            raise ValueError(f"cannot score {start:g}")
        fake = math.nan if start in self.unknown else start
        return ClipScore(fake, None if clip.frames is None else start + 0.25, None if clip.wave is None else -start)


@pytest.fixture
def score(config: Config) -> Callable[[FakeModel, Sequence[Row]], list[Row]]:
    """What `ClipScorer` makes of rows that come in one batch."""

    def run(model: FakeModel, rows: Sequence[Row]) -> list[Row]:
        parts = [to_columns(row) for row in rows]
        batch: Columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return to_rows(ClipScorer(config.plain(), lambda _: model)(batch))

    return run


@pytest.fixture
def rows(config: Config) -> Callable[..., list[Row]]:
    """The rows that extraction makes of the video at a slot."""

    def make(sample: Sample, slot: int, clips: Clips | str) -> list[Row]:
        shape, source = ClipShape.of(config), path_row(sample, slot)
        if isinstance(clips, str):
            return [error_row(clips, f"it is {clips}", source, shape)]
        return rows_of(clips, source, shape)

    return make


Score = Callable[[FakeModel, Sequence[Row]], list[Row]]
Rows = Callable[..., list[Row]]
MakeSample = Callable[..., Sample]


def test_rows_lose_pixels_and_sound_and_gain_scores(
    score: Score, rows: Rows, make_sample: MakeSample, make_clip: MakeClip, make_clips: MakeClips
) -> None:
    clips = make_clips(make_clip(3), make_clip(1, audio=False), make_clip(2, video=False))
    scored = score(FakeModel(), rows(make_sample("a"), 0, clips))
    assert not {"frames", "wave"} & set(scored[0])
    assert [row["fake"] for row in scored] == [3.0, 1.0, 2.0]
    assert [row["video"] for row in scored[:2]] == [3.25, 1.25]
    assert math.isnan(scored[2]["video"])
    assert math.isnan(scored[1]["audio"])
    assert scored[2]["audio"] == -2.0
    assert [len(row["thumbnail"]) > 0 for row in scored] == [True, True, False]


def test_rows_of_unusable_videos_pass_the_model_by(
    score: Score, rows: Rows, make_sample: MakeSample, make_clip: MakeClip, make_clips: MakeClips
) -> None:
    model = FakeModel()
    mixed = [
        *rows(make_sample("broken"), 0, "invalid_video"),
        *rows(make_sample("good"), 1, make_clips(make_clip(5))),
        *rows(make_sample("empty"), 2, make_clips()),
    ]
    scored = score(model, mixed)
    assert model.batches == [1]
    assert [row["error"] for row in scored] == ["invalid_video", "", "no_clips"]
    assert scored[1]["fake"] == 5.0


def test_a_batch_without_usable_rows_is_fine(score: Score, rows: Rows, make_sample: MakeSample) -> None:
    (row,) = score(FakeModel(), rows(make_sample("broken"), 0, "invalid_video"))
    assert row["error"] == "invalid_video"
    assert row["thumbnail"] == b""


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (FakeModel(refused=[2.0]), "cannot score 2"),
        (FakeModel(unknown=[2.0]), "the model gives no number for a clip"),
    ],
)
def test_a_clip_that_the_model_refuses_fails_alone(
    score: Score,
    rows: Rows,
    make_sample: MakeSample,
    make_clip: MakeClip,
    make_clips: MakeClips,
    model: FakeModel,
    said: str,
) -> None:
    scored = score(model, rows(make_sample("a"), 0, make_clips(make_clip(1), make_clip(2), make_clip(3))))
    assert [row["error"] for row in scored] == ["", "scoring_failed", ""]
    assert scored[1]["detail"] == said
    assert [row["fake"] for row in scored[::2]] == [1.0, 3.0]


def test_a_broken_device_is_no_fault_of_a_clip(
    score: Score, rows: Rows, make_sample: MakeSample, make_clip: MakeClip, make_clips: MakeClips
) -> None:
    with pytest.raises(RuntimeError, match="CUDA error"):
        score(FakeModel(broken=True), rows(make_sample("a"), 0, make_clips(make_clip(1), make_clip(2))))


def test_clips_are_scored_together_where_none_is_refused(make_clip: MakeClip) -> None:
    model = FakeModel()
    assert [one.fake for one in score_each(model, [make_clip(1), make_clip(2)]) if isinstance(one, ClipScore)] == [1, 2]
    assert model.batches == [2]
    assert score_each(model, []) == []


@pytest.fixture
def group(score: Score) -> Callable[..., list[ScoredVideo]]:
    """Score each video's rows and gather them."""

    def run(samples: Sequence[Sample], videos: Sequence[Sequence[Row]], model: FakeModel | None = None) -> Any:
        scored = [row for video in videos for row in score(model or FakeModel(), video)]
        return list(group_videos(samples, iter(scored)))

    return run


def test_a_video_comes_back_with_all_that_an_analysis_needs(
    group: Callable[..., list[ScoredVideo]],
    rows: Rows,
    make_sample: MakeSample,
    make_clip: MakeClip,
    make_clips: MakeClips,
) -> None:
    sample = make_sample("a", 1, "test", group="studio")
    clips = make_clips(make_clip(4, track_id=1), make_clip(2, video=False), notes=("truncated", "no_speech"))
    (video,) = group([sample], [rows(sample, 0, clips)])
    assert video.sample is sample
    assert (video.error, video.detail) == ("", "")
    assert [(one.start, one.end, one.track_id) for one in video.scored] == [(4.0, 4.25, 1), (2.0, 2.25, None)]
    assert video.scores == (ClipScore(4.0, 4.25, -4.0), ClipScore(2.0, None, -2.0))
    assert video.clips is not None
    assert video.clips.media == clips.media
    assert video.clips.notes == clips.notes
    for found, given, one in zip(video.clips.clips, clips.without_samples().clips, video.scored, strict=True):
        assert (found.track_id, found.seconds, found.frames, found.wave) == (given.track_id, given.seconds, None, None)
        for name in ("times", "boxes", "landmarks"):
            np.testing.assert_array_equal(getattr(found, name), getattr(given, name))
        np.testing.assert_array_equal(one.clip.times, given.times)


def test_videos_come_in_the_order_of_the_samples_with_their_errors(
    group: Callable[..., list[ScoredVideo]],
    rows: Rows,
    make_sample: MakeSample,
    make_clip: MakeClip,
    make_clips: MakeClips,
) -> None:
    samples = [make_sample(name) for name in ("z", "broken", "a", "empty", "bad")]
    contents = [
        make_clips(make_clip(1), make_clip(2)),
        "corrupt_video",
        make_clips(make_clip(3)),
        make_clips(notes=("no_face",)),
        make_clips(make_clip(6), make_clip(7), make_clip(8)),
    ]
    videos = [rows(sample, slot, content) for slot, (sample, content) in enumerate(zip(samples, contents, strict=True))]
    found = group(samples, videos, FakeModel(refused=[7.0]))
    assert [video.sample.video_id for video in found] == ["z", "broken", "a", "empty", "bad"]
    assert [video.error for video in found] == ["", "corrupt_video", "", "no_clips", "scoring_failed"]
    assert [len(video.scored) for video in found] == [2, 0, 1, 0, 0]
    assert [video.detail for video in found[1::3]] == ["it is corrupt_video", "cannot score 7"]
    assert found[1].clips is None
    assert found[3].clips is not None
    assert found[3].clips.notes == ("no_face",)


def test_videos_are_handed_over_before_the_last_row_has_come(
    score: Score, rows: Rows, make_sample: MakeSample, make_clip: MakeClip, make_clips: MakeClips
) -> None:
    samples = [make_sample("a"), make_sample("b")]

    def stream() -> Iterator[Row]:
        for slot, sample in enumerate(samples):
            yield from score(FakeModel(), rows(sample, slot, make_clips(make_clip(slot))))
        raise AssertionError("read to the end")

    assert next(group_videos(samples, stream())).sample.video_id == "a"


@pytest.mark.parametrize("order", [(1, 0), (0,), (1,), (0, 0)])
def test_rows_out_of_order_are_an_error(score: Score, rows: Rows, make_sample: MakeSample, order: tuple[int]) -> None:
    samples = [make_sample("a"), make_sample("b")]
    scored = [row for slot in order for row in score(FakeModel(), rows(samples[slot], slot, "invalid_video"))]
    with pytest.raises(RuntimeError, match="rows out of order"):
        list(group_videos(samples, iter(scored)))


def test_a_thumbnail_is_the_middle_frame_made_small() -> None:
    frames = np.zeros((5, 224, 224, 3), np.uint8)
    frames[2] = (250, 120, 10)
    picture = cv2.imdecode(np.frombuffer(thumbnail(frames), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    assert picture.shape == (96, 96, 3)
    np.testing.assert_allclose(picture[48, 48], (250, 120, 10), atol=4)


def test_it_is_kept_that_faces_were_restored(
    score: Score, rows: Rows, make_sample: MakeSample, make_clip: MakeClip, make_clips: MakeClips
) -> None:
    class Restoring(FakeModel):
        def score(self, clips: Sequence[Clip]) -> list[ClipScore]:
            return [replace(one, restored=one.fake > 2) for one in super().score(clips)]

    samples = [make_sample("a"), make_sample("b")]
    given = [*rows(samples[0], 0, make_clips(make_clip(1), make_clip(3))), *rows(samples[1], 1, "invalid_video")]
    first, second = group_videos(samples, iter(score(Restoring(), given)))
    assert [one.restored for one in first.scores] == [False, True]
    assert second.scores == ()


def test_a_longer_time_of_the_model_counts_for_the_video(score: Score, rows: Rows, make_sample: MakeSample) -> None:
    sample = make_sample("a")
    (row,) = score(FakeModel(), rows(sample, 0, "invalid_video"))
    (video,) = group_videos([sample], iter([row | {"score_seconds": 0.5}, row | {"score_seconds": 0.25}]))
    assert video.seconds == 0.75
