"""The stages behind the ingress, reached over Ray Serve's handles."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from aura_model.config import Config
from aura_model.errors import AuraError
from deployments.messages import ModelStatus, Scored, Trace
from deployments.problems import ServiceError


class ServeBackend:
    """FaceCropper, then Detector, chained: the crops go from one to the other and never through the ingress."""

    def __init__(self, cropper: DeploymentHandle[Any], detector: DeploymentHandle[Any]) -> None:
        self._cropper = cropper
        self._detector = detector
        self._config: Config | None = None

    async def predict(self, media: npt.NDArray[np.uint8], seconds: float, trace: Trace) -> Scored:
        """See `Backend.predict`.

        The bytes travel through Ray's object store: one copy into shared memory, none where the cropper is on the same
        node, one transfer where it is not. Leaving early, by a deadline or because the client has gone, cancels the
        stages.
        """
        if self._config is None:
            raise ServiceError("unavailable", "The model has not said yet how clips are to be prepared.")
        with _as_service_errors():
            reference = await asyncio.to_thread(ray.put, media)
            clips = self._cropper.crop.remote(reference, self._config, seconds, trace)
            try:
                outcome: Scored | AuraError = await self._detector.score.remote(clips, trace)
            except asyncio.CancelledError:
                clips.cancel()  # type: ignore[no-untyped-call]
                raise
        if isinstance(outcome, AuraError):
            raise outcome
        return outcome

    async def status(self) -> ModelStatus:
        """See `Backend.status`. The decode children get the settings that go with the model, and start with them."""
        status: ModelStatus = await self._detector.status.remote()
        if status.config is None:
            return status
        prepared: bool | AuraError = await self._cropper.prepare.remote(status.config)
        if isinstance(prepared, AuraError):
            return replace(status, state="failed", reason="decoder_failed", detail=prepared.detail)
        if not prepared:
            return replace(status, state="loading", reason="starting", detail="The decoders are loading.")
        self._config = status.config
        return status


@contextmanager
def _as_service_errors() -> Iterator[None]:
    try:
        yield
    except BackPressureError:
        raise ServiceError("busy", "Every queue is full; try again later.") from None
    except RayTaskError:
        raise
    except (RayServeException, RayError) as error:  # the former also where a cropper dies before the detector starts
        raise ServiceError("unavailable", "A replica was lost while it worked on this request.") from error
