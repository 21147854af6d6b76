"""What can go wrong with a request: one table of codes, their HTTP status, and the RFC 9457 reply."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from aura_model.errors import MEDIA_ERRORS, AuraError, media_status, problem_type

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Problem:
    """One row of the table."""

    status: int
    title: str
    retry_after: int | None = None
    """Seconds after which the same request may succeed; sent as `Retry-After`."""
    challenge: str | None = None
    """How to name oneself; sent as `WWW-Authenticate`."""


def _media_problems() -> dict[str, Problem]:
    return {code: Problem(media_status(code), title) for code, title in MEDIA_ERRORS.items()}


PROBLEMS: Mapping[str, Problem] = MappingProxyType(
    {
        "invalid_request": Problem(422, "The request is not of the documented form."),
        "unsupported_media_type": Problem(415, "The body is neither JSON nor a multipart form."),
        "length_required": Problem(411, "The request names no Content-Length."),
        "body_too_large": Problem(413, "The JSON body is larger than the service accepts."),
        "unauthorized": Problem(
            401, "The request names no API key that the service knows.", challenge='Bearer realm="aura"'
        ),
        "rate_limited": Problem(429, "This API key has sent as many requests as it may.", retry_after=60),
        "not_found": Problem(404, "There is nothing at this path."),
        "method_not_allowed": Problem(405, "This path does not answer this method."),
        "upload_timeout": Problem(408, "The body came too slowly."),
        "url_forbidden": Problem(422, "The service does not fetch this URL."),
        "fetch_refused": Problem(422, "The URL did not answer with a file."),
        "fetch_failed": Problem(502, "The URL could not be read."),
        "fetch_timeout": Problem(504, "Fetching the URL took longer than the service allows."),
        **_media_problems(),
        "busy": Problem(503, "The service handles as many requests as it can.", retry_after=2),
        "model_not_ready": Problem(503, "The model is not loaded.", retry_after=5),
        "unavailable": Problem(503, "A part of the service is restarting.", retry_after=2),
        "deadline_exceeded": Problem(504, "The request took longer than the service allows."),
        "internal": Problem(500, "The service made a mistake."),
    }
)
"""Every code a reply may carry."""

BY_PROXY: Mapping[int, str] = MappingProxyType(
    {
        400: "From Ray Serve's proxy: the request is not valid HTTP.",
        408: "From Ray Serve's proxy: no answer within `http_options.request_timeout_s`.",
        500: "From Ray Serve's proxy: the ingress died with the request in its hands; it may be sent again.",
        503: "From Ray Serve's proxy: no replica is there, or too many requests wait.",
    }
)
"""Statuses that come from in front of the service too, as plain text without a code."""

_CODES_OF_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


class ServiceError(AuraError):
    """A request that is refused or fails outside the media itself; `code` is a key of `PROBLEMS`."""

    def __init__(self, code: str, detail: str, retry_after: int | None = None) -> None:
        if code not in PROBLEMS:
            raise ValueError(f"unknown problem code {code!r}")
        super().__init__(code, detail)
        self.retry_after = retry_after
        """Seconds, where they are known better than the table knows them."""


class ProblemBody(BaseModel):
    """A problem as RFC 9457 describes it, with the stable `code` to match on."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="A URI that names the code.")
    title: str = Field(description="The code in words.")
    status: int = Field(description="The HTTP status of this reply.")
    detail: str = Field(description="What happened this time, and what to do.")
    code: str = Field(description="Stable; match on this.")
    instance: str = Field(description="The id of this request, as in the X-Request-ID header and the logs.")


def problem_body(code: str, detail: str, request_id: str) -> ProblemBody:
    """The body for one occurrence; a code outside the table becomes `internal`."""
    known = code if code in PROBLEMS else "internal"
    problem = PROBLEMS[known]
    return ProblemBody(
        type=problem_type(known),
        title=problem.title,
        status=problem.status,
        detail=detail if known == code else problem.title,
        code=known,
        instance=request_id,
    )


def problem_response(code: str, detail: str, request_id: str, retry_after: int | None = None) -> JSONResponse:
    """The reply for one occurrence; `retry_after` overrides the table's."""
    body = problem_body(code, detail, request_id)
    problem = PROBLEMS[body.code]
    headers = {"Retry-After": retry_after or problem.retry_after, "WWW-Authenticate": problem.challenge}
    given = {name: str(value) for name, value in headers.items() if value is not None}
    return JSONResponse(body.model_dump(), body.status, given, MEDIA_TYPE)


def code_of_status(status: int) -> str:
    """The code for an HTTP error that the framework raised itself."""
    return "internal" if status >= 500 else _CODES_OF_STATUS.get(status, "invalid_request")


def document(codes: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses for these codes, and those of the proxy: one entry a status, one example a code."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        problem = PROBLEMS[code]
        phrase = HTTPStatus(problem.status).phrase
        response = responses.setdefault(problem.status, {"description": phrase, "content": {MEDIA_TYPE: _content()}})
        example = problem_body(code, problem.title, "5f1c9d0e8a7b4c36").model_dump()
        response["content"][MEDIA_TYPE]["examples"][code] = {"summary": problem.title, "value": example}
    for status, reason in BY_PROXY.items():
        response = responses.setdefault(status, {"description": HTTPStatus(status).phrase, "content": {}})
        response["content"]["text/plain"] = {"schema": {"type": "string", "description": reason}}
    return responses


def _content() -> dict[str, Any]:
    return {"schema": ProblemBody.model_json_schema(), "examples": {}}
