"""The reply: its types, with their descriptions for the schema, and an example."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aura_model.calibration import OperatingPoint, OperatingPoints
from aura_model.config import Finite, NonNegative, Probability
from aura_model.media import MediaInfo

Verdict = Literal["real", "fake", "uncertain", "not_applicable"]
Reason = Literal[
    "untrained_model",
    "uncalibrated_model",
    "near_threshold",
    "suspicious_part",
    "no_video",
    "no_face",
    "faces_left_out",
    "faces_restored",
    "no_audio",
    "no_speech",
    "sound_not_judged",
    "truncated",
    "corrupt_frames",
]
Seconds = NonNegative
Pixels = Finite
Milliseconds = NonNegative

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
