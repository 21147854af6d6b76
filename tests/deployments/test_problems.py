"""The table of problems, in code, in the OpenAPI page and in the documentation."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from aura_model.errors import MEDIA_ERRORS
from deployments.ingress import PREDICT_CODES, build_api
from deployments.problems import (
    BY_PROXY,
    MEDIA_TYPE,
    PROBLEMS,
    ServiceError,
    code_of_status,
    problem_body,
    problem_response,
)
from tests.deployments.conftest import FakeBackend, make_config

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "api.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| (\d+) \| (.+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return build_api(make_config(), FakeBackend(), open_to_others=False).openapi()


def test_each_media_error_has_a_row_with_its_title() -> None:
    assert {code: PROBLEMS[code].title for code in MEDIA_ERRORS} == dict(MEDIA_ERRORS)


@pytest.mark.parametrize("code", sorted(MEDIA_ERRORS))
def test_bad_media_is_the_callers_fault(code: str) -> None:
    assert PROBLEMS[code].status == (413 if code == "file_too_large" else 422)


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_a_reply_says_everything(code: str) -> None:
    reply = problem_response(code, "What happened.", "id-1")
    problem = PROBLEMS[code]
    assert reply.status_code == problem.status
    assert reply.headers["content-type"] == MEDIA_TYPE
    assert problem_body(code, "What happened.", "id-1").model_dump() == {
        "type": f"urn:problem-type:aura:{code}",
        "title": problem.title,
        "status": problem.status,
        "detail": "What happened.",
        "code": code,
        "instance": "id-1",
    }


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_what_may_succeed_later_says_when(code: str) -> None:
    header = problem_response(code, "", "id-1").headers.get("retry-after")
    assert (header is not None) == (PROBLEMS[code].status in {429, 503})


def test_an_unknown_code_is_internal_and_says_nothing() -> None:
    body = problem_body("invalid_config", "the secret path", "id-1")
    assert (body.code, body.status) == ("internal", 500)
    assert "secret" not in body.model_dump_json()


def test_a_service_error_needs_a_code_of_the_table() -> None:
    with pytest.raises(ValueError, match="unknown problem code"):
        ServiceError("oops", "")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "invalid_request"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (413, "body_too_large"),
        (422, "invalid_request"),
        (500, "internal"),
        (503, "internal"),
    ],
)
def test_errors_of_the_framework(status: int, code: str) -> None:
    assert code_of_status(status) == code


def test_openapi_has_an_example_of_each_code(openapi: dict[str, Any]) -> None:
    responses = openapi["paths"]["/predict"]["post"]["responses"]
    documented = {
        code: int(status)
        for status, response in responses.items()
        for code in response["content"].get(MEDIA_TYPE, {}).get("examples", {})
    }
    assert documented == {code: PROBLEMS[code].status for code in PREDICT_CODES}


def test_openapi_examples_are_what_the_service_says(openapi: dict[str, Any]) -> None:
    for response in openapi["paths"]["/predict"]["post"]["responses"].values():
        for code, example in response["content"].get(MEDIA_TYPE, {}).get("examples", {}).items():
            body = problem_body(code, PROBLEMS[code].title, example["value"]["instance"])
            assert example["value"] == body.model_dump()


def test_every_code_belongs_to_predict_or_to_the_router() -> None:
    assert set(PROBLEMS) - set(PREDICT_CODES) == {"not_found", "method_not_allowed"}


def test_openapi_shows_both_forms_of_the_body_and_a_real_answer(openapi: dict[str, Any]) -> None:
    operation = openapi["paths"]["/predict"]["post"]
    content = operation["requestBody"]["content"]
    assert content["application/json"]["schema"]["required"] == ["video_url"]
    assert content["multipart/form-data"]["schema"]["required"] == ["file"]
    assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Analysis")
    assert openapi["components"]["schemas"]["Analysis"]["examples"][0]["verdict"] == "fake"


@pytest.fixture(scope="module")
def responses(openapi: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """What the schema says that `/predict` may answer, by status."""
    found = openapi["paths"]["/predict"]["post"]["responses"]
    return {int(status): response for status, response in found.items()}


def test_openapi_has_each_status_and_no_other(responses: dict[int, dict[str, Any]]) -> None:
    assert responses.keys() == {200, *(PROBLEMS[code].status for code in PREDICT_CODES), *BY_PROXY}
    assert responses.keys() >= {401, 408, 411, 413, 415, 422, 429, 500, 502, 503, 504}


def test_openapi_has_the_titles(responses: dict[int, dict[str, Any]]) -> None:
    titles = {
        code: example["summary"]
        for response in responses.values()
        for code, example in response["content"].get(MEDIA_TYPE, {}).get("examples", {}).items()
    }
    assert titles == {code: PROBLEMS[code].title for code in PREDICT_CODES}


def test_openapi_has_what_the_proxy_answers_in_front_of_the_service(responses: dict[int, dict[str, Any]]) -> None:
    assert {status for status, response in responses.items() if "text/plain" in response["content"]} == BY_PROXY.keys()


def test_the_documentation_has_the_same_table() -> None:
    rows = ROW.findall(DOCUMENT)
    assert [code for code, _, _ in rows] == list(PROBLEMS)
    assert rows == [(code, str(problem.status), problem.title) for code, problem in PROBLEMS.items()]


def test_the_documentation_shows_a_problem_as_it_is() -> None:
    (example,) = (
        json.loads(block) for block in re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL) if "code" in block
    )
    assert example == problem_body(example["code"], example["detail"], example["instance"]).model_dump()


def test_the_documentation_has_what_the_proxy_answers() -> None:
    section = DOCUMENT[DOCUMENT.index("proxy rather than") :]
    assert {status for status in BY_PROXY if str(status) in section.partition("###")[0]} == BY_PROXY.keys()


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_each_code_is_raised_somewhere(code: str) -> None:
    tables = {"problems.py", "errors.py", "ingress.py", "metrics.py"}
    router = {"not_found", "method_not_allowed"}
    sources = [path for room in ("aura_model", "deployments") for path in (ROOT / room).rglob("*.py")]
    assert code in router or any(f'"{code}"' in path.read_text() for path in sources if path.name not in tables)
