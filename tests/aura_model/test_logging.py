import ast
import io
import json
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from loguru import logger as loguru_logger

import aura_model
from aura_model.config import LoggingConfig
from aura_model.errors import ConfigError
from aura_model.logging import QUIET, ROUTED, InterceptHandler, get_logger, log_inference_event, setup_logging

ROOT = Path(aura_model.__file__).parents[1]


def config(*, level: str = "DEBUG", json_lines: bool = True, log_file: str | None = None) -> LoggingConfig:
    return LoggingConfig.model_validate({"level": level, "json": json_lines, "log_file": log_file})


@pytest.fixture(autouse=True)
def _restored_loggers() -> Iterator[None]:
    """Leave the process's loggers as they were: other tests share them."""
    names = {*ROUTED, *QUIET}
    before = [(n, (x := logging.getLogger(n)).level, list(x.handlers), x.propagate) for n in names]
    yield
    loguru_logger.configure(handlers=[{"sink": sys.stderr}], patcher=lambda record: None)
    for name, level, handlers, propagate in before:
        standard = logging.getLogger(name)
        standard.setLevel(level)
        standard.handlers, standard.propagate = handlers, propagate


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.err == ""
    return [json.loads(line) for line in captured.out.splitlines()]


# --- the two forms -----------------------------------------------------------------------------------------------


