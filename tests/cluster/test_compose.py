from pathlib import Path
from typing import Any

import pytest

from aura_model.redaction import API_KEYS

KEYS = {
    *("image", "build", "ports", "environment", "read_only", "tmpfs", "shm_size", "cap_drop", "security_opt"),
    *("pids_limit", "restart", "stop_grace_period", "healthcheck"),
}


@pytest.fixture
def service(compose: dict[str, Any]) -> dict[str, Any]:
    assert list(compose["services"]) == ["aura"]
    found: dict[str, Any] = compose["services"]["aura"]
    return found


def test_it_has_the_known_keys_only(compose: dict[str, Any], service: dict[str, Any]) -> None:
    assert set(compose) == {"name", "services"}
    assert set(service) == KEYS


def test_it_builds_the_dockerfile_from_the_root(service: dict[str, Any], root: Path) -> None:
    folder = root / "cluster"
    context = (folder / service["build"]["context"]).resolve()
    assert context == root
    assert (context / service["build"]["dockerfile"]).is_file()
    assert service["image"] == "aura:0.1.0"


def test_only_the_service_is_published_and_only_to_this_machine(
    service: dict[str, Any], serve_config: dict[str, Any]
) -> None:
    port = serve_config["http_options"]["port"]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert "network_mode" not in service


def test_it_does_not_start_without_keys(service: dict[str, Any]) -> None:
    """The service listens on all addresses of its container, and so asks for keys; compose says so first."""
    assert service["environment"][API_KEYS].startswith(f"${{{API_KEYS}:?")


def test_nothing_but_tmpfs_is_writable(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert [entry.split(":")[0] for entry in service["tmpfs"]] == ["/tmp", "/home/aura"]
    home = service["tmpfs"][1].split(":")[1].split(",")
    assert {"uid=10001", "gid=10001"} <= set(home)


def test_it_has_no_privileges(service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_object_store_has_shared_memory(service: dict[str, Any]) -> None:
    assert service["shm_size"] == "2gb"


def test_health_is_asked_after_a_start_that_loads_a_model(service: dict[str, Any]) -> None:
    assert service["healthcheck"]["start_period"] == "180s"
    assert "/health/ready" in service["healthcheck"]["test"][-1]
