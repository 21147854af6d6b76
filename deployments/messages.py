"""What the deployments say to each other, and the backend that the ingress talks to.

During a rolling update neighbouring versions talk to each other, so what is said here changes by these rules:

- a new field comes last and has a default that is no container; what an older version sends is read with that default;
- a field goes, or changes its meaning, only when two versions have not used it;
- a new argument of a replica's method comes last and has a default; a new kind of message is sent one version after it
  can be read;
- settings and errors travel as plain data, because the classes of another version may refuse them;
- `MESSAGES` rises with each of these changes; a version more than one apart is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from aura_model.clips import Clips
from aura_model.config import Config
from aura_model.errors import MEDIA_ERRORS, AuraError, MediaError, ModelNotReadyError
from aura_model.reply import Heatmap, ModelInfo
from aura_model.scores import ClipScore
from deployments.problems import PROBLEMS, ServiceError

MESSAGES = 1
"""The version of these messages; the first is that of the first release."""

State = Literal["loading", "ready", "failed"]


@dataclass(frozen=True)
class Trace:
    """Which request a stage works for. It goes with each call, and its ids into each line of the log."""

    request_id: str
    traceparent: str | None = None
    """The W3C trace context of our own span, where the caller gave one that is valid."""
    explain: bool = False
    """Whether the caller wants heat-maps. Said here, because an older stage reads past a field that it does not know
    and stumbles over an argument."""

    def fields(self) -> dict[str, str]:
        """What a line of the log says about the request: its id, and the ids of trace and span where there are any."""
        if self.traceparent is None:
            return {"request_id": self.request_id}
        _, trace_id, span_id, _ = self.traceparent.split("-")
        return {"request_id": self.request_id, "trace_id": trace_id, "span_id": span_id}


UNKNOWN = Trace("unknown")
"""Of a call by an ingress that does not say for which request."""


@dataclass(frozen=True)
class Settings:
    """How a model wants its clips prepared, as plain data."""

    plain: Mapping[str, Any]
    """The parts of `Config.plain()` that the decode children read."""
    fit: str
    """What clips and model must agree on; clips fit every model with the same text."""
    messages: int = MESSAGES

    @classmethod
    def of(cls, config: Config) -> "Settings":
        """The settings that go with a model of this configuration."""
        plain = config.plain()
        dataset = {name: plain["dataset"][name] for name in ("video", "face", "audio")}
        return cls({"dataset": dataset, "limits": plain["limits"]}, fit_of(config))


def fit_of(config: Config) -> str:
    """What a model asks of its clips, in words; the settings that a checkpoint brings along."""
    video, face, audio = config.dataset.video, config.dataset.face, config.dataset.audio
    sound = f"speech {audio.speech_threshold:g}/{audio.min_speech:g}" if audio.enabled else "no sound"
    return f"{video.temporal_window} frames at {video.frame_rate:g}/s, {face.size} px, margin {face.margin:g}, {sound}"


@dataclass(frozen=True, eq=False)
class Cropped:
    """The cropper's answer for one file."""

    clips: Clips
    fit: str
    """`Settings.fit` of the settings with which they were prepared."""
    messages: int = MESSAGES


@dataclass(frozen=True)
class Failed:
    """A stage's answer that it has none: an error as plain data."""

    code: str
    detail: str
    media: bool
    """Whether the file is at fault."""
    messages: int = MESSAGES

    @classmethod
    def of(cls, error: AuraError) -> "Failed":
        """The message that says so."""
        return cls(error.code, error.detail, isinstance(error, MediaError))

    def error(self) -> AuraError:
        """The error again. A code that this version does not know becomes the nearest one that it knows."""
        if self.media:
            return MediaError(self.code if self.code in MEDIA_ERRORS else "corrupt_video", self.detail)
        if self.code == "model_not_ready":
            return ModelNotReadyError(self.code, self.detail)
        return ServiceError(self.code if self.code in PROBLEMS else "unavailable", self.detail)


@dataclass(frozen=True)
class Unfit:
    """The detector's answer to clips that none of its models was made for."""

    settings: Settings
    """With which to prepare them again."""
    messages: int = MESSAGES


@dataclass(frozen=True, eq=False)
class Scored:
    """The detector's answer for one file: no sound, and no pixels but in the heat-maps."""

    clips: Clips
    scores: tuple[ClipScore, ...]
    """One for each clip, in the same order, without its map."""
    model: ModelInfo
    timings: Mapping[str, float]
    """Seconds per stage beside those in `clips.timings`."""
    messages: int = MESSAGES
    heatmaps: Mapping[int, Heatmap] | None = None
    """Those of the faces, by track_id, where the request asked for them. The detector draws them, for it alone has both
    the crops and the scores. At most `dataset.face.max_faces`, each of some 125 kB at most."""


@dataclass(frozen=True)
class ModelStatus:
    """How far a detector is with its model."""

    state: State
    checkpoint_path: str | None
    """The configured file; None where the model of the package serves."""
    checkpoint_exists: bool
    reason: str | None = None
    """A stable code where the state is not ready."""
    detail: str | None = None
    model: ModelInfo | None = None
    device: str | None = None
    settings: Settings | None = None
    """How the loaded model wants its clips prepared."""
    update_failed: str | None = None
    """A stable code where another model was asked for since, and could not be loaded: the last one still serves."""
    messages: int = MESSAGES


Message = Settings | Cropped | Failed | Unfit | Scored | ModelStatus


class Backend(Protocol):
    """The stages behind the ingress."""

    async def predict(self, media: npt.NDArray[np.uint8], seconds: float, trace: Trace) -> Scored:
        """Analyse one file of bytes `[N]` within `seconds`, for the request that `trace` names.

        Raises:
            MediaError: the file is at fault.
            ModelNotReadyError: the model is not loaded.
            ServiceError: `busy` or `unavailable`.
        """
        ...

    async def status(self) -> ModelStatus:
        """Ask every stage; an answer means that all of them run and log."""
        ...
