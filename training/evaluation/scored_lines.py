"""From a scored video to its lines in the table of scores."""

from typing import TYPE_CHECKING

from aura_model.analysis import EXTREME_LOGIT
from training.evaluation.score_table import ClipLine, VideoLines

if TYPE_CHECKING:
    from training.prediction.scoring import ScoredVideo


def lines_of(scored: "ScoredVideo") -> VideoLines:
    """What the table of scores tells of one video."""
    sample = scored.sample
    clips = [_clip_line(number, scored) for number in range(len(scored.scored))]
    return VideoLines(
        sample.video_id,
        sample.label,
        sample.split,
        sample.path,
        dict(sample.columns),
        tuple(clips),
        scored.error,
        scored.detail,
    )


def _clip_line(number: int, scored: "ScoredVideo") -> ClipLine:
    clip = scored.scored[number]
    start = max(clip.start, 0.0)
    return ClipLine(
        clip=number,
        track_id=clip.track_id,
        start=start,
        end=max(clip.end, start),
        logit=_bounded(clip.score.fake),
        video_logit=None if clip.score.video is None else _bounded(clip.score.video),
        audio_logit=None if clip.score.audio is None else _bounded(clip.score.audio),
    )


def _bounded(logit: float) -> float:
    return min(max(logit, -EXTREME_LOGIT), EXTREME_LOGIT)
