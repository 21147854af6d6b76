"""`.ci/run` runs the README's commands and nothing else; here its tools are replaced by small stand-ins."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import aura_model

ROOT = Path(aura_model.__file__).parents[1]
SERVE = "pip install -e . && serve run serve_config.yaml"
TEST = 'pip install -e ".[dev]" && pytest'
MARKERS = ("<!-- install and serve -->", "<!-- install and test -->")


def run(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / ".ci" / "run", *arguments],
        env={**os.environ, **env},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# --- the README --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("marker", "command"), [(MARKERS[0], SERVE), (MARKERS[1], TEST)])
def test_the_readme_holds_marker_and_command_once(marker: str, command: str) -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.count(marker) == 1
    at = lines.index(marker)
    assert lines[at + 1 : at + 4] == ["```bash", command, "```"]


def test_print_gives_exactly_the_readmes_commands() -> None:
    done = run(ROOT, "--print")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{SERVE}\n{TEST}\n", "")


def test_the_commands_name_what_exists() -> None:
    assert (ROOT / "serve_config.yaml").is_file()
    assert (ROOT / "tests" / "media" / "talking_face.mp4").is_file()


# --- a copy with stand-ins ---------------------------------------------------------------------------------------

README = f"""# A readme
{MARKERS[0]}
```bash
pip install -e . && serve run serve_config.yaml
```

{MARKERS[1]}

