"""Plain types: what JSON and a weights-only checkpoint can hold."""

import math
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np


def to_plain(value: object, key: str = "", keep: tuple[type, ...] = ()) -> Any:
    """`value` with dicts, lists, tuples, str, int, float, bool and None only, all the way down.

    NumPy scalars and arrays, paths and enumeration members are converted; `keep` names types that stay as they are.

    Raises:
        TypeError: something else is in there; the text names its key, such as `metrics.curve[3]`.
    """
    if value is None or isinstance(value, (bool, *keep)):
        return value
    if isinstance(value, Enum):
        return to_plain(value.value, key, keep)
    if isinstance(value, np.generic | np.ndarray):
        return to_plain(value.tolist(), key, keep) if value.dtype.kind in "biufU" else _refuse(value, key)
    if isinstance(value, PurePath):
        return str(value)
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return _container(value, key, keep)


def finite(value: Any) -> Any:
    """Plain `value` with None for each float that is not finite, which JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _container(value: object, key: str, keep: tuple[type, ...]) -> Any:
    if isinstance(value, Mapping):
        return {_name(name, key): to_plain(item, f"{key}.{name}".lstrip("."), keep) for name, item in value.items()}
    if isinstance(value, list | tuple):
        items = [to_plain(item, f"{key}[{index}]", keep) for index, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    return _refuse(value, key)


def _name(name: object, key: str) -> Any:
    plain = to_plain(name, f"{key}: the key {name!r}")
    return plain if isinstance(plain, str | int) else _refuse(name, f"{key}: the key {name!r}")


def _refuse(value: object, key: str) -> Any:
    raise TypeError(f"{key or 'the value'} is a {type(value).__name__}, which cannot be stored as plain data")
