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

    async def predict(self, media: npt.NDArray[np.uint8], seconds: float) -> Scored:
        """Analyse one file of bytes `[N]` within `seconds`.

        Raises:
            MediaError: the file is at fault.
            ModelNotReadyError: the model is not loaded.
            ServiceError: `busy` or `unavailable`.
        """
        ...

    async def status(self) -> ModelStatus:
        """Ask every stage; an answer means that all of them run and log."""
        ...
