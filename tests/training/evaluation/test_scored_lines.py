from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from aura_model.clips import Clip
from aura_model.scores import ClipScore
from training.data.manifest import Sample
from training.evaluation.score_table import ClipLine
from training.evaluation.scored_lines import lines_of
from training.prediction.scoring import ScoredClip, ScoredVideo

SAMPLE = Sample("a", 1, "test", "/data/a.mp4", {"identity": "p1"})


def scored(clip: Clip, *scores: ClipScore) -> ScoredVideo:
    return ScoredVideo(SAMPLE, None, tuple(ScoredClip(clip, score, b"") for score in scores), "", "", 0.1)


def test_a_scored_video_becomes_its_lines(make_clip: Callable[..., Clip]) -> None:
    found = lines_of(scored(make_clip(seed=2, track_id=3), ClipScore(1.5, 0.5, None), ClipScore(-2.0, None, 0.0)))
    assert (found.video_id, found.label, found.split, found.path) == ("a", 1, "test", "/data/a.mp4")
    assert (found.columns, found.error, found.detail) == ({"identity": "p1"}, "", "")
    assert found.clips == (
        ClipLine(clip=0, track_id=3, start=2.0, end=2.25, logit=1.5, video_logit=0.5),
        ClipLine(clip=1, track_id=3, start=2.0, end=2.25, logit=-2.0, audio_logit=0.0),
    )


def test_sound_alone_has_no_face(make_clip: Callable[..., Clip]) -> None:
    (clip,) = lines_of(scored(make_clip(video=False), ClipScore(1.0, None, 1.0))).clips
    assert clip.track_id is None


def test_an_unusable_video_keeps_its_reason() -> None:
    found = lines_of(ScoredVideo(SAMPLE, None, (), "too_long", "11 minutes", 0.0))
    assert (found.clips, found.error, found.detail) == ((), "too_long", "11 minutes")


@pytest.mark.parametrize(("logit", "kept"), [(float("inf"), 1e6), (float("-inf"), -1e6), (2e6, 1e6), (3.0, 3.0)])
def test_a_score_without_bounds_is_bounded_as_in_aggregation(
    make_clip: Callable[..., Clip], logit: float, kept: float
) -> None:
    (clip,) = lines_of(scored(make_clip(), ClipScore(logit, logit, logit))).clips
    assert (clip.logit, clip.video_logit, clip.audio_logit) == (kept, kept, kept)


def test_a_clip_that_begins_before_zero_begins_at_zero(make_clip: Callable[..., Clip]) -> None:
    (clip,) = lines_of(scored(replace(make_clip(), times=np.array([-1.0, -0.875])), ClipScore(0.0, None, None))).clips
    assert (clip.start, clip.end) == (0.0, 0.0)
