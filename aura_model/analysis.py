"""From scores to an answer: the reply's types, aggregation, and `analyse`, which builds an `Analysis`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from aura_model.calibration import Band, OperatingPoint, OperatingPoints, band_in_force, point_in_force
from aura_model.clips import Clip, Clips
from aura_model.config import Config, Finite, NonNegative, Probability
from aura_model.media import MediaInfo
from aura_model.scores import ClipScore

Verdict = Literal["real", "fake", "uncertain", "not_applicable"]
Reason = Literal[
    "untrained_model",
    "uncalibrated_model",
    "near_threshold",
    "suspicious_part",
    "no_video",
    "no_face",
    "no_audio",
    "no_speech",
    "sound_not_judged",
    "truncated",
    "corrupt_frames",
]
Aggregation = Literal["mean", "median", "max", "topk"]
Seconds = NonNegative
Pixels = Finite
Milliseconds = NonNegative

TOP_SHARE = 0.25
"""`topk` is the mean over this share of the clips, the highest ones, at least one: a part of a video by itself."""
EXTREME_LOGIT = 1e6
"""Logits are held within this bound, so that a mean of infinities stays a number."""

_EXAMPLE_POINTS: dict[str, Any] = {
    name: {
        "name": name,
        "low": 0.31,
        "high": high,
        "false_positive_rate": false_positives,
        "false_positive_interval": interval,
        "true_positive_rate": true_positives,
        "real_abstention": real,
        "fake_abstention": fake,
        "reals": 1200,
        "fakes": 1200,
    }
    for name, high, false_positives, interval, true_positives, real, fake in (
        ("screening", 0.47, 0.1, [0.083, 0.119], 0.92, 0.07, 0.03),
        ("balanced", 0.62, 0.05, [0.038, 0.064], 0.87, 0.12, 0.08),
        ("strict", 0.88, 0.01, [0.005, 0.017], 0.71, 0.16, 0.24),
    )
}
EXAMPLE: dict[str, Any] = {
    "verdict": "fake",
    "reasons": ["no_audio"],
    "fake_probability": 0.93,
    "operating_point": _EXAMPLE_POINTS["balanced"],
    "modalities": {"video": 0.93, "audio": None},
    "faces": [
        {
            "track_id": 0,
            "fake_probability": 0.93,
            "start": 1.0,
            "end": 2.0,
            "boxes": [
                {"time": 1.0, "x1": 212.4, "y1": 88.1, "x2": 340.9, "y2": 251.7},
                {"time": 1.125, "x1": 213.0, "y1": 88.0, "x2": 341.6, "y2": 251.9},
            ],
            "heatmap": {
                "area": {"time": 1.125, "x1": 174.9, "y1": 67.5, "x2": 379.8, "y2": 272.4},
                "values": [[0.03, 0.04, 0.02], [0.05, 0.08, 0.04], [0.11, 0.97, 0.09]],
                "peak": {"x": 277.3, "y": 238.2, "probability": 0.97},
                "image": "data:image/png;base64,iVBORw0KGgo=",
            },
        }
    ],
    "timeline": [
        {"start": 1.0, "end": 2.0, "track_id": 0, "fake_probability": 0.93, "video": 0.93, "audio": None},
    ],
    "segments": [{"start": 1.0, "end": 2.0, "track_id": 0, "fake_probability": 0.93}],
    "media": {
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "bytes": 1830412,
        "container": "mp4",
        "duration": 12.48,
        "width": 1280,
        "height": 720,
        "fps": 25.0,
        "rotation": 0,
        "video_codec": "h264",
        "audio_codec": None,
    },
    "model": {
        "name": "multimodal_v1",
        "version": "multimodal_v1-4b1d7a0c2e95",
        "trained": True,
        "calibrated": True,
        "operating_points": _EXAMPLE_POINTS,
    },
    "timings": {
        "queue": 0.2,
        "open": 3.1,
        "decode": 410.6,
        "faces": 268.3,
        "sound": 0.1,
        "fetch": 12.9,
        "score": 95.2,
        "total": 790.4,
    },
    "request_id": "5f1c9d0e8a7b4c36",
}


class Part(BaseModel):
    """A part of the reply: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelInfo(Part):
    """Which model answered."""

    name: str = Field(description="The model's name.")
    version: str = Field(description="Changes whenever the weights do.")
    trained: bool = Field(description="False: the weights are random and the probability means nothing.")
    calibrated: bool = Field(description="Whether the probability was calibrated on held-out samples.")
    operating_points: OperatingPoints | None = Field(
        default=None, description="All that the model has, with their measured rates; null: none was fitted."
    )


