import enum
import json
import math
from collections import Counter, OrderedDict, defaultdict
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from aura_model.plain import finite, to_plain


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "expected", "kind"),
    [
        (None, None, type(None)),
        (True, True, bool),
        (3, 3, int),
        (0.5, 0.5, float),
        ("a", "a", str),
        (np.bool_(True), True, bool),
        (np.int64(3), 3, int),
        (np.float32(0.5), 0.5, float),
        (np.float64(0.5), 0.5, float),
        (np.str_("a"), "a", str),
        (Word("a"), "a", str),
        (Path("a") / "b", "a/b", str),
        (PurePosixPath("/a"), "/a", str),
        (Colour.RED, "red", str),
        (Level.HIGH, 3, int),
        (np.array([[1, 2]]), [[1, 2]], list),
        ((1, np.int8(2)), (1, 2), tuple),
        ([np.float16(1)], [1.0], list),
        (OrderedDict(a=np.int64(1)), {"a": 1}, dict),
        (defaultdict(list, a=[1]), {"a": [1]}, dict),
        (Counter({5: 1}), {5: 1}, dict),
        (MappingProxyType({"a": 1}), {"a": 1}, dict),
        ({Colour.RED: 1, np.int64(2): 2}, {"red": 1, 2: 2}, dict),
    ],
)
def test_what_has_a_plain_form_gets_it(value: object, expected: object, kind: type) -> None:
    plain = to_plain(value)
    assert plain == expected
    assert type(plain) is kind


def test_it_goes_all_the_way_down() -> None:
    plain = to_plain({"a": [{"b": (np.float64(1.5), {"c": Colour.RED})}]})
    assert plain == {"a": [{"b": (1.5, {"c": "red"})}]}
    assert type(plain["a"][0]["b"][0]) is float


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"metrics": {"when": datetime(2024, 1, 1, tzinfo=UTC)}}, r"metrics\.when is a datetime"),
        ({"metrics": {"curve": [0, 1, {2}]}}, r"metrics\.curve\[2\] is a set"),
        ({"metrics": [np.datetime64("2024-01-01")]}, r"metrics\[0\] is a datetime64"),
        ({"metrics": np.array([object()])}, r"metrics is a ndarray"),
        ({"metrics": {"f": len}}, r"metrics\.f is a builtin_function"),
        ({"metrics": {(1, 2): 3}}, r"metrics: the key \(1, 2\) is a tuple"),
        ({"metrics": {None: 3}}, r"metrics: the key None is a NoneType"),
        (Fraction(1, 2), "the value is a Fraction"),
        (b"bytes", "the value is a bytes"),
        (1j, "the value is a complex"),
    ],
)
def test_what_has_none_is_refused_by_its_key(value: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        to_plain(value)


def test_types_to_keep_stay_as_they_are() -> None:
    fraction = Fraction(1, 2)
    assert to_plain({"a": [fraction]}, keep=(Fraction,))["a"][0] is fraction


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": math.nan, "b": [math.inf, 1.0], "c": (-math.inf,)}, {"a": None, "b": [None, 1.0], "c": [None]}),
        ({"n": 3, "s": "nan", "t": True, "x": None}, {"n": 3, "s": "nan", "t": True, "x": None}),
    ],
)
def test_what_json_cannot_hold_becomes_none(value: Any, expected: Any) -> None:
    assert finite(value) == expected
    assert json.loads(json.dumps(finite(value), allow_nan=False)) == expected
