import importlib
import json
import re
import shlex
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from deployments.proxy import middlewares


@pytest.fixture(scope="module")
def instructions(root: Path) -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their text, continued lines joined, comments left out."""
    text = (root / "cluster/Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def texts(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [text for instruction, text in instructions if instruction == name]


def test_the_base_is_python_slim_by_tag(instructions: list[tuple[str, str]]) -> None:
    assert texts(instructions, "FROM") == ["python:3.11-slim"]


def test_it_runs_as_a_user_with_a_fixed_number(instructions: list[tuple[str, str]]) -> None:
    assert texts(instructions, "USER") == ["10001:10001"]
    made = " ".join(texts(instructions, "RUN"))
    assert "--uid 10001 --gid 10001" in made
    names = [name for name, _ in instructions]
    assert "RUN" not in names[names.index("USER") :]


def test_the_port_is_the_serve_configs(instructions: list[tuple[str, str]], serve_config: dict[str, Any]) -> None:
    assert texts(instructions, "EXPOSE") == [str(serve_config["http_options"]["port"])]


def test_it_serves_the_containers_configuration(instructions: list[tuple[str, str]], root: Path) -> None:
    (command,) = texts(instructions, "CMD")
    assert json.loads(command) == ["serve", "run", "cluster/serve_config.container.yaml"]
    assert (root / "cluster/serve_config.container.yaml").is_file()
    assert json.loads(texts(instructions, "ENTRYPOINT")[0]) == ["tini", "--"]
    assert "tini" in texts(instructions, "RUN")[0]


def test_the_proxy_cleans_the_headers_that_it_gets(instructions: list[tuple[str, str]]) -> None:
    (variables,) = texts(instructions, "ENV")
    environment = dict(item.split("=", 1) for item in shlex.split(variables))
    module, _, name = environment["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"].partition(":")
    assert getattr(importlib.import_module(module), name) is middlewares


def copied(instructions: list[tuple[str, str]]) -> list[str]:
    return [source for text in texts(instructions, "COPY") for source in text.split()[:-1]]


def test_everything_that_is_copied_exists_and_is_sent_to_the_builder(
    instructions: list[tuple[str, str]], root: Path
) -> None:
    ignore = [line for line in (root / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignore[0] == "*"
    sent = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert set(copied(instructions)) == sent
    assert all((root / source).exists() for source in sent)


@pytest.mark.parametrize("pattern", ["**/__pycache__", "**/.env"])
def test_leftovers_and_secrets_are_not_sent(pattern: str, root: Path) -> None:
    lines = (root / ".dockerignore").read_text().splitlines()
    assert lines.index(pattern) > max(at for at, line in enumerate(lines) if line.startswith("!"))


def test_every_package_of_the_project_is_copied(instructions: list[tuple[str, str]], root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    packages = {name.removesuffix("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert packages <= set(copied(instructions))
    for file in (project["project"]["readme"], *project["project"]["license-files"]):
        assert any(Path(file).is_relative_to(source) for source in copied(instructions))


def test_the_dependencies_are_the_projects(instructions: list[tuple[str, str]], root: Path) -> None:
    (run,) = [text for text in texts(instructions, "RUN") if "tomllib" in text]
    words = shlex.split(run.split(">")[0])
    assert words[:2] == ["python", "-c"]
    done = subprocess.run([sys.executable, *words[1:]], cwd=root, capture_output=True, text=True, check=True)
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert done.stdout.splitlines() == project["dependencies"]


def test_the_code_is_installed_after_the_dependencies(instructions: list[tuple[str, str]]) -> None:
    steps = [text for name, text in instructions if name in ("COPY", "RUN")]
    order = [
        next(at for at, step in enumerate(steps) if part in step) for part in ("tomllib", "aura_model", "--no-deps")
    ]
    assert order == sorted(order)


def answering(status: int) -> HTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.asked.append(self.path)  # type: ignore[attr-defined]
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []  # type: ignore[attr-defined]
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def health_commands(instructions: list[tuple[str, str]], compose: dict[str, Any]) -> dict[str, list[str]]:
    (text,) = texts(instructions, "HEALTHCHECK")
    return {
        "/health/live": json.loads(text.partition("CMD ")[2]),
        "/health/ready": compose["services"]["aura"]["healthcheck"]["test"][1:],
    }


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (404, False)])
def test_the_health_commands_ask_the_service(
    path: str,
    status: int,
    healthy: bool,
    instructions: list[tuple[str, str]],
    compose: dict[str, Any],
    paths: set[str],
) -> None:
    """Docker's check asks whether it is alive, compose's whether it is ready. Both commands are run here."""
    program, *arguments = health_commands(instructions, compose)[path]
    assert program == "python"
    server = answering(status)
    try:
        arguments = [text.replace("127.0.0.1:8000", f"127.0.0.1:{server.server_port}") for text in arguments]
        done = subprocess.run([sys.executable, *arguments], capture_output=True, check=False, timeout=30)
    finally:
        server.shutdown()
        server.server_close()
    assert server.asked == [path]  # type: ignore[attr-defined]
    assert path in paths
    assert (done.returncode == 0) is healthy
