"""What the deployments say to each other, and the backend that the ingress talks to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from aura_model.analysis import ModelInfo
from aura_model.clips import Clips
from aura_model.config import Config
from aura_model.scores import ClipScore

State = Literal["loading", "ready", "failed"]


@dataclass(frozen=True)
class Trace:
    """Which request a stage works for. It goes with each call, and its fields into each line of the log."""

    request_id: str
    traceparent: str | None = None
    """The W3C trace context of our own span, where the caller gave one that is valid."""

    def fields(self) -> dict[str, str]:
        """What a line of the log says about the request: its id, and the ids of trace and span where there are any."""
        if self.traceparent is None:
            return {"request_id": self.request_id}
        _, trace_id, span_id, _ = self.traceparent.split("-")
        return {"request_id": self.request_id, "trace_id": trace_id, "span_id": span_id}


UNKNOWN = Trace("unknown")
"""Of a call by an ingress that does not say for which request."""


@dataclass(frozen=True, eq=False)
class Scored:
    """The detector's answer for one file: no pixels, no sound."""

    clips: Clips
    scores: tuple[ClipScore, ...]
    """One for each clip, in the same order."""
    model: ModelInfo
    timings: Mapping[str, float]
    """Seconds per stage beside those in `clips.timings`."""


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
    config: Config | None = None
    """The settings that go with the loaded model; clips are prepared with these."""


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
