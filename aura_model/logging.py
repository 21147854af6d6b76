"""Logging: one loguru handler a process, JSON lines or plain text, with secrets removed before any sink sees them.

Nothing happens at import. Each process (driver, replica, training worker) calls `setup_logging` once.
"""

import io
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger

from aura_model.config import LoggingConfig
from aura_model.errors import ConfigError
from aura_model.log_file import RotatingFile
from aura_model.redaction import redact, redact_text

if TYPE_CHECKING:
    from loguru import Logger, Message, Record

ROUTED = ("", "ray", "ray.serve", "uvicorn", "uvicorn.error", "uvicorn.access")
"""Standard loggers whose console output is replaced by Aura's; their log files stay."""
QUIET = ("httpcore", "httpx", "libav", "python_multipart", "uvicorn.access")
"""Standard loggers held at WARNING: below it they write a line for each request, chunk or frame, httpx with its URL."""

_SERVE_MARKS = {"log_to_stderr", "serve_access_log", "skip_context_filter"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"} | _SERVE_MARKS
_FIELDS = ("time", "level", "name", "message", "exception")


def get_logger(name: str) -> "Logger":
    """A logger whose records carry `name`.

    Give data with `.bind(...)`, as in `get_logger(__name__).bind(size=3).info("opened")`. Text from outside goes into a
    bound field or is the only argument: then it is never used as a format string.
    """
    return logger.bind(name=name)


def setup_logging(config: LoggingConfig) -> None:
    """Send this process's records, loguru's and the standard library's, to one sink. A later call replaces the earlier.

    Args:
        config: the level, JSON or plain, and the name of a file in the folder `LOG_DIR` (`logs` where that is not set).

    Raises:
        ConfigError: the log file's folder cannot be made or written.
    """
    render = render_json if config.json_lines else render_plain
    sink = Sink(render, _open_file(config.log_file) if config.log_file else write_stdout)
    logger.configure(
        handlers=[{"sink": sink, "level": config.level, "format": _no_format, "backtrace": False, "diagnose": False}],
        patcher=clean_record,
    )
    _route_standard_logging(logger.level(config.level).no)


def log_inference_event(  # noqa: PLR0917 - the fields of one line, in the order in which they are written
    logger: "Logger",
    request_id: str,
    filename: str | None,
    size_bytes: int,
    model_version: str,
    fake_prob: float | None,
    latency_ms: float,
    status: str,
) -> None:
    """Write the one line that each prediction leaves, at INFO.

    Args:
        logger: the caller's logger.
        request_id: the request's id, the same in all stages.
        filename: the name that the client gave, or None for a URL.
        size_bytes: bytes of media that were read.
        model_version: the version of the model that answered.
        fake_prob: the reply's `fake_probability`, None where there is none.
        latency_ms: time from the request's arrival to the reply, milliseconds.
        status: the verdict, or the code of the error.
    """
    logger.bind(
        event="inference",
        request_id=request_id,
        filename=filename,
        size_bytes=size_bytes,
        model_version=model_version,
        fake_prob=fake_prob,
        latency_ms=latency_ms,
        status=status,
    ).info("inference")


@dataclass(frozen=True)
class Sink:
    """Renders a record and writes it. Holds no lock and no open file, so a logger can be pickled into a Ray actor."""

    render: "Callable[[Record], str]"
    output: Callable[[str], None]

    def __call__(self, message: "Message") -> None:
        """Write one line (in plain text a traceback adds indented ones)."""
        self.output(self.render(message.record) + "\n")


def write_stdout(text: str) -> None:
    """Write to whatever standard output is now; characters that it cannot encode are escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def clean_record(record: "Record") -> None:
    """Redact a record in place, before any sink sees it. Its exception becomes text: it is written without locals."""
    record["message"] = redact_text(record["message"])
    record["extra"] = {str(name): redact(value, name=str(name)) for name, value in record["extra"].items()}
    error = record["exception"]
    record["exception"] = None
    if error is not None and error.value is not None:
        text = "".join(traceback.format_exception(error.type, error.value, error.traceback))
        record["extra"]["exception"] = redact_text(text.rstrip())


def render_json(record: "Record") -> str:
    """One JSON object: time, level, name, message, the bound fields, exception. ASCII only, so a single line."""
    return json.dumps(_flat(record))


def render_plain(record: "Record") -> str:
    """One line of text, `time level name message field=value`; a traceback follows, indented.

    Control characters are escaped, so no text can look like a record of its own.
    """
    fields = _flat(record)
    time, level, name, message = (str(fields.pop(field)) for field in _FIELDS[:-1])
    exception = str(fields.pop("exception", ""))
    pairs = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    head = " ".join([time, f"{level:<8}", name, message, *pairs])
    return "\n    ".join(printable(line) for line in [head, *exception.split("\n")] if line)


def _flat(record: "Record") -> dict[str, Any]:
    extra = dict(record["extra"])
    fields: dict[str, Any] = {
        "time": record["time"].astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": record["level"].name,
        "name": extra.pop("name", record["name"]),
        "message": record["message"],
    }
    exception = {"exception": extra.pop("exception")} if "exception" in extra else {}
    # A bound field never replaces one of the record's own.
    return fields | {f"{key}_" if key in fields else key: value for key, value in extra.items()} | exception


def printable(text: str) -> str:
    """The text with control characters escaped, so that it can neither move a cursor nor end its line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _no_format(_: "Record") -> str:
    return ""


def _open_file(name: Path) -> Callable[[str], None]:
    path = Path(os.environ.get("LOG_DIR") or "logs") / name
    file = RotatingFile(path.absolute())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file.write("")
    except OSError as error:
        raise ConfigError(f"logging.log_file: cannot write {path}: {error.strerror}") from None
    return file.write


class InterceptHandler(logging.Handler):
    """Hands the standard library's records to loguru, with their `extra` fields."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on, unless it is for Ray Serve's own files only."""
        if _stays_with_serve(record):
            return
        extra = {k: v for k, v in vars(record).items() if k not in _STANDARD and not k.startswith("_")}
        bound = logger.bind(**{**extra, "name": record.name})
        bound.opt(exception=record.exc_info).log(_level(record), _text(record))


def _stays_with_serve(record: logging.LogRecord) -> bool:
    """Serve marks some records as not for the console; calls between its deployments are steps and polls of theirs."""
    call = getattr(record, "serve_access_log", False) and str(record.msg).startswith("CALL ")
    return call or getattr(record, "log_to_stderr", True) is False


def _level(record: logging.LogRecord) -> str | int:
    try:
        return logger.level(record.levelname).name
    except ValueError:
        return max(record.levelno, 0)


def _text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - else the standard library prints the arguments to stderr, unredacted
        return str(record.msg)


def _route_standard_logging(level: int) -> None:
    for name in ROUTED:
        standard = logging.getLogger(name)
        standard.handlers = [handler for handler in standard.handlers if not _is_console(handler)]
        standard.propagate = True
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    root = logging.getLogger()
    root.setLevel(level)
    if not any(isinstance(handler, InterceptHandler) for handler in root.handlers):
        root.addHandler(InterceptHandler())


def _is_console(handler: logging.Handler) -> bool:
    if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
        return False
    return not isinstance(handler.stream, io.StringIO)
