"""A model that loads in the background: its failure is a state, never a crash."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aura_model.analysis import ModelInfo
from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.errors import AuraError, ModelNotReadyError
from aura_model.logging import get_logger
from aura_model.scores import ClipScore
from deployments.messages import ModelStatus


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model that is ready to score."""

    score: Callable[[Sequence[Clip]], Sequence[ClipScore]]
    """One score for each clip."""
    info: ModelInfo
    config: Config
    """The settings that go with the model; clips are prepared with these."""
    device: str


class LoadingModel:
    """Calls `load` in a daemon thread and remembers how it went."""

    def __init__(self, load: Callable[[], Loaded], checkpoint: Path | None) -> None:
        self._load = load
        self._checkpoint = checkpoint
        self._loaded: Loaded | None = None
        self._status = ModelStatus(
            state="loading",
            checkpoint_path=None if checkpoint is None else str(checkpoint),
            checkpoint_exists=False,
            reason="loading",
            detail="The model is being loaded.",
        )
        self._thread = threading.Thread(target=self._run, name="load-model", daemon=True)
        self._thread.start()

    def status(self) -> ModelStatus:
        """The state now; whether the file exists is looked up each time."""
        return replace(self._status, checkpoint_exists=self._checkpoint is not None and self._checkpoint.is_file())

    def wait(self, seconds: float) -> None:
        """Return when loading has ended, well or badly, or after `seconds`."""
        self._thread.join(seconds)

    def get(self) -> Loaded:
        """The loaded model.

        Raises:
            ModelNotReadyError: it is loading, or has failed.
        """
        if self._loaded is None:
            raise not_ready(self._status)
        return self._loaded

    def _run(self) -> None:
        try:
            self._loaded = self._load()
        except AuraError as error:
            self._fail(error.code, error.detail)
        except Exception as error:  # noqa: BLE001 - whatever a model file provokes must leave the replica up
            self._fail("model_error", f"Loading failed with {type(error).__name__}; the log has the trace.")
            get_logger(__name__).opt(exception=error).error("the model could not be loaded")
        else:
            self._succeed(self._loaded)

    def _succeed(self, loaded: Loaded) -> None:
        self._status = replace(
            self._status,
            state="ready",
            reason=None,
            detail=None,
            model=loaded.info,
            device=loaded.device,
            config=loaded.config,
        )
        get_logger(__name__).bind(model=loaded.info.model_dump(), device=loaded.device).info("the model is ready")

    def _fail(self, reason: str, detail: str) -> None:
        self._status = replace(self._status, state="failed", reason=reason, detail=detail)
        get_logger(__name__).bind(reason=reason, detail=detail).error("the model is not ready")


def not_ready(status: ModelStatus) -> ModelNotReadyError:
    """The error that says why the model cannot answer; the detail, which may name files of ours, is for operators."""
    return ModelNotReadyError("model_not_ready", f"The model is not ready ({status.reason}); see /health/ready.")
