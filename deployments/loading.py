"""A model that loads in the background: its failure is a state, never a crash."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.errors import AuraError, ModelNotReadyError
from aura_model.logging import get_logger
from aura_model.reply import ModelInfo
from aura_model.scores import ClipScore
from deployments.messages import ModelStatus, Settings


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model that is ready to score."""

    score: Callable[[Sequence[Clip]], Sequence[ClipScore]]
    """One score for each clip."""
    info: ModelInfo
    config: Config
    """The settings that go with the model; clips are prepared with these."""
    device: str

    @cached_property
    def settings(self) -> Settings:
        """What the cropper is told of them."""
        return Settings.of(self.config)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model to load."""

    checkpoint: Path | None
    """The file; None: none, the model is untrained."""
    load: Callable[[], Loaded]


class LoadingModel:
    """Loads a model in a daemon thread, later others in its place, and remembers how it went.

    A model serves until its successor is ready, and on where that one cannot be loaded; a replica that starts with a
    successor which cannot be loaded has the first model. After that it is kept for as long as clips come that fit it
    and not its successor.
    """

    def __init__(self, first: Candidate, keep_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Wait for `start`.

        Args:
            first: what to load, unless `choose` names another before `start`.
            keep_seconds: the last model goes when nobody has asked for it for this long.
            clock: seconds.
        """
        self._keep_seconds = keep_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._first_choice = self._wanted = first
        self._refused: str | None = None  # why the first choice serves, where another was wanted
        self._thread: threading.Thread | None = None
        self._first: Future[None] = Future()
        self._models: tuple[Loaded, ...] = ()  # the one that serves, and the last one
        self._last_used = 0.0
        self._served: Path | None = first.checkpoint
        self._status = _loading(first)

    def start(self) -> "Future[None]":
        """Begin with the first model, once; the future is done when it is there, or cannot be had."""
        with self._lock:
            if not self._first.done():
                self._run_thread()
        return self._first

    async def wait(self) -> None:
        """Start, and return when the first load has ended, well or badly."""
        await asyncio.shield(asyncio.wrap_future(self.start()))

    def choose(self, candidate: Candidate) -> None:
        """Load another model; where one is being loaded already, this one instead."""
        with self._lock:
            self._wanted, self._refused = candidate, None
            if self._first.done():
                self._run_thread()
            elif self._thread is None:
                self._served, self._status = candidate.checkpoint, _loading(candidate)

    def status(self) -> ModelStatus:
        """The state now; whether the file exists is looked up each time."""
        with self._lock:
            self._let_go()
            return replace(self._status, checkpoint_exists=self._served is not None and self._served.is_file())

    def get(self, fit: str) -> Loaded | None:
        """The model for clips that were prepared with these settings; None where there is none for them.

        Raises:
            ModelNotReadyError: the first model is loading, or has failed.
        """
        with self._lock:
            if not self._models:
                raise not_ready(self._status)
            found = next((model for model in self._models if model.settings.fit == fit), None)
            if found and found is not self._models[0]:
                self._last_used = self._clock()
            return found

    def _run_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="load-model", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            candidate = self._wanted
            outcome = _try_load(candidate)
            with self._lock:
                if candidate is self._wanted:
                    self._settle(candidate, outcome)
                if candidate is self._wanted:
                    self._thread = None
                    if not self._first.done():
                        self._first.set_result(None)
                    return

    def _settle(self, candidate: Candidate, outcome: Loaded | AuraError) -> None:
        if isinstance(outcome, Loaded):
            self._served = candidate.checkpoint
            self._models = (outcome, *(last for last in self._models[:1] if last.settings.fit != outcome.settings.fit))
            self._last_used = self._clock()
            self._status = replace(_ready(candidate, outcome), update_failed=self._refused)
            get_logger(__name__).bind(model=outcome.info.model_dump(), device=outcome.device).info("the model is ready")
            return
        logger = get_logger(__name__).bind(reason=outcome.code, detail=outcome.detail)
        if self._models:
            self._status = replace(self._status, update_failed=outcome.code)
            logger.error("the new model cannot be loaded, the old one still serves")
        elif candidate is not self._first_choice:
            self._wanted, self._refused = self._first_choice, outcome.code
            logger.error("the new model cannot be loaded, that of inference.checkpoint takes its place")
        else:
            self._served = candidate.checkpoint
            self._status = replace(_loading(candidate), state="failed", reason=outcome.code, detail=outcome.detail)
            logger.error("the model is not ready")

    def _let_go(self) -> None:
        """Part with the last model where nobody needs it any more."""
        if len(self._models) > 1 and self._clock() - self._last_used > self._keep_seconds:
            self._models = self._models[:1]
            get_logger(__name__).info("no clips come for the last model any more")


def _try_load(candidate: Candidate) -> Loaded | AuraError:
    try:
        return candidate.load()
    except AuraError as error:
        return error
    except Exception as error:  # noqa: BLE001 - whatever a model file provokes must leave the replica up
        get_logger(__name__).opt(exception=error).error("the model could not be loaded")
        return AuraError("model_error", f"Loading failed with {type(error).__name__}; the log has the trace.")


def _loading(candidate: Candidate) -> ModelStatus:
    return ModelStatus(
        state="loading",
        checkpoint_path=_name(candidate),
        checkpoint_exists=False,
        reason="loading",
        detail="The model is being loaded.",
    )


def _ready(candidate: Candidate, loaded: Loaded) -> ModelStatus:
    return ModelStatus(
        state="ready",
        checkpoint_path=_name(candidate),
        checkpoint_exists=False,
        model=loaded.info,
        device=loaded.device,
        settings=loaded.settings,
    )


def _name(candidate: Candidate) -> str | None:
    return None if candidate.checkpoint is None else str(candidate.checkpoint)


def not_ready(status: ModelStatus) -> ModelNotReadyError:
    """The error that says why the model cannot answer; the detail, which may name files of ours, is for operators."""
    return ModelNotReadyError("model_not_ready", f"The model is not ready ({status.reason}); see /health/ready.")
