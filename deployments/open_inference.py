"""Health and metadata as the Open Inference Protocol has them, for gateways and controllers that ask so.

Source: https://github.com/kserve/open-inference-protocol, REST, version 2. Its tensors do not suit videos, so there is
no inference: `POST /predict` is the only way to a verdict.
"""

from typing import Literal

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from deployments.health import HealthMonitor

NAME = "aura"


class ServerLive(BaseModel):
    """`GET /v2/health/live`."""

    live: Literal[True] = True


class ServerReady(BaseModel):
    """`GET /v2/health/ready`."""

    ready: bool


class ModelReady(BaseModel):
    """`GET /v2/models/aura/ready`."""

    name: str = NAME
    ready: bool


class Tensor(BaseModel):
    """What goes in or comes out."""

    name: str
    datatype: str
    shape: list[int]


INPUTS = [Tensor(name="video_url", datatype="BYTES", shape=[1])]
OUTPUTS = [
    Tensor(name="verdict", datatype="BYTES", shape=[1]),
    Tensor(name="fake_probability", datatype="FP64", shape=[1]),
]


class ModelMetadata(BaseModel):
    """`GET /v2/models/aura`."""

    name: str = NAME
    versions: list[str] = Field(description="The version of the loaded model; empty while there is none.")
    platform: str = "pytorch"
    inputs: list[Tensor] = Field(default=INPUTS, description="The main field of `POST /predict`.")
    outputs: list[Tensor] = Field(default=OUTPUTS, description="The main fields of its answer.")


def add_open_inference(api: FastAPI, monitor: HealthMonitor) -> None:
    """Add the routes; they answer from the monitor's memory, as `/health/ready` does."""
    _add_health(api, monitor)
    _add_model(api, monitor)


def _add_health(api: FastAPI, monitor: HealthMonitor) -> None:
    """Two routes a path, as in the ingress: one answers, the other one is for the schema."""

    @api.get("/v2/health/live")
    @api.api_route("/v2/health/live", methods=["GET", "HEAD"], include_in_schema=False)
    async def server_live() -> ServerLive:
        """The process answers; as `/health/live`."""
        return ServerLive()

    @api.get("/v2/health/ready", response_model=ServerReady, responses={503: {"model": ServerReady}})
    @api.api_route("/v2/health/ready", methods=["GET", "HEAD"], include_in_schema=False)
    async def server_ready() -> Response:
        """Predictions are answered; `/health/ready` says why not."""
        return _answer(ServerReady(ready=monitor.is_ready()))


def _add_model(api: FastAPI, monitor: HealthMonitor) -> None:
    @api.get(f"/v2/models/{NAME}")
    @api.api_route(f"/v2/models/{NAME}", methods=["GET", "HEAD"], include_in_schema=False)
    async def model_metadata() -> ModelMetadata:
        """What the model takes and gives, and its version."""
        model = monitor.status().model
        return ModelMetadata(versions=[model.version] if model else [])

    @api.get(f"/v2/models/{NAME}/ready", response_model=ModelReady, responses={503: {"model": ModelReady}})
    @api.api_route(f"/v2/models/{NAME}/ready", methods=["GET", "HEAD"], include_in_schema=False)
    async def model_ready() -> Response:
        """As `/v2/health/ready`: there is one model."""
        return _answer(ModelReady(ready=monitor.is_ready()))


def _answer(body: ServerReady | ModelReady) -> Response:
    return JSONResponse(body.model_dump(), 200 if body.ready else 503)