class Modalities(Part):
    """What each modality says by itself; null where it was not there."""

    video: Probability | None = Field(
        description="By the pictures alone; null without a face. Calibrated unless sound was judged, too."
    )
    audio: Probability | None = Field(description="By the sound alone, likewise; null where none was judged.")


class FaceBox(Part):
    """Where a face is at one moment, in source pixels as displayed, rounded to 0.1."""

    time: Seconds = Field(description="Seconds from the start of the media.")
    x1: Pixels = Field(description="Left.")
    y1: Pixels = Field(description="Top.")
    x2: Pixels = Field(description="Right.")
    y2: Pixels = Field(description="Bottom.")


class Peak(Part):
    """The place of a face that looks most forged."""

    x: Pixels = Field(description="From the left, source pixels as displayed.")
    y: Pixels = Field(description="From the top.")
    probability: Probability = Field(description="That this place was forged.")


class Heatmap(Part):
    """Where a face looks forged, at its most suspicious moment."""

    area: FaceBox = Field(description="The square around the face that the map covers; it may reach out of the frame.")
    values: tuple[tuple[Probability, ...], ...] = Field(
        description="The probability that each place was forged, as the mean over the face's most suspicious clip: "
        "rows from the top, each from the left."
    )
    peak: Peak
    image: str = Field(description="The face with the map laid over it: a PNG of at most 100 kB, as a data URI.")


class FaceReport(Part):
    """One face followed through the video."""

    track_id: int = Field(description="Names this face in the timeline and the segments.")
    fake_probability: Probability = Field(description="0 = real, 1 = fake, for this face.")
    start: Seconds = Field(description="Start of the first clip of this face, seconds.")
    end: Seconds = Field(description="End of the last clip of this face, seconds.")
    boxes: tuple[FaceBox, ...] = Field(description="The face at each analysed moment, in order of time.")
    heatmap: Heatmap | None = Field(
        default=None, description="Null where it was not asked for, and where the model gives none or is untrained."
    )


class TimelineEntry(Part):
    """The scores of one clip."""

    start: Seconds = Field(description="Seconds from the start of the media.")
    end: Seconds = Field(description="Seconds from the start of the media.")
    track_id: int | None = Field(description="The face; null where only the sound was judged.")
    fake_probability: Probability = Field(description="0 = real, 1 = fake, pictures and sound together.")
    video: Probability | None = Field(description="By the pictures alone; null without a face.")
    audio: Probability | None = Field(description="By the sound alone; null without speech.")


class Segment(Part):
    """A stretch of one face, or of the sound alone, that lies above the uncertain band."""

    start: Seconds = Field(description="Seconds from the start of the media.")
    end: Seconds = Field(description="Seconds from the start of the media.")
    track_id: int | None = Field(description="The face; null where only the sound was judged.")
    fake_probability: Probability = Field(description="Over the clips of the segment.")


class Analysis(Part):
    """The answer for one media file.

    `timings` has a key for each stage that ran: `fetch` (receiving or downloading) and `queue` (waiting for a decoder)
    in the service, `open`, `decode`, `faces` and `sound` in the decode child, `score` (the model), `explain` (the
    heat-maps, where asked for) and `total`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [EXAMPLE]})

    verdict: Verdict = Field(
        description="uncertain: in the uncertain band, or a part of the video lies above it, or by an untrained model; "
        "not_applicable: no face and no speech."
    )
    reasons: tuple[Reason, ...] = Field(description="Why the verdict is no firmer, and what the media lacked.")
    fake_probability: Probability | None = Field(description="0 = real, 1 = fake; null where nothing was scored.")
    operating_point: OperatingPoint | None = Field(
        description="What made the verdict, with its measured rates; null: the model has none, or a band of the "
        "configuration overrides it."
    )
    modalities: Modalities
    faces: tuple[FaceReport, ...] = Field(description="One entry per face, in order of track_id.")
    timeline: tuple[TimelineEntry, ...] = Field(description="One entry per clip, in order of time.")
    segments: tuple[Segment, ...] = Field(description="Stretches that look fake, in order of time.")
    media: MediaInfo
    model: ModelInfo
    timings: dict[str, Milliseconds] = Field(description="Milliseconds per stage.")
    request_id: str | None = Field(default=None, description="The id of the HTTP request; null outside the service.")


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
    verdict, doubts = _decide(fake, _pool(fakes, "topk"), model, band)
    entries = [(_entry(clip, score, clips.media.duration), score.fake) for clip, score in scored]
    return Analysis(
        verdict=verdict,
        reasons=_in_order({*doubts, *clips.notes}),
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


def _decide(fake: float | None, part: float | None, model: ModelInfo, band: Band) -> tuple[Verdict, set[Reason]]:
    """The verdict on a probability and on that of the most suspicious part, and what weakens it."""
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
    return ("uncertain" if against else "real"), doubts | against


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
