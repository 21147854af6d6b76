"""Where the values of the configuration come from: files, the environment, the command line; all of it untrusted."""

import json
import os
import re
import reprlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml
from dotenv import dotenv_values
from pydantic import BaseModel, ValidationError

from aura_model.config import Config, Section
from aura_model.errors import ConfigError

DEFAULTS = Path(__file__).with_name("config.yaml")
ENV_PREFIX = "AURA_"

# Bounded, unlike `repr`, which would expand an alias bomb.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring = 2, 80

# PyYAML's constructors let these through for `!!int ""`, `!!bool x`, `2001-99-99` and very deep nesting.
_YAML_FAULTS = (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError, TypeError, RecursionError)


def load_config(
    path: Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (),
    env: Mapping[str, str] | None = None,
) -> Config:
    """Build the configuration: `overrides` > environment (and `.env`) > `settings` > the YAML file > defaults.

    Args:
        path: a YAML file with any part of the tree; `AURA_CONFIG` names one where this is None.
        settings: a nested mapping laid over the file, such as the `args` of a Serve application.
        overrides: `section.key=value` strings, as the command line's `--set` gives them.
        env: the environment; the process's own, with `.env` below it, where this is None.

    Raises:
        ConfigError: an unreadable file, an unknown key or a bad value; the text names the key and what is allowed.
    """
    environment = _environment() if env is None else env
    file = path or (Path(environment["AURA_CONFIG"]) if environment.get("AURA_CONFIG") else None)
    layers = [
        read_yaml(file) if file else {},
        dict(settings or {}),
        _nested((_env_key(name), value) for name, value in environment.items() if _is_setting(name) and value.strip()),
        _nested(_split_override(item) for item in overrides),
    ]
    return parse_config(*layers)


def parse_config(*layers: Mapping[str, Any]) -> Config:
    """Lay nested mappings over the defaults, the last one on top, and validate the result.

    Raises:
        ConfigError: see `load_config`.
    """
    tree = dict(_defaults())
    for layer in layers:
        tree = _merge(tree, layer)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(item) for item in error.errors())) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping.

    Raises:
        ConfigError: the file is missing, not YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except _YAML_FAULTS as error:
        raise ConfigError(f"{path} is not YAML: {_first_line(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping of sections, not a {type(content).__name__}")
    return content


@cache
def _defaults() -> dict[str, Any]:
    return read_yaml(DEFAULTS)


def _environment() -> dict[str, str]:
    try:
        dotenv = dotenv_values(".env")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read .env: {_first_line(error)}") from None
    return {name: value for name, value in dotenv.items() if value is not None} | dict(os.environ)


def _is_setting(name: str) -> bool:
    return name.startswith(ENV_PREFIX) and ("__" in name or _env_key(name) in Config.model_fields)


def _env_key(name: str) -> str:
    return name.removeprefix(ENV_PREFIX).lower().replace("__", ".")


def override(key: str, value: object) -> str:
    """A setting as text for `load_config`, whatever characters are in a path or a name."""
    return f"{key}={json.dumps(value, default=str, ensure_ascii=False)}"


def _split_override(item: str) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not equals or not re.fullmatch(r"\w+(\.\w+)*", key):
        raise ConfigError(f"{item!r} is not of the form section.key=value")
    return key, value


def _nested(items: Iterable[tuple[str, str]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, text in items:
        branch: Any = _value(text)
        for part in reversed(key.split(".")):
            branch = {part: branch}
        tree = _merge(tree, branch)
    return tree


def _value(text: str) -> Any:
    """What a text means in YAML; itself where it is none, such as `*.example.com`."""
    try:
        return yaml.safe_load(text)
    except _YAML_FAULTS:
        return text


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _explain(item: Any) -> str:
    path = [str(part) for part in item["loc"]]
    key, said = ".".join(path), item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key; allowed here: {', '.join(_allowed(path[:-1]))}"
    if isinstance(item["input"], Mapping | BaseModel):  # a demand on several keys, which names them
        return f"{key}: {said}" if key else said
    return f"{key}: {said} (got {_shown(item['input'])})"


def _shown(value: Any) -> str:
    try:
        return f"{_SHORT.repr(value):.100}"
    except ValueError:  # an integer of more digits than Python writes out
        return f"a huge {type(value).__name__}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _allowed(path: list[str]) -> list[str]:
    node: type[BaseModel] = Config
    for part in path:
        annotation = node.model_fields[part].annotation
        node = next(t for t in (annotation, *get_args(annotation)) if isinstance(t, type) and issubclass(t, Section))
    return [field.alias or name for name, field in node.model_fields.items()]