def test_a_json_line_has_the_fixed_fields_then_the_bound_ones(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(config())
    get_logger("aura_model.media").bind(size=3, nested={"a": [1.5, None]}).warning("opened")
    (line,) = lines(capsys)
    assert list(line) == ["time", "level", "name", "message", "size", "nested"]
    assert datetime.fromisoformat(line.pop("time")).utcoffset() == timedelta(0)
    assert line == {
        "level": "WARNING",
        "name": "aura_model.media",
        "message": "opened",
        "size": 3,
        "nested": {"a": [1.5, None]},
    }


def test_a_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(config(json_lines=False))
    get_logger("aura").bind(size=3, file="a b.mp4").info("opened it")
    time, rest = capsys.readouterr().out.split(" ", 1)
    assert datetime.fromisoformat(time).utcoffset() == timedelta(0)
    assert rest == 'INFO     aura opened it size=3 file="a b.mp4"\n'


@pytest.mark.parametrize("field", ["time", "level", "message"])
def test_a_bound_field_never_replaces_the_records_own(field: str, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(config())
    get_logger("aura").bind(**{field: "forged"}).info("true")
    (line,) = lines(capsys)
    assert line[field] != "forged"
    assert line[f"{field}_"] == "forged"


def test_a_logger_without_a_name_gets_its_modules(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(config())
    loguru_logger.info("x")
    assert lines(capsys)[0]["name"] == __name__


@pytest.mark.parametrize("json_lines", [True, False])
def test_an_exception_is_written_as_text(json_lines: bool, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(config(json_lines=json_lines))
    local_secret = "s3cr3t"
    try:
        int("bad value" + local_secret[:0])
    except ValueError:
        get_logger("aura").exception("failed")
    out = capsys.readouterr().out
    assert "ValueError: invalid literal" in out
    assert "Traceback (most recent call last)" in out
    assert "s3cr3t" not in out, "local variables are not shown"
    if json_lines:
        assert list(json.loads(out))[-1] == "exception"
    else:
        assert all(line.startswith("    ") for line in out.splitlines()[1:])


HOSTILE = [
    "two\nlines",
    "2026-01-01T00:00:00Z CRITICAL aura forged\r\n2026-01-01T00:00:00Z CRITICAL aura forged",
    "\x1b[2J\x1b]0;title\x07",
    "line\u2028separator\u2029\x85\x0b\x0c\x1c",
    "right\u202eto left",
    "nul\x00 surrogate \ud800",
    "{} {0} {x} {x.__class__} {message} {{",
    "<red>x</red> </> \\<",
    "%s %d %(x)s",
    "emoji 🎬 čeština",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("json_lines", [True, False])
@pytest.mark.parametrize("place", ["message", "extra", "key", "standard", "exception"])
def test_client_text_stays_on_its_line_and_is_not_expanded(
    text: str, json_lines: bool, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging(config(json_lines=json_lines))
    log = get_logger("aura")
    if place == "message":
        log.info(text)
    elif place == "extra":
        log.bind(filename=text).info("got")
    elif place == "key":
        log.bind(fields={text: 1}).info("got")
    elif place == "standard":
        logging.getLogger("somewhere").info(text)
    else:
        log.opt(exception=ValueError(text)).info("got")
    captured = capsys.readouterr()
    assert captured.err == ""
    printed = captured.out.removesuffix("\n")
    assert all(char.isprintable() or char == "\n" for char in printed)
    if json_lines:
        record = json.loads(printed)
        found = {
            "message": record["message"],
            "extra": record.get("filename"),
            "key": next(iter(record.get("fields", {})), None),
            "standard": record["message"],
            "exception": record.get("exception", "").removeprefix("ValueError: "),
        }[place]
        assert found == text.rstrip() if place == "exception" else found == text
    else:
        _, *others = printed.split("\n")
        assert all(line.startswith("    ") for line in others)
        assert others == [] or place == "exception"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_narrow_standard_output_loses_no_record(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    setup_logging(config(json_lines=False))
    monkeypatch.setattr(sys, "stdout", out)
    get_logger("aura").info("příliš")
    assert b"p\\u0159\\xedli\\u0161" in out.buffer.getvalue().replace("í".encode("latin-1"), b"\\xed")


# --- level, set-up, sinks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "seen"), [("TRACE", 4), ("DEBUG", 3), ("SUCCESS", 1), ("ERROR", 1), ("CRITICAL", 0)])
def test_the_level_holds_for_both_kinds_of_logger(level: str, seen: int, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(config(level=level))
    for name in ("trace", "debug", "info", "error"):
        getattr(get_logger("aura"), name)("x")
    assert len(lines(capsys)) == seen
    for number in (5, 10, 20, 40):
        logging.getLogger("other").log(number, "x")
    assert len(lines(capsys)) == seen


def test_set_up_again_replaces_and_does_not_add(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        setup_logging(config())
    get_logger("aura").info("once")
    logging.getLogger("other").info("once")
    assert [line["message"] for line in lines(capsys)] == ["once", "once"]
    setup_logging(config(json_lines=False, level="ERROR"))
    get_logger("aura").info("not seen")
    get_logger("aura").error("plain")
    assert capsys.readouterr().out.count("\n") == 1
    assert sum(isinstance(handler, InterceptHandler) for handler in logging.getLogger().handlers) == 1


def test_a_logger_made_before_the_set_up_follows_it(capsys: pytest.CaptureFixture[str]) -> None:
    log = get_logger("early")
    setup_logging(config())
    log.info("x")
    assert lines(capsys)[0]["name"] == "early"


@pytest.mark.parametrize("log_dir", [None, "elsewhere/deep"])
def test_a_log_file_lies_in_log_dir(
    log_dir: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOG_DIR", raising=False)
    if log_dir:
        monkeypatch.setenv("LOG_DIR", log_dir)
    setup_logging(config(log_file="aura.log"))
    monkeypatch.chdir("/")
    get_logger("aura").info("x")
    logging.getLogger("other").info("y")
    text = (tmp_path / (log_dir or "logs") / "aura.log").read_text()
    assert [json.loads(line)["message"] for line in text.splitlines()] == ["x", "y"]
    assert capsys.readouterr().out == ""


def test_a_log_file_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    setup_logging(config(log_file="aura.log"))
    (tmp_path / "aura.log").write_bytes(b"x" * 9_999_999)
    get_logger("aura").info("new file")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["aura.log", "aura.log.1"]
    assert json.loads((tmp_path / "aura.log").read_text())["message"] == "new file"


def test_a_log_folder_that_cannot_be_made_is_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOG_DIR", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"logging\.log_file: cannot write .*aura\.log"):
        setup_logging(config(log_file="aura.log"))


# --- the standard library's loggers ------------------------------------------------------------------------------


def test_standard_records_keep_name_level_and_extra_fields(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(config())
    logging.getLogger("somewhere.deep").warning("%s of %d", "one", 2, extra={"route": "/predict", "n": 3})
    (line,) = lines(capsys)
    line.pop("time")
    assert line == {
        "level": "WARNING",
        "name": "somewhere.deep",
        "message": "one of 2",
        "route": "/predict",
        "n": 3,
    }


def test_a_standard_exception_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(config())
    try:
        int("bad value")
    except ValueError:
        logging.getLogger("other").exception("failed")
    logging.getLogger("other").error("no exception now", exc_info=True)
    first, second = lines(capsys)
    assert first["exception"].endswith("ValueError: invalid literal for int() with base 10: 'bad value'")
    assert "exception" not in second


def test_a_level_of_its_own_is_kept_by_number(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(config())
    logging.getLogger("other").log(33, "odd")
    assert lines(capsys)[0]["level"] == "Level 33"


def test_wrong_arguments_lose_no_record_and_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(config())
    InterceptHandler().handle(logging.LogRecord("other", logging.INFO, "x.py", 1, "%d", ("password",), None))
    assert lines(capsys)[0]["message"] == "%d"


@pytest.mark.parametrize("name", ["ray", "ray.serve", "uvicorn", "uvicorn.error"])
def test_console_handlers_of_known_loggers_are_replaced_and_files_stay(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    standard = logging.getLogger(name)
    standard.propagate = False
    file = logging.FileHandler(tmp_path / "own.log")
    standard.handlers = [logging.StreamHandler(sys.stderr), file]
    setup_logging(config())
    standard.error("hello")
    file.close()
    assert [line["name"] for line in lines(capsys)] == [name]
    assert (tmp_path / "own.log").read_text() == "hello\n"


@pytest.mark.parametrize("name", QUIET)
def test_noisy_loggers_are_held_at_warning(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(config())
    logging.getLogger(name).info('HTTP Request: GET https://h/?sig=S "200"')
    logging.getLogger(name).warning("kept")
    assert [line["message"] for line in lines(capsys)] == ["kept"]


def test_what_serve_marks_for_its_own_file_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(config())
    logging.getLogger("ray.serve").warning("file only", extra={"log_to_stderr": False})
    logging.getLogger("ray.serve").warning("both", extra={"log_to_stderr": True})
    (line,) = lines(capsys)
    assert line["message"] == "both"
    assert "log_to_stderr" not in line


def test_a_request_is_told_and_calls_between_deployments_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    """The inner stages have no access log; that setting is heard by Serve's own handlers alone."""
    setup_logging(config())
    for route, text in (("", "CALL status OK 1.0ms"), ("/predict", "CALL score OK 9.0ms"), ("/predict", "POST 200")):
        logging.getLogger("ray.serve").info(text, extra={"serve_access_log": True, "route": route})
    assert [line["message"] for line in lines(capsys)] == ["POST 200"]


# --- redaction ---------------------------------------------------------------------------------------------------

CANARIES = {
    "password": "c4nary-Pa55",
    "passwd": "c4nary-Pa56",
    "access_token": "c4nary-t0ken",
    "client_secret": "c4nary-s3cret",
    "api_key": "c4nary-ap1key",
    "X-Api-Key": "c4nary-xap1key",
    "Authorization": "Bearer c4nary-bear3r",
    "Cookie": "session=c4nary-c00kie; id=c4nary-c00kie",
    "Set-Cookie": "session=c4nary-s3tc00kie; HttpOnly",
    "video_url": "https://eve:c4nary-us3r@h.example/v.mp4?X-Amz-Signature=c4nary-s1g&sig=c4nary",
    "private_key": "c4nary-pr1vate",
    "X-Amz-Credential": "c4nary-cr3d",
}


def log_canaries(place: str, name: str, secret: str) -> None:
    log, standard = get_logger("aura"), logging.getLogger("third.party")
    match place:
        case "message":
            log.info(f"failed with {name}={secret}")
        case "extra":
            log.bind(**{name: secret}).info("x")
        case "nested":
            log.bind(request=[{"headers": {name: secret}}, ({"items": [(name, secret)]},)]).info("x")
        case "exception":
            log.opt(exception=ValueError(f"cannot use {{'{name}': '{secret}'}}")).error("x")
        case "cause":
            error = ValueError("outer")
            error.__cause__ = KeyError(f"{name}: {secret}")
            log.opt(exception=error).error("x")
        case "standard":
            standard.info("sent %s: %s", name, secret)
        case "standard extra":
            standard.info("sent", extra={name: secret})
        case "standard exception":
            standard.error("x", exc_info=ValueError(f"{name}={secret}"))


@pytest.mark.parametrize(("name", "secret"), CANARIES.items())
@pytest.mark.parametrize("json_lines", [True, False])
@pytest.mark.parametrize(
    "place",
    ["message", "extra", "nested", "exception", "cause", "standard", "standard extra", "standard exception"],
)
def test_no_canary_reaches_a_sink(
    place: str, name: str, secret: str, json_lines: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging(config(json_lines=json_lines))
    log_canaries(place, name, secret)
    captured = capsys.readouterr()
    assert "c4nary" not in captured.out + captured.err
    assert "redacted" in captured.out
    if name == "video_url":
        assert "https://h.example/v.mp4" in captured.out


def test_there_are_twelve_canaries() -> None:
    assert len(CANARIES) == 12


HARMLESS = {
    "keypoints": [[1, 2], [3, 4]],
    "monkey": "see",
    "keyframe": 12,
    "keyframe_interval": 2.5,
    "error": "KeyError: face_boxes",
    "reason": 'missing required key "video_url"',
    "config_key": "dataset.video.frame_rate",
    "bucket": "monkeys/turkeys",
    "token_count": 7,
    "keyboard": None,
    "hockey": ["keynote", {"key": "value"}],
}


def test_eleven_harmless_fields_with_key_stay_intact(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(HARMLESS) == 11
    setup_logging(config())
    get_logger("aura").bind(**HARMLESS).info("KeyError: face_boxes is missing the key of the keyframe")
    (line,) = lines(capsys)
    assert {name: line[name] for name in HARMLESS} == HARMLESS
    assert line["message"] == "KeyError: face_boxes is missing the key of the keyframe"


def test_other_sinks_are_clean_too_and_so_is_a_failing_one(capsys: pytest.CaptureFixture[str]) -> None:
    """loguru prints the record to stderr when a sink fails; it is redacted before that."""

    def failing(message: str) -> None:
        raise OSError("disk full")

    setup_logging(config())
    loguru_logger.add(failing, catch=True)
    get_logger("aura").bind(password="c4nary").opt(exception=ValueError("token=c4nary")).info("secret=c4nary")
    captured = capsys.readouterr()
    assert "disk full" in captured.err
    assert "c4nary" not in captured.err + captured.out


def test_bytes_and_odd_values_are_shown_by_size_or_text(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(config())
    get_logger("aura").bind(body=b"x" * 1234, path=Path("a"), nan=float("nan"), obj=object).info("x")
    (line,) = lines(capsys)
    assert line["body"] == "<bytes 1234>"
    assert (line["path"], line["nan"]) == ("a", "nan")


# --- the inference event -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("probability", [0.93, None])
def test_an_inference_event_is_one_line_with_its_fields(
    probability: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging(config())
    log = get_logger("deployments.ingress")
    log_inference_event(log, "req-1", "a\nb.mp4", 1234, "aura-0.1", probability, 81.5, "fake")
    (line,) = lines(capsys)
    line.pop("time")
    assert line == {
        "level": "INFO",
        "name": "deployments.ingress",
        "message": "inference",
        "event": "inference",
        "request_id": "req-1",
        "filename": "a\nb.mp4",
        "size_bytes": 1234,
        "model_version": "aura-0.1",
        "fake_prob": probability,
        "latency_ms": 81.5,
        "status": "fake",
    }


# --- processes ---------------------------------------------------------------------------------------------------


def test_a_logger_in_use_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    for log_file in (None, "aura.log"):
        setup_logging(config(log_file=log_file))
        log = get_logger("aura").bind(n=1)
        pickle.loads(pickle.dumps(log)).info("from the copy")
    record = json.loads((tmp_path / "aura.log").read_text())
    assert (record["message"], record["name"], record["n"]) == ("from the copy", "aura", 1)


SPAWN = """
import multiprocessing
import sys
from aura_model.config import LoggingConfig
from aura_model.logging import get_logger, setup_logging

CONFIG = LoggingConfig(level="INFO", json=True, log_file=None)

def child(log):
    setup_logging(CONFIG)
    log.bind(token="c4nary").info("from the argument")
    get_logger("child").info("from the child")

if __name__ == "__main__":
    setup_logging(CONFIG)
    process = multiprocessing.get_context("spawn").Process(target=child, args=(get_logger("parent"),))
    process.start()
    process.join()
    get_logger("parent").info("from the parent")
    sys.exit(process.exitcode)
"""


def run(script: str, folder: Path, **env: str) -> str:
    path = folder / "script.py"
    path.write_text(script)
    done = subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_spawned_process_logs(tmp_path: Path) -> None:
    records = [json.loads(line) for line in run(SPAWN, tmp_path).splitlines()]
    assert [(r["name"], r["message"]) for r in records] == [
        ("parent", "from the argument"),
        ("child", "from the child"),
        ("parent", "from the parent"),
    ]
    assert records[0]["token"] == "<redacted>"


ACTOR = """
import logging
import ray
from aura_model.config import LoggingConfig
from aura_model.logging import get_logger, setup_logging

CONFIG = LoggingConfig(level="INFO", json=True, log_file="aura.log")
setup_logging(CONFIG)
log = get_logger("driver")

@ray.remote
class Actor:
    def __init__(self):
        setup_logging(CONFIG)

    def work(self):
        log.bind(password="c4nary").info("captured logger")  # pickled by value with this class
        get_logger("actor").bind(n=1).info("own logger")
        logging.getLogger("ray").warning("https://h/v?sig=c4nary")
        logging.getLogger("ray.serve").warning("serve")

ray.init(num_cpus=1, include_dashboard=False)
actor = Actor.remote()
ray.get(actor.work.remote())
log.info("driver")
ray.shutdown()
"""


@pytest.mark.cluster
def test_an_actor_logs(tmp_path: Path) -> None:
    env = {"LOG_DIR": str(tmp_path), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    run(ACTOR, tmp_path, **env)
    text = (tmp_path / "aura.log").read_text()
    assert "c4nary" not in text
    found = [(r["name"], r["message"]) for r in map(json.loads, text.splitlines())]
    for wanted in [
        ("driver", "captured logger"),
        ("actor", "own logger"),
        ("ray", "https://h/v?<redacted>"),
        ("ray.serve", "serve"),
        ("driver", "driver"),
    ]:
        assert found.count(wanted) == 1, wanted


# --- how the project calls it ------------------------------------------------------------------------------------

LEVELS = {"trace", "debug", "info", "success", "warning", "error", "critical", "exception"}
SOURCES = [file for package in ("aura_model", "deployments", "training") for file in (ROOT / package).rglob("*.py")]


def formatted_calls(tree: ast.AST) -> list[int]:
    """Lines of logger calls which format a text that is not a constant."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return [
        call.lineno
        for call in calls
        if call.func.attr in LEVELS  # type: ignore[attr-defined]
        and "log" in ast.unparse(call.func.value).lower()  # type: ignore[attr-defined]
        and (call.args[1:] or call.keywords)
        and not isinstance(call.args[0], ast.Constant)
    ]


def test_the_check_below_sees_a_formatted_variable() -> None:
    assert formatted_calls(
        ast.parse('log.info(text, x)\nlog.info("a {}", x)\nlog.info(f"{x}")\nlogger.bind(a=1).error(t, a=1)')
    ) == [1, 4]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_call_uses_a_variable_text_as_format(file: Path) -> None:
    assert formatted_calls(ast.parse(file.read_text())) == []
