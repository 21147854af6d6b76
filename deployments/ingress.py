"""The HTTP surface: `/predict`, `/health/live`, `/health/ready`, `/health` and `/docs`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response, Security
from fastapi.params import Depends
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, HTTPBearer
from ray.serve.handle import DeploymentHandle
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from aura_model.config import Config
from aura_model.errors import MEDIA_ERRORS, AuraError
from aura_model.logging import get_logger, setup_logging
from aura_model.reply import Analysis
from deployments.access import HEADER as API_KEY
from deployments.access import Access
from deployments.backend import ServeBackend
from deployments.binding import listens_on_loopback
from deployments.build_info import build_info
from deployments.docs_page import add_docs
from deployments.forms import FIELD
from deployments.health import Health, HealthMonitor, Live, NotReady, Ready
from deployments.messages import Backend
from deployments.metrics import IngressMetrics
from deployments.open_inference import add_open_inference
from deployments.predict_handler import PredictHandler
from deployments.problems import ServiceError, code_of_status, document, problem_response
from deployments.proxy import HEADER as REQUEST_ID
from deployments.request_ids import TRACE_PARENT, RequestIds, trace_of
from deployments.security_headers import SecurityHeaders
from deployments.uploads import EXPLAIN, VideoRequest

PREDICT_CODES = (
    "unauthorized",
    "rate_limited",
    "invalid_request",
    "unsupported_media_type",
    "length_required",
    "body_too_large",
    "upload_timeout",
    "url_forbidden",
    "fetch_refused",
    "fetch_failed",
    "fetch_timeout",
    *MEDIA_ERRORS,
    "busy",
    "model_not_ready",
    "unavailable",
    "deadline_exceeded",
    "internal",
)
"""What `POST /predict` may answer beside an analysis."""

_REQUEST_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": VideoRequest.model_json_schema()},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "properties": {FIELD: {"type": "string", "format": "binary", "description": "A video or a still."}},
            }
        },
    },
}

_EXPLAIN = {
    "name": EXPLAIN,
    "in": "query",
    "description": "Whether each face of the reply is to hold a heat-map: where it looks forged, with a picture of it.",
    "schema": {"type": "boolean", "default": False},
}


class Ingress:
    """The Serve deployment around `build_api`."""

    def __init__(self, config: Config, cropper: DeploymentHandle[Any], detector: DeploymentHandle[Any]) -> None:
        setup_logging(config.logging)
        self._config = config
        self._backend = ServeBackend(cropper, detector)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Ray Serve asks for the application once, on the replica."""
        return build_api(self._config, self._backend, open_to_others=not listens_on_loopback())


def build_api(config: Config, backend: Backend, *, open_to_others: bool) -> FastAPI:
    """The whole HTTP surface on any backend.

    Args:
        config: the settings.
        backend: the stages.
        open_to_others: whether others than this machine can connect.

    Raises:
        ConfigError: see `Access`.
    """
    access = Access(config.serving, open_to_others)
    metrics = IngressMetrics()
    monitor = HealthMonitor(backend, config.inference.checkpoint_file, tell=metrics.ready)
    handler = PredictHandler(config, backend, monitor, access, metrics, open_to_others=open_to_others)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        """Watch the stages for as long as the application runs."""
        async with monitor.polling():
            yield

    api = FastAPI(
        title="Aura",
        summary="Tells whether a video of a person has been manipulated.",
        version=version("aura"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if config.serving.docs else None,
        redirect_slashes=False,
    )
    _add_middleware(api, config.serving.cors_origins)
    for error in (AuraError, HTTPException, Exception):
        api.add_exception_handler(error, _reply)
    _add_health(api, monitor)
    add_open_inference(api, monitor)
    _add_predict(api, handler, access)
    if config.serving.docs:
        add_docs(api)
    _announce(config, access)
    return api


def _announce(config: Config, access: Access) -> None:
    """Log once what holds. Paths and hosts stay, whatever looks like a secret is redacted as in any record."""
    logger = get_logger(__name__)
    sections = {name: section for name, section in config.plain().items() if name != "training"}
    logger.bind(config=sections, api_keys=access.names).info("the service starts with these settings")
    logger.bind(versions=build_info()).info("the service starts with these versions")
    if access.warning:
        logger.warning(access.warning)


def _add_middleware(api: FastAPI, origins: tuple[str, ...]) -> None:
    """The last one added sees a request first."""
    if origins:
        api.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", API_KEY, REQUEST_ID, TRACE_PARENT],
            expose_headers=["Retry-After", REQUEST_ID],
        )
    api.add_middleware(RequestIds)
    api.add_middleware(SecurityHeaders)


def _add_predict(api: FastAPI, handler: PredictHandler, access: Access) -> None:
    @api.post(
        "/predict",
        response_model=Analysis,
        responses=document(PREDICT_CODES),
        openapi_extra={"parameters": [_EXPLAIN], "requestBody": _REQUEST_BODY},
        dependencies=_security(access),
    )
    async def predict(request: Request) -> Analysis:
        """Analyse a video or a still picture: by URL (JSON) or by upload (multipart form, field `file`)."""
        return await handler.predict(request)


def _add_health(api: FastAPI, monitor: HealthMonitor) -> None:
    """Of each path one route answers, also to HEAD and in the `Allow` of a 405; the other one is for the schema."""

    @api.get("/health/live")
    @api.api_route("/health/live", methods=["GET", "HEAD"], include_in_schema=False)
    async def live() -> Live:
        """The process answers."""
        return Live()

    @api.get("/health/ready", response_model=Ready, responses={503: {"model": NotReady}})
    @api.api_route("/health/ready", methods=["GET", "HEAD"], include_in_schema=False)
    async def ready() -> Response:
        """Every part of the service runs and logs, and the model is loaded."""
        body = monitor.ready()
        return JSONResponse(body.model_dump(), 503 if isinstance(body, NotReady) else 200)

    @api.get("/health")
    @api.api_route("/health", methods=["GET", "HEAD"], include_in_schema=False)
    async def health() -> Health:
        """An overview; always 200."""
        return monitor.health()


def _security(access: Access) -> list[Depends]:
    """For the schema, and so for the page's form; `Access` reads the headers itself."""
    if not access.enforced:
        return []
    return [Security(APIKeyHeader(name=API_KEY, auto_error=False)), Security(HTTPBearer(auto_error=False))]


async def _reply(request: Request, error: Exception) -> Response:
    trace = trace_of(request)
    request_id = trace.request_id
    if isinstance(error, ServiceError):
        return problem_response(error.code, error.detail, request_id, error.retry_after)
    if isinstance(error, AuraError):
        return problem_response(error.code, error.detail, request_id)
    if isinstance(error, HTTPException):
        response = problem_response(code_of_status(error.status_code), str(error.detail), request_id)
        response.headers.update(error.headers or {})
        return response
    get_logger(__name__).bind(**trace.fields()).opt(exception=error).error("a request failed")
    return problem_response("internal", "The service made a mistake; the log has the trace.", request_id)
