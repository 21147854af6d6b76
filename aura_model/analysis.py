"""From scores to an answer: aggregation, and `analyse`, which builds an `Analysis`."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from aura_model.calibration import Band, band_in_force, point_in_force
from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.reply import (
    Analysis,
    FaceBox,
    FaceReport,
    Heatmap,
    Modalities,
    ModelInfo,
    Reason,
    Segment,
    TimelineEntry,
    Verdict,
)
from aura_model.scores import ClipScore

Aggregation = Literal["mean", "median", "max", "topk"]

TOP_SHARE = 0.25
"""`topk` is the mean over this share of the clips, the highest ones, at least one: a part of a video by itself."""
EXTREME_LOGIT = 1e6
"""Logits are held within this bound, so that a mean of infinities stays a number."""


def analyse(
    clips: Clips,
    scores: Sequence[ClipScore],
    model: ModelInfo,
    config: Config,
    timings: Mapping[str, float],
    *,
    request_id: str | None = None,
    heatmaps: Mapping[int, Heatmap] | None = None,
) -> Analysis:
    """Turn the scores of one file's clips into the answer.

    Args:
        clips: what `load_clips` returned; pixels and sound are not needed.
        scores: one for each clip, in the same order.
        model: which model gave the scores.
        config: says which of the model's operating points decides, or gives a band of its own.
        timings: seconds per stage beside those in `clips.timings`, which it overrides: `fetch`, `score`, `total`.
        request_id: the id of the HTTP request.
        heatmaps: those of the faces, by track_id, where they were asked for; one of an untrained model says nothing
            and is left out.

    Raises:
        ValueError: a score is not a number, or there is not one for each clip.
    """
    scored = sorted(zip(clips.clips, scores, strict=True), key=lambda pair: _order(pair[0]))
    fakes = [(clip.track_id, score.fake) for clip, score in scored]
    fake = _pool(fakes)
    band = band_in_force(model.operating_points, config.inference)
    verdict, doubts = _decide(fake, _pool(fakes, "topk"), model, band, whole="faces_left_out" not in clips.notes)
    restored: set[Reason] = {"faces_restored"} if any(score.restored for score in scores) else set()
    entries = [(_entry(clip, score, clips.media.duration), score.fake) for clip, score in scored]
    return Analysis(
        verdict=verdict,
        reasons=_in_order({*doubts, *clips.notes, *restored}),
        fake_probability=fake,
        operating_point=point_in_force(model.operating_points, config.inference),
        modalities=Modalities(
            video=_pool([(clip.track_id, score.video) for clip, score in scored]),
            audio=_pool([(clip.track_id, score.audio) for clip, score in scored]),
        ),
        faces=_faces(scored, clips.media.duration, heatmaps if heatmaps and model.trained else {}),
        timeline=tuple(entry for entry, _ in entries),
        segments=_segments(entries, band[1]),
        media=clips.media,
        model=model,
        timings={stage: round(1000 * seconds, 3) for stage, seconds in {**clips.timings, **timings}.items()},
        request_id=request_id,
    )


def aggregate(logits: Sequence[float], method: Aggregation = "mean") -> float:
    """One logit for one track from the logits of its clips.

    Raises:
        ValueError: no logits, or one that is not a number.
    """
    if not logits:
        raise ValueError("no logits to aggregate")
    if any(math.isnan(logit) for logit in logits):
        raise ValueError("a score is not a number")
    values = np.sort(np.clip(np.asarray(logits, dtype=np.float64), -EXTREME_LOGIT, EXTREME_LOGIT))
    match method:
        case "mean":
            return float(values.mean())
        case "median":
            return float(np.median(values))
        case "max":
            return float(values[-1])
        case "topk":
            return float(values[-math.ceil(TOP_SHARE * len(values)) :].mean())


def aggregate_tracks(track_ids: Sequence[int | None], logits: Sequence[float], method: Aggregation = "mean") -> float:
    """One logit for one video: `aggregate` over each track, then the maximum over tracks.

    The clips without a face (track id None) are one track, which counts only where there is no face.

    Args:
        track_ids: the track of each clip.
        logits: the logit of each clip.
        method: how the clips of a track are joined.

    Raises:
        ValueError: no logits, one that is not a number, or not one for each track id.
    """
    tracks: dict[int | None, list[float]] = {}
    for track_id, logit in zip(track_ids, logits, strict=True):
        tracks.setdefault(track_id, []).append(logit)
    joined = {track_id: aggregate(values, method) for track_id, values in tracks.items()}
    faces = [logit for track_id, logit in joined.items() if track_id is not None]
    return max(faces or joined.values())


def probability(logit: float) -> float:
    """The logistic function, without overflow.

    Raises:
        ValueError: the logit is not a number.
    """
    if math.isnan(logit):
        raise ValueError("a score is not a number")
    return 0.5 * (1.0 + math.tanh(0.5 * logit))


def _pool(scores: Sequence[tuple[int | None, float | None]], method: Aggregation = "mean") -> float | None:
    present = [(track_id, logit) for track_id, logit in scores if logit is not None]
    if not present:
        return None
    track_ids, logits = zip(*present, strict=True)
    return probability(aggregate_tracks(track_ids, logits, method))


def _decide(
    fake: float | None, part: float | None, model: ModelInfo, band: Band, *, whole: bool
) -> tuple[Verdict, set[Reason]]:
    """The verdict on a probability and on that of the most suspicious part, and what weakens it.

    Nothing is called real whose faces were not all looked at, which is what `whole` says.
    """
    if fake is None or part is None:
        return "not_applicable", set()
    if not model.trained:
        return "uncertain", {"untrained_model"}
    doubts: set[Reason] = set() if model.calibrated else {"uncalibrated_model"}
    if fake > band[1]:
        return "fake", doubts
    against: set[Reason] = {"near_threshold"} if fake >= band[0] else set()
    if part > band[1]:
        against.add("suspicious_part")
    return ("uncertain" if against or not whole else "real"), doubts | against


def _in_order(codes: set[str]) -> tuple[Reason, ...]:
    known: tuple[Reason, ...] = get_args(Reason)
    if unknown := codes.difference(known):
        raise ValueError(f"not reasons: {sorted(unknown)}")
    return tuple(code for code in known if code in codes)


def _order(clip: Clip) -> tuple[float, float]:
    return float(clip.times[0]), math.inf if clip.track_id is None else clip.track_id


def moment(seconds: float, duration: float) -> float:
    """A moment as the reply tells it: within the media, to a millisecond."""
    return min(round(max(seconds, 0.0), 3), duration)


def _entry(clip: Clip, score: ClipScore, duration: float) -> TimelineEntry:
    start = float(clip.times[0])
    return TimelineEntry(
        start=moment(start, duration),
        end=moment(start + clip.seconds, duration),
        track_id=clip.track_id,
        fake_probability=probability(score.fake),
        video=None if score.video is None else probability(score.video),
        audio=None if score.audio is None else probability(score.audio),
    )


def _faces(
    scored: Sequence[tuple[Clip, ClipScore]], duration: float, heatmaps: Mapping[int, Heatmap]
) -> tuple[FaceReport, ...]:
    track_ids = sorted({clip.track_id for clip, _ in scored if clip.track_id is not None})
    return tuple(
        _face(track_id, [pair for pair in scored if pair[0].track_id == track_id], duration, heatmaps.get(track_id))
        for track_id in track_ids
    )


def _face(
    track_id: int, scored: Sequence[tuple[Clip, ClipScore]], duration: float, heatmap: Heatmap | None
) -> FaceReport:
    boxes = {box.time: box for clip, _ in scored for box in _boxes(clip, duration)}
    return FaceReport(
        track_id=track_id,
        fake_probability=probability(aggregate([score.fake for _, score in scored])),
        start=moment(min(float(clip.times[0]) for clip, _ in scored), duration),
        end=moment(max(float(clip.times[0]) + clip.seconds for clip, _ in scored), duration),
        boxes=tuple(boxes[time] for time in sorted(boxes)),
        heatmap=heatmap,
    )


def _boxes(clip: Clip, duration: float) -> list[FaceBox]:
    if clip.boxes is None:
        return []
    corners = np.round(clip.boxes.astype(np.float64), 1).tolist()
    moments = [moment(time, duration) for time in clip.times.tolist()]
    return [
        FaceBox(time=time, x1=x1, y1=y1, x2=x2, y2=y2) for time, (x1, y1, x2, y2) in zip(moments, corners, strict=True)
    ]


def _segments(entries: Sequence[tuple[TimelineEntry, float]], high: float) -> tuple[Segment, ...]:
    """Join the entries of a track above `high` that touch; a gap between sampled clips is not claimed."""
    runs: dict[int | None, list[list[tuple[TimelineEntry, float]]]] = {}
    for entry, logit in entries:
        if entry.fake_probability <= high:
            continue
        track = runs.setdefault(entry.track_id, [[]])
        if track[-1] and entry.start > max(earlier.end for earlier, _ in track[-1]):
            track.append([])
        track[-1].append((entry, logit))
    segments = [_segment(run) for track in runs.values() for run in track]
    return tuple(sorted(segments, key=lambda segment: segment.start))


def _segment(run: Sequence[tuple[TimelineEntry, float]]) -> Segment:
    return Segment(
        start=run[0][0].start,
        end=max(entry.end for entry, _ in run),
        track_id=run[0][0].track_id,
        fake_probability=probability(aggregate([logit for _, logit in run])),
    )
