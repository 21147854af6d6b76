"""Every parser of what comes from outside: whatever the bytes, it returns or raises a typed error."""

import os
import string
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import mutant
from parsers import PARSERS

from aura_model.errors import AuraError

ROUNDS = int(os.environ.get("AURA_TEST_PARSES", "300"))
"""Damaged inputs of each parser; `benchmarks/fuzz.py` looks longer."""
SLOW = {"configuration": 5, "setting": 2}
"""Parsers that take so many times as long as the others get so many times fewer inputs."""
MARKS = st.sampled_from(
    [*string.punctuation, *"\r\n\t\0\ufeff\u2028é名😀", "--b", '"', "://", "%00", "{{", "&a", "*a", "!!"]
)
TEXTS = st.lists(MARKS | st.text(max_size=5), max_size=12).map("".join).map(str.encode)


@pytest.mark.parametrize("name", sorted(PARSERS.keys() - {"content type", "pickle"}))
def test_what_is_undamaged_is_accepted(name: str) -> None:
    """Else the tests below would reach no further than the first check."""
    PARSERS[name].parse(PARSERS[name].seeds()[0])


@pytest.mark.parametrize("name", PARSERS)
def test_damage_is_a_typed_error(name: str) -> None:
    seeds = PARSERS[name].seeds()
    for number in range(ROUNDS // SLOW.get(name, 1)):
        with suppress(AuraError):
            PARSERS[name].parse(mutant(number, seeds))


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=60)
@given(data=st.binary(max_size=200) | TEXTS)
def test_any_bytes_are_a_typed_error(name: str, data: bytes) -> None:
    with suppress(AuraError):
        PARSERS[name].parse(data)


def test_a_bug_would_show() -> None:
    with pytest.raises(ValueError, match="invalid literal"), suppress(AuraError):
        int(mutant(1, [b"12345"]).decode("latin-1"))
