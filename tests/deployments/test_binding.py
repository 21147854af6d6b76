"""Whether others than this machine can connect."""

from typing import Any

import pytest
import ray
from ray.exceptions import GetTimeoutError, RayActorError
from ray.serve.config import HTTPOptions

from deployments.binding import is_loopback, listens_on_loopback


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        (None, True),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:0.0.0.0", False),
        ("10.0.0.1", False),
        ("", False),
        ("127.1", False),
        ("localhost.example.com", False),
        ("example.com", False),
    ],
)
def test_what_a_host_lets_in(host: str | None, expected: bool) -> None:
    assert is_loopback(host) is expected


class Controller:
    """Stands for Serve's controller, whose calls give a reference."""

    def __init__(self, answer: HTTPOptions | Exception) -> None:
        self.get_http_config = self
        self.answer = answer

    def remote(self) -> HTTPOptions | Exception:
        return self.answer


def serve_runs(monkeypatch: pytest.MonkeyPatch, answer: HTTPOptions | Exception | None) -> None:
    """None: Ray runs without a Serve."""

    def get_actor(name: str, namespace: str) -> Controller:
        assert (name, namespace) == ("SERVE_CONTROLLER_ACTOR", "serve")
        if answer is None:
            raise ValueError("Failed to look up actor")
        return Controller(answer)

    def get(reference: Any, timeout: float) -> Any:
        if isinstance(reference, Exception):
            raise reference
        return reference

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_actor", get_actor)
    monkeypatch.setattr(ray, "get", get)


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", True), ("0.0.0.0", False), (None, True)])
def test_a_running_serve_is_asked(monkeypatch: pytest.MonkeyPatch, host: str | None, expected: bool) -> None:
    serve_runs(monkeypatch, HTTPOptions(host=host))
    assert listens_on_loopback() is expected


@pytest.mark.parametrize("error", [GetTimeoutError("late"), RayActorError()])
def test_no_answer_means_no(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    serve_runs(monkeypatch, error)
    assert not listens_on_loopback()


@pytest.mark.parametrize("initialized", [True, False])
@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_where_no_serve_runs_its_default_counts(
    monkeypatch: pytest.MonkeyPatch, initialized: bool, host: str, expected: bool
) -> None:
    """Ray takes the default from RAY_SERVE_DEFAULT_HTTP_HOST when it is imported."""
    serve_runs(monkeypatch, None)
    monkeypatch.setattr(ray, "is_initialized", lambda: initialized)
    monkeypatch.setattr("deployments.binding.HTTPOptions", lambda: HTTPOptions(host=host))
    assert listens_on_loopback() is expected


def test_by_default_serve_listens_here_only() -> None:
    assert listens_on_loopback()
