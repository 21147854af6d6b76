"""From scores to an answer: the reply's types, aggregation, and `analyse`, which builds an `Analysis`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from aura_model.config import Probability
from aura_model.media import MediaInfo

Verdict = Literal["real", "fake", "uncertain", "not_applicable"]
Reason = Literal[
    "untrained_model",
    "uncalibrated_model",
    "near_threshold",
    "no_video",
    "no_face",
    "no_audio",
    "no_speech",
    "truncated",
    "corrupt_frames",
]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Part(BaseModel):
    """A part of the reply: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelInfo(Part):
    """Which model answered."""

    name: str = Field(description="The model's name.")
    version: str = Field(description="Changes whenever the weights do.")
    trained: bool = Field(description="False: the weights are random and the probability means nothing.")
    calibrated: bool = Field(description="Whether the probability was calibrated on held-out videos.")


class Modalities(Part):
    """What each modality says by itself; null where it was not there."""

    video: Probability | None = Field(description="Fake probability by the pictures alone.")
    audio: Probability | None = Field(description="Fake probability by the sound alone.")


class FaceBox(Part):
    """Where a face is at one moment, in source pixels as displayed, rounded to 0.1."""

    time: Seconds = Field(description="Seconds from the start of the media.")
    x1: float = Field(description="Left.")
    y1: float = Field(description="Top.")
    x2: float = Field(description="Right.")
    y2: float = Field(description="Bottom.")


class FaceReport(Part):
    """One face followed through the video."""

    track_id: int = Field(description="Names this face in the timeline and the segments.")
    fake_probability: Probability = Field(description="0 = real, 1 = fake, for this face.")
    start: Seconds = Field(description="Start of the first clip of this face, seconds.")
    end: Seconds = Field(description="End of the last clip of this face, seconds.")
    boxes: tuple[FaceBox, ...] = Field(description="The face at each analysed moment, in order of time.")


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

    `timings` has a key for each stage that ran: `fetch` (download), `open`, `decode`, `faces`, `speech` (in the decode
    child), `score` (the model) and `total`.
    """

    verdict: Verdict = Field(
        description="uncertain: inside the uncertain band, or an untrained model; not_applicable: no face and no speech."
    )
    reasons: tuple[Reason, ...] = Field(description="Why the verdict is no firmer, and what the media lacked.")
    fake_probability: Probability | None = Field(description="0 = real, 1 = fake; null where nothing was scored.")
    modalities: Modalities
    faces: tuple[FaceReport, ...] = Field(description="One entry per face, in order of track_id.")
    timeline: tuple[TimelineEntry, ...] = Field(description="One entry per clip, in order of time.")
    segments: tuple[Segment, ...] = Field(description="Stretches that look fake, in order of time.")
    media: MediaInfo
    model: ModelInfo
    timings: dict[str, Milliseconds] = Field(description="Milliseconds per stage.")
    request_id: str | None = Field(default=None, description="The id of the HTTP request; null outside the service.")
