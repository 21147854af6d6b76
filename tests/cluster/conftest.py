from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

import aura_model
from aura_model.settings import load_config
from deployments.ingress import build_api

ROOT = Path(aura_model.__file__).parents[1]


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def serve_config() -> dict[str, Any]:
    """The configuration that the README starts; the files of cluster/ follow it."""
    config: dict[str, Any] = load("serve_config.yaml")
    return config


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = load("cluster/compose.yaml")
    return content


@pytest.fixture(scope="session")
def rayservice() -> dict[str, Any]:
    content: dict[str, Any] = load("cluster/rayservice.yaml")
    return content


@pytest.fixture(scope="session")
def rayjob() -> dict[str, Any]:
    content: dict[str, Any] = load("cluster/rayjob-train.yaml")
    return content


@pytest.fixture(scope="session")
def paths() -> set[str]:
    """The paths that the service answers."""
    api = build_api(load_config(env={}), Mock(), open_to_others=False)
    return {route.path for route in api.routes}  # type: ignore[attr-defined]