```bash
pip install -e ".[dev]" && pytest
```
```bash
not this
```
"""

FAKE_PYTHON = """#!/bin/sh
set -e
[ "$1 $2" = "-m venv" ]
mkdir -p "$3/bin"
cp "$STUBS"/* "$3/bin/"
ln -s "{python}" "$3/bin/python"
"""

FAKE_TOOL = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
[ "$(basename "$0") $*" != "${FAILS-}" ]
"""

FAKE_SERVE = """#!{python}
import json, os, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

open(os.environ["CALLS"], "a").write("serve " + " ".join(sys.argv[1:]) + "\\n")
if os.environ.get("FAKE") == "dies":
    sys.exit("cannot serve")
if os.environ.get("FAKE") == "leaks":
    subprocess.Popen(["sleep", "600"], start_new_session=True)
asked = 0

class Handler(BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_GET(self):
        global asked
        asked += 1
        ready = asked > 1 and os.environ.get("FAKE") != "never ready" and self.path == "/health/ready"
        self.answer(200 if ready else 503, {{}})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        verdict = "fake" if b"a fake" in body else "real"
        good = self.path == "/predict" and b'name="file"' in body and (verdict == "fake" or b"a video" in body)
        self.answer(200 if good else 422, json.loads(os.environ.get("REPLY", json.dumps({{"verdict": verdict}}))))

HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


@pytest.fixture
def copy(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder, stubs, temporary = tmp_path / "copy", tmp_path / "stubs", tmp_path / "temporary"
    for made in (folder / ".ci", folder / "tests" / "media", stubs, temporary):
        made.mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    (folder / "README.md").write_text(README)
    (folder / "serve_config.yaml").write_text(yaml.safe_dump({"http_options": {"host": "127.0.0.1", "port": port}}))
    (folder / "tests" / "media" / "talking_face.mp4").write_text("a video")
    (folder / "tests" / "media" / "self_made_fake.mp4").write_text("a fake")
    tools = {"pip": FAKE_TOOL, "pytest": FAKE_TOOL, "coverage": FAKE_TOOL, "ruff": FAKE_TOOL, "mypy": FAKE_TOOL}
    tools["serve"] = FAKE_SERVE.format(python=sys.executable, port=port)
    for name, text in tools.items():
        (stubs / name).write_text(text)
        (stubs / name).chmod(0o755)
    python = tmp_path / "python"
    python.write_text(FAKE_PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    for name, value in {"PYTHON": python, "STUBS": stubs, "CALLS": tmp_path / "calls", "TMPDIR": temporary}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("STOP_SECONDS", "3")
    monkeypatch.setenv("READY_SECONDS", "20")
    return folder


def calls(copy: Path) -> list[str]:
    file = copy.parent / "calls"
    return file.read_text().splitlines() if file.exists() else []


def marked_processes(copy: Path) -> list[str]:
    """Command lines of processes that hold this run's temporary folder in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"CI_RUN={copy.parent}/temporary".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_everything_runs_in_order_and_nothing_is_left(copy: Path) -> None:
    done = run(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert calls(copy) == [
        "pip install -e .",
        "serve run serve_config.yaml",
        "pip install -e .[dev]",
        "pytest ",
        "coverage report --fail-under=90",
        "ruff check .",
        "ruff format --check .",
        "mypy ",
    ]
    assert list((copy.parent / "temporary").iterdir()) == []
    assert marked_processes(copy) == []
    for name in ("install", "become ready", "predict", "predict the fake", "stop", "install and test", "mypy"):
        assert f"\n== {name}: " in done.stdout, "each step tells its time"


@pytest.mark.parametrize(
    ("env", "told", "last"),
    [
        ({"FAKE": "dies"}, "the service ended before it was ready", "serve run serve_config.yaml"),
        ({"FAKE": "never ready", "READY_SECONDS": "2"}, "not ready after 2 s", "serve run serve_config.yaml"),
        ({"FAKE": "leaks"}, "left over:", "serve run serve_config.yaml"),
        ({"REPLY": '{"verdict": "fake"}'}, "talking_face.mp4 is real, but", "serve run serve_config.yaml"),
        ({"REPLY": '{"verdict": "real"}'}, "self_made_fake.mp4 is fake, but", "serve run serve_config.yaml"),
        ({"REPLY": "{}"}, "talking_face.mp4 is real, but", "serve run serve_config.yaml"),
        ({"FAILS": "pip install -e ."}, "the command ended before it served", "pip install -e ."),
        ({"FAILS": "pytest "}, "", "pytest "),
        ({"FAILS": "coverage report --fail-under=90"}, "", "coverage report --fail-under=90"),
        ({"FAILS": "ruff format --check ."}, "", "ruff format --check ."),
        ({"FAILS": "mypy "}, "", "mypy "),
    ],
)
def test_a_failure_stops_the_run_and_leaves_nothing(copy: Path, env: dict[str, str], told: str, last: str) -> None:
    done = run(copy, **env)
    assert done.returncode != 0
    assert told in done.stderr
    assert calls(copy)[-1] == last
    assert list((copy.parent / "temporary").iterdir()) == []
    assert marked_processes(copy) == []


def test_a_refused_upload_stops_the_run(copy: Path) -> None:
    (copy / "tests" / "media" / "talking_face.mp4").write_text("something else")
    done = run(copy)
    assert done.returncode != 0
    assert "POST /predict" in done.stderr


def test_a_taken_port_stops_the_run_before_it_begins(copy: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        done = run(copy)
    assert done.returncode != 0
    assert f"port {port} is taken" in done.stderr
    assert calls(copy) == []


def test_print_follows_the_readme_and_runs_nothing(copy: Path) -> None:
    (copy / "README.md").write_text(README.replace("pytest\n", "pytest -q\necho done\n"))
    assert run(copy, "--print").stdout == f"{SERVE}\n{TEST} -q\necho done\n"
    assert calls(copy) == []


@pytest.mark.parametrize("marker", MARKERS)
def test_a_missing_marker_is_told(copy: Path, marker: str) -> None:
    (copy / "README.md").write_text(README.replace(marker, ""))
    done = run(copy, "--print")
    assert done.returncode == 1
    assert marker in done.stderr


def test_another_argument_is_refused(copy: Path) -> None:
    assert run(copy, "--help-me").returncode == 2
    assert calls(copy) == []
