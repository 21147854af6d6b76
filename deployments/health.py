"""The service's health, kept by a background poll so that a health request never waits for anything."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from aura_model.logging import get_logger
from aura_model.redaction import redact, redact_text
from deployments.build_info import BuildInfo, build_info
from deployments.loading import not_ready
from deployments.messages import Backend, ModelStatus

POLL_SECONDS = 1.0
ANSWER_SECONDS = 5.0
"""A stage that does not answer within this time is asked again; what it said last still holds for a while."""
SETTLE_SECONDS = 5.0
"""A new ingress waits so long for the other parts before it takes requests, health requests among them."""
STALE_SECONDS = 10.0
"""An answer older than this no longer counts."""


class Live(BaseModel):
    """`GET /health/live`."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """`GET /health/ready`."""

    status: Literal["ready", "not_ready"] = "ready"
    model_loaded: bool
    checkpoint_path: str | None = Field(description="The checkpoint's file; null: none, the model is untrained.")


class NotReady(Ready):
    """`GET /health/ready` with status 503."""

    status: Literal["ready", "not_ready"] = "not_ready"
    reason: str = Field(description="A stable code.", examples=["checkpoint_missing"])
    detail: str = Field(description="The reason in words.")


class Health(BaseModel):
    """`GET /health`."""

    status: Literal["healthy"] = "healthy"
    model_loaded: bool
    checkpoint_exists: bool = Field(description="Whether the checkpoint's file is there; false: none is.")
    ready: bool
    model_version: str | None = None
    device: str | None = Field(default=None, description="Where the model computes: cpu or cuda.")
    build: BuildInfo | None = Field(default=None, description="What the service is made of.")
    update_failed: str | None = Field(
        default=None, description="Why the model that was asked for last does not serve, a stable code; null: it does."
    )


@dataclass(frozen=True)
class Answer:
    """What the stages said last, and when."""

    status: ModelStatus
    at: float


class HealthMonitor:
    """Asks the backend once a second and answers from memory."""

    def __init__(
        self,
        backend: Backend,
        checkpoint: Path | None,
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[bool], None] | None = None,
    ) -> None:
        """Know nothing yet.

        Args:
            backend: whom to ask.
            checkpoint: the configured file, for `/health/ready` until the detector has named the one that it serves.
            clock: seconds.
            tell: hears after each poll whether the service is ready.
        """
        self._backend = backend
        self._clock = clock
        self._tell = tell
        self._was_ready = False
        self._is_stopping = False
        self._heard = asyncio.Event()
        self._build = build_info()
        starting = ModelStatus(
            state="loading",
            checkpoint_path=None if checkpoint is None else str(checkpoint),
            checkpoint_exists=False,
            reason="starting",
            detail="Not every part of the service runs yet.",
        )
        self._answer = Answer(starting, clock())

    @asynccontextmanager
    async def polling(self) -> AsyncIterator[None]:
        """Poll while the block runs; after it the service is not ready.

        The block begins when every part has answered, or after a while without that: an ingress gets requests from then
        on, and one that comes into a running service knows it by then.
        """
        task = asyncio.create_task(self._poll_forever())
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._heard.wait(), SETTLE_SECONDS)
            yield
        finally:
            task.cancel()
            self._is_stopping = True
            self._note()
            with suppress(asyncio.CancelledError):
                await task

    async def poll(self) -> None:
        """Ask once. A stage that is gone, restarting or too slow leaves the last answer to grow old."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status = await self._backend.status()
        except Exception as error:  # noqa: BLE001 - whatever the transport raises means the same: no answer
            get_logger(__name__).bind(error=type(error).__name__).debug("a part of the service did not answer")
        else:
            self._answer = Answer(status, self._clock())
            if status.reason != "starting":
                self._heard.set()
        self._note()

    def status(self) -> ModelStatus:
        """The last answer, or the fact that it is too old or the last of all."""
        answer = self._answer
        if self._is_stopping:
            return replace(answer.status, state="loading", reason="stopping", detail="This part of the service stops.")
        if answer.status.reason != "starting" and self._clock() - answer.at > STALE_SECONDS:
            return ModelStatus(
                state="loading",
                checkpoint_path=answer.status.checkpoint_path,
                checkpoint_exists=answer.status.checkpoint_exists,
                reason="no_answer",
                detail=f"A part of the service has not answered for more than {STALE_SECONDS:g} s.",
            )
        return answer.status

    def is_ready(self) -> bool:
        """Whether predictions are answered."""
        return self.status().state == "ready"

    def require_ready(self) -> None:
        """Refuse early what could not be answered.

        Raises:
            ModelNotReadyError: see `status`.
        """
        status = self.status()
        if status.state != "ready":
            raise not_ready(status)

    def ready(self) -> Ready | NotReady:
        """The body of `/health/ready`. It is for everybody, so a path that is a signed URL loses its signature."""
        status = self.status()
        path = redact(status.checkpoint_path)
        if status.state == "ready":
            return Ready(model_loaded=True, checkpoint_path=path)
        return NotReady(
            model_loaded=status.model is not None,
            checkpoint_path=path,
            reason=status.reason or status.state,
            detail=redact_text(status.detail or ""),
        )

    def health(self) -> Health:
        """The body of `/health`."""
        status = self.status()
        return Health(
            model_loaded=status.model is not None,
            checkpoint_exists=status.checkpoint_exists,
            ready=self.is_ready(),
            model_version=status.model.version if status.model else None,
            device=status.device,
            update_failed=redact(status.update_failed),
            build=self._build,
        )

    def _note(self) -> None:
        """Tell and log what has changed."""
        status, ready = self.status(), self.is_ready()
        if ready != self._was_ready:
            self._was_ready = ready
            get_logger(__name__).bind(ready=ready, reason=status.reason).info("readiness has changed")
        if self._tell:
            self._tell(ready)

    async def _poll_forever(self) -> None:
        while True:
            await self.poll()
            await asyncio.sleep(POLL_SECONDS)
