"""The stages behind the ingress, reached over Ray Serve's handles."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from ray.exceptions import NodeDiedError, ObjectLostError, RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from aura_model.logging import get_logger
from deployments.messages import Failed, ModelStatus, Scored, Settings, Trace, Unfit
from deployments.problems import ServiceError
from deployments.versions import current, read_scored, understood

DEATHS = (RayActorError, NodeDiedError, ObjectLostError)
"""Where a replica, or the node with its result, is gone. The work can be done again: it changes nothing."""


class ServeBackend:
    """FaceCropper, then Detector, chained: the crops go from one to the other and never through the ingress."""

    def __init__(self, cropper: DeploymentHandle[Any], detector: DeploymentHandle[Any]) -> None:
        self._cropper = cropper
        self._detector = detector
        self._settings: Settings | None = None

    async def predict(self, media: npt.NDArray[np.uint8], seconds: float, trace: Trace) -> Scored:
        """See `Backend.predict`.

        The bytes travel through Ray's object store: one copy into shared memory, none where the cropper is on the same
        node, one transfer where it is not. Leaving early, by a deadline, an error or because the client has gone,
        cancels both stages.

        Where a replica dies at work, or the detector has another model by now than the one that the clips were prepared
        for, everything is done once more, within the same time. What a file itself provokes is an answer, and final.
        """
        end = time.monotonic() + seconds
        if self._settings is None:
            raise ServiceError("unavailable", "The model has not said yet how clips are to be prepared.")
        with _as_service_errors():
            reference = await asyncio.to_thread(ray.put, media)
            outcome = await self._try(reference, self._settings, seconds, trace)
            if isinstance(outcome, Settings):
                outcome = await self._try(reference, outcome, end - time.monotonic(), trace)
        if isinstance(outcome, Settings):
            raise ServiceError("unavailable", "Replicas were lost or replaced while they worked on this request.")
        return outcome

    async def _try(self, reference: Any, settings: Settings, seconds: float, trace: Trace) -> Scored | Settings:
        """One attempt at all stages: the answer, or the settings with which another attempt may find it."""
        try:
            outcome = await self._stages(reference, settings, seconds, trace)
        except (RayError, RayServeException) as error:
            if not _is_death(error):
                raise
            get_logger(__name__).bind(**trace.fields(), error=type(error).__name__).warning("a replica died at work")
            return self._settings or settings
        if isinstance(outcome, Failed):
            raise understood(outcome).error()
        return understood(outcome).settings if isinstance(outcome, Unfit) else read_scored(outcome)

    async def _stages(
        self, reference: Any, settings: Settings, seconds: float, trace: Trace
    ) -> Scored | Failed | Unfit:
        cropped = self._cropper.crop.remote(reference, settings, seconds, trace)
        scored = self._detector.score.remote(cropped, trace)
        try:
            outcome: Scored | Failed | Unfit = await scored
        except BaseException:
            for response in (scored, cropped):
                with suppress(RayError, RayServeException):  # why it never began
                    response.cancel()  # type: ignore[no-untyped-call]
            raise
        return outcome

    async def status(self) -> ModelStatus:
        """See `Backend.status`. The decode children get the settings that go with the model, and start with them.

        New settings are used once there are children for them; until then the last model, which the detector keeps,
        scores clips that are prepared for it.
        """
        answer: ModelStatus = await self._detector.status.remote()
        status = understood(answer)
        if status.settings is None:
            return status
        status = replace(status, model=status.model and current(status.model))
        prepared: bool | Failed = await self._cropper.prepare.remote(status.settings)
        if prepared is True:
            self._settings = status.settings
        elif isinstance(prepared, Failed):
            return self._unprepared(status, "failed", "decoder_failed", prepared.detail)
        else:
            return self._unprepared(status, "loading", "starting", "The decoders are loading.")
        return status

    def _unprepared(self, status: ModelStatus, state: Any, reason: str, detail: str) -> ModelStatus:
        """The status while no decoder has the new settings; it is the old one where the old settings still serve."""
        if self._settings is None:
            return replace(status, state=state, reason=reason, detail=detail)
        return replace(status, update_failed=reason) if state == "failed" else status


@contextmanager
def _as_service_errors() -> Iterator[None]:
    try:
        yield
    except BackPressureError:
        raise ServiceError("busy", "Every queue is full; try again later.") from None
    except RayTaskError:
        raise
    except (RayServeException, RayError) as error:
        raise ServiceError("unavailable", "A part of the service is gone.") from error


def _is_death(error: Exception) -> bool:
    """Whether an error says that a replica of either stage died, and not that it raised something."""
    if isinstance(error, RayTaskError):  # it may have failed because the crops that it was to score are lost
        return isinstance(error.cause, DEATHS)
    return isinstance(error, DEATHS) or (isinstance(error, RayServeException) and isinstance(error.__cause__, DEATHS))
