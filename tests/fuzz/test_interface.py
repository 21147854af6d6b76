"""The documented interface, asked everything that its own description allows and forbids (schemathesis, all phases)."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from aura_model.errors import MEDIA_ERRORS, MediaError
from deployments.ingress import PREDICT_CODES, build_api
from deployments.messages import Scored
from deployments.problems import ServiceError
from tests.deployments.conftest import READY, FakeBackend, make_config, make_scored

SERVING = {"allowed_hosts": ["media.example"], "max_in_flight": 2}
"""No URL that is made up leads anywhere: no host but one that does not exist."""
KEY = "ab12" * 8


def rules(examples: int, **settings: Any) -> SchemathesisConfig:
    """The same cases at each run. A film that is none, and a URL that is not fetched, are well-formed requests."""
    return SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "workers": 1,
            "continue-on-failure": True,
            "generation": {"max-examples": examples, "deterministic": True, "mode": "all"},
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 413, 422]}},
        }
        | settings
    )


def ask(api: FastAPI, config: SchemathesisConfig) -> tuple[Counter[int], list[str]]:
    """Every case that the description gives rise to: the statuses of the replies, and what is wrong with them."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", api, config=config)
    statuses: Counter[int] = Counter()
    faults: list[str] = []
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            faults.append(str(event))
        if isinstance(event, events.ScenarioFinished):
            replies = (item.response for item in event.recorder.interactions.values())
            statuses.update(reply.status_code for reply in replies if reply)
            faults += failures(event)
    return statuses, faults


def failures(event: events.ScenarioFinished) -> Iterator[str]:
    for check in (check for checks in event.recorder.checks.values() for check in checks):
        if found := check.failure_info:
            yield f"{event.recorder.label}: {found.failure.title}: {found.failure.message}\n{found.code_sample}"


def test_a_service_that_is_ready() -> None:
    api = build_api(make_config(serving=SERVING), FakeBackend(), open_to_others=False)
    statuses, faults = ask(api, rules(900))
    assert not faults
    assert statuses.keys() >= {200, 405, 415, 422}
    assert statuses.total() >= 1000


def test_a_service_with_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AURA_API_KEYS", f"tester:{KEY}")
    api = build_api(make_config(serving=SERVING), FakeBackend(), open_to_others=True)
    statuses, faults = ask(api, rules(100, headers={"X-API-Key": KEY}))
    assert not faults
    assert statuses.keys() >= {200, 422}
    statuses, faults = ask(api, rules(50, checks={"positive_data_acceptance": {"enabled": False}}))
    assert not faults
    assert statuses.keys() >= {200, 401}


def test_a_service_in_trouble() -> None:
    """Whatever the stages answer is documented; errors of the service are, too, where there are any."""
    trouble = [*(MediaError(code, "x") for code in MEDIA_ERRORS), RuntimeError("a bug")]
    trouble += [ServiceError(code, "x") for code in PREDICT_CODES if code not in {*MEDIA_ERRORS, "internal"}]

    async def answer(media: npt.NDArray[np.uint8], seconds: float) -> Scored:
        backend.asked += 1
        if fault := [*trouble, None][backend.asked % (len(trouble) + 1)]:
            raise fault
        return make_scored()

    backend = FakeBackend()
    backend.answer = answer
    checks = {"not_a_server_error": {"enabled": False}, "positive_data_acceptance": {"enabled": False}}
    api = build_api(make_config(serving=SERVING), backend, open_to_others=False)
    statuses, faults = ask(api, rules(150, checks=checks))
    assert not faults
    assert statuses.keys() >= {200, 413, 422, 500, 502, 503, 504}


def test_a_service_that_is_not_ready() -> None:
    backend = FakeBackend()
    backend.current = replace(READY, state="failed", reason="checkpoint_missing", detail="There is no file.")
    checks = {"not_a_server_error": {"enabled": False}, "positive_data_acceptance": {"enabled": False}}
    api = build_api(make_config(serving=SERVING), backend, open_to_others=False)
    statuses, faults = ask(api, rules(50, checks=checks))
    assert not faults
    assert statuses.keys() >= {200, 503}
