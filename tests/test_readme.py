"""What the README shows is true: links, the reply, the settings, the commands that others rely on."""

import json
import re
from pathlib import Path

import pytest
import yaml

from aura_model.reply import Analysis
from aura_model.settings import load_config
from aura_model.streams import VIDEO_CODECS
from tests.golden import COMMAND, REPLIES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "cluster").glob("*.md"))]


def block(marker: str) -> str:
    """The fenced block after a marker."""
    found = re.search(rf"<!-- {marker} -->\n```\w*\n(.*?)```", README, re.DOTALL)
    assert found, f"no block after {marker}"
    return found[1]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_reply_is_a_whole_analysis() -> None:
    reply = json.loads(block("reply"))
    analysis = Analysis.model_validate(reply)
    assert set(reply) == set(Analysis.model_fields)
    golden = json.loads((REPLIES / "talking_face.json").read_text())
    assert (analysis.verdict, analysis.model.version) == (golden["verdict"], golden["model"]["version"]), COMMAND
    assert analysis.fake_probability == golden["fake_probability"], COMMAND


def test_the_fields_of_the_table_exist() -> None:
    named = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", README, re.MULTILINE)
    fields = {name for row in named for name in re.findall(r"`(\w+)`", row)}
    assert fields | {"request_id", "modalities"} == set(Analysis.model_fields)


def test_the_port_and_host_are_those_of_the_service() -> None:
    options = yaml.safe_load((ROOT / "serve_config.yaml").read_text())["http_options"]
    assert f"{options['host']}:{options['port']}/predict" in README


def test_the_client_example_waits_longer_than_the_service() -> None:
    seconds = float(re.findall(r"httpx\.Timeout\((\d+)", README)[0])
    assert seconds > load_config(env={}).serving.deadline_seconds


def test_named_settings_exist() -> None:
    for key, value in re.findall(r"\bAURA_(\w+__\w+)=([^\s`]+)", README):
        load_config(env={f"AURA_{key}": value})
    for override in re.findall(r"--set (\S+?=\S+?)[`,\s]", README):
        load_config(env={}, overrides=[override])


def test_the_limits_are_those_of_the_configuration() -> None:
    limits = load_config(env={}).limits
    text = README[README.index("## Limits") :]
    assert f"{limits.max_bytes // 2**20} MB, {limits.max_seconds / 60:.0f} minutes" in text
    width, height = map(int, re.findall(r"(\d+)x(\d+) pixels", text)[0])
    assert width * height == limits.max_pixels


def test_the_codecs_are_those_that_are_accepted() -> None:
    text = README[README.index("## Limits") :].lower()
    names = {"h264": "h.264", "hevc": "hevc", "vp8": "vp8", "vp9": "vp9", "av1": "av1", "mpeg4": "-4", "h263": "h.263"}
    assert set(names) <= VIDEO_CODECS
    assert [name for name in names.values() if name not in text] == []
