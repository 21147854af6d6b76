"""The documents name settings that exist, explain all that they should, and link to files that are there."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from aura_model.settings import DEFAULTS, load_config, read_yaml

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("cluster/*.md"), *ROOT.glob("tests/media/*.md")]
)
SECTIONS = tuple(read_yaml(DEFAULTS))


def keys(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every dotted key, branches included."""
    for name, value in tree.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")


KEYS = set(keys(read_yaml(DEFAULTS)))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_setting_that_is_named_exists(document: Path) -> None:
    named = re.findall(rf"`((?:{'|'.join(SECTIONS)})\.[a-z_.]+)", document.read_text())
    settings = {name.rstrip(".") for name in named if not name.endswith((".py", ".yaml", ".json", ".log"))}
    assert settings <= KEYS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_variable_that_is_named_is_a_setting(document: Path) -> None:
    for name, value in re.findall(r"\b(AURA_[A-Z_]+__[A-Z_]+)=?([^\s`]*)", document.read_text()):
        assert name.removeprefix("AURA_").lower().replace("__", ".") in KEYS, name
        if value and not value.startswith(("$", "/", "value")):
            load_config(env={name: value})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_link_leads_to_a_file(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
        assert re.match(r"https?://|mailto:", target) or (document.parent / target).exists(), target


def test_every_training_setting_is_explained() -> None:
    text = (ROOT / "docs" / "training.md").read_text()
    named = set(re.findall(r"`(?:training\.)?([a-z_]+)", text))
    assert set(read_yaml(DEFAULTS)["training"]) <= named
