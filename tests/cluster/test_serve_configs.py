"""The three Serve configurations: the root's, the container's and the one inside the RayService."""

import importlib
import inspect
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from ray.serve.schema import ServeDeploySchema

from deployments.app import AppArgs

FILES = ("serve_config.yaml", "cluster/serve_config.container.yaml", "cluster/rayservice.yaml")


def read(root: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((root / name).read_text())
    if content.get("kind") == "RayService":
        content = yaml.safe_load(content["spec"]["serveConfigV2"])
    return content


@pytest.fixture(params=FILES)
def config(request: pytest.FixtureRequest, root: Path) -> dict[str, Any]:
    return read(root, request.param)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def unknown_keys(data: dict[str, Any], model: type[BaseModel], path: str = "") -> list[str]:
    """Keys that the schema does not have; it ignores them itself, so a misspelt one does nothing."""
    found = [path + key for key in data if key not in model.model_fields]
    for key in data.keys() & model.model_fields.keys():
        for inner in models_in(model.model_fields[key].annotation):
            items = data[key] if isinstance(data[key], list) else [data[key]]
            found += [
                bad for item in items if isinstance(item, dict) for bad in unknown_keys(item, inner, f"{path}{key}.")
            ]
    return found


def test_the_check_for_unknown_keys_sees_them() -> None:
    data = {
        "http_option": {},
        "http_options": {"hots": ""},
        "applications": [{"import_path": "a:b", "name": "x", "arg": {}, "deployments": [{"num_replica": 1}]}],
    }
    assert sorted(unknown_keys(data, ServeDeploySchema)) == [
        "applications.arg",
        "applications.deployments.num_replica",
        "http_option",
        "http_options.hots",
    ]


def test_the_schema_takes_it_and_knows_every_key(config: dict[str, Any]) -> None:
    ServeDeploySchema.model_validate(config)
    assert unknown_keys(config, ServeDeploySchema) == []


def test_it_serves_the_application_at_the_root(config: dict[str, Any]) -> None:
    (application,) = config["applications"]
    assert application["name"] == "aura"
    assert application["route_prefix"] == "/"
    assert application["import_path"] == "deployments.app:build"


def test_the_import_path_is_a_builder_with_typed_arguments(config: dict[str, Any]) -> None:
    module, _, name = config["applications"][0]["import_path"].partition(":")
    builder = getattr(importlib.import_module(module), name)
    assert [parameter.annotation for parameter in inspect.signature(builder).parameters.values()] == [AppArgs]


def test_the_arguments_are_known(config: dict[str, Any]) -> None:
    AppArgs.model_validate(config["applications"][0]["args"])


def test_a_request_has_a_bound_beyond_the_services_own(config: dict[str, Any], root: Path) -> None:
    deadline = yaml.safe_load((root / "aura_model/config.yaml").read_text())["serving"]["deadline_seconds"]
    assert config["http_options"]["request_timeout_s"] > deadline


@pytest.mark.parametrize(("name", "host"), list(zip(FILES, ["127.0.0.1", "0.0.0.0", "0.0.0.0"], strict=True)))
def test_only_containers_listen_to_the_outside(name: str, host: str, root: Path) -> None:
    assert read(root, name)["http_options"]["host"] == host
    assert read(root, name)["http_options"]["port"] == 8000


def test_the_containers_differs_from_the_roots_by_its_host_alone(root: Path, serve_config: dict[str, Any]) -> None:
    expected = deepcopy(serve_config)
    expected["http_options"]["host"] = "0.0.0.0"
    assert read(root, FILES[1]) == expected


def test_kubernetes_differs_by_host_proxies_keys_and_size(root: Path, serve_config: dict[str, Any]) -> None:
    given = read(root, FILES[2])
    assert given.pop("proxy_location") == "EveryNode"
    given["proxy_location"] = serve_config["proxy_location"]
    given["http_options"]["host"] = serve_config["http_options"]["host"]
    application = given["applications"][0]
    application.pop("deployments")
    for part in ("ingress", "cropper", "detector"):
        application["args"].pop(f"{part}_replicas")
    assert application["args"]["settings"].pop("serving").keys() == {"keys_file"}
    assert given == serve_config
