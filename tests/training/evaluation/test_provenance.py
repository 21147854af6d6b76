import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aura_model.checkpoint import read_checkpoint, save_checkpoint
from aura_model.config import Config
from aura_model.errors import CheckpointError
from aura_model.model import MultimodalModel
from training.evaluation.provenance import (
    RESULTS,
    CheckpointFacts,
    Provenance,
    describe_checkpoint,
    digest_of,
    provenance_of_run,
    provenance_of_table,
)

FACTS = CheckpointFacts(name="best.pth", sha256="ab", epoch=3, trained=True, debug=False)


@pytest.fixture
def save(tmp_path: Path, config: Config) -> Callable[..., Path]:
    def build(name: str = "best.pth", epoch: int = 3, **metrics: Any) -> Path:
        path = tmp_path / name
        save_checkpoint(path, MultimodalModel(config.model), config, epoch, metrics)
        return path

    return build


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "predictions.csv"
    path.write_text("scores\n")
    return path


def described(path: Path) -> CheckpointFacts:
    return describe_checkpoint(read_checkpoint(path), path)


def test_the_facts_are_those_of_the_file(save: Callable[..., Path]) -> None:
    path = save()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert described(path) == CheckpointFacts(name="best.pth", sha256=digest, epoch=3, trained=True, debug=False)


@pytest.mark.parametrize(
    ("name", "epoch", "metrics", "trained", "debug"),
    [
        ("debug.pth", 1, {}, True, True),
        ("other.pth", 1, {"debug": True}, True, True),
        ("other.pth", 0, {}, False, False),
    ],
)
def test_a_checkpoint_that_means_nothing_is_known(
    save: Callable[..., Path], name: str, epoch: int, metrics: dict[str, Any], trained: bool, debug: bool
) -> None:
    facts = described(save(name, epoch, **metrics))
    assert (facts.trained, facts.debug) == (trained, debug)


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        described(tmp_path / "gone.pth")


def test_a_run_names_no_place_on_its_machine(make_config: Callable[..., Config], table: Path) -> None:
    config = make_config("dataset.data_root=/srv/secret/faces")
    found = provenance_of_run(FACTS, config, "test", table)
    assert (found.data, found.split, found.checkpoint) == ("faces", "test", FACTS)
    assert found.table_sha256 == hashlib.sha256(b"scores\n").hexdigest()
    assert {"aura", "python", "ray", "torch", "numpy", "scikit-learn"} == set(found.versions)
    assert found.scored_at is not None
    assert found.scored_at.endswith("+00:00")
    assert "/srv" not in found.model_dump_json()


def test_a_name_that_utf8_cannot_hold_is_escaped(save: Callable[..., Path], config: Config, table: Path) -> None:
    assert described(save("\udcff.pth")).name == "\\udcff.pth"
    dataset = config.dataset.model_copy(update={"data_root": Path("/srv/\udcff")})
    assert provenance_of_run(FACTS, config.model_copy(update={"dataset": dataset}), "test", table).data == "\\udcff"


def test_a_manifest_is_named_where_there_is_one(make_config: Callable[..., Config], table: Path) -> None:
    config = make_config("dataset.data_root=/srv/faces", "dataset.manifest=/srv/lists/one.csv")
    assert provenance_of_run(FACTS, config, "val", table).data == "one.csv"


def test_a_table_is_traced_by_the_results_beside_it(table: Path, tmp_path: Path) -> None:
    known = Provenance(checkpoint=FACTS, data="faces", split="test", table_sha256=digest_of(table))
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / RESULTS).write_text(json.dumps({"provenance": known.model_dump(), "videos": {}}))
    assert provenance_of_table(table, [tmp_path, other]) == known
    assert provenance_of_table(table, [tmp_path]) == Provenance(table_sha256=digest_of(table))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "nan",
        '{"provenance": 1}',
        '{"provenance": {"checkpoint": {"name": 1}}}',
        "[" * 100_000,
        '{"provenance": {"table_sha256": "of another table", "data": "faces"}}',
    ],
)
def test_results_of_another_table_or_of_another_program_tell_nothing(table: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / RESULTS).write_text(content)
    assert provenance_of_table(table, [tmp_path]) == Provenance(table_sha256=digest_of(table))


def test_a_table_that_changed_since_is_not_that_of_the_run(table: Path, tmp_path: Path) -> None:
    known = Provenance(checkpoint=FACTS, table_sha256=digest_of(table))
    (tmp_path / RESULTS).write_text(json.dumps({"provenance": known.model_dump()}))
    table.write_text("other scores\n")
    assert provenance_of_table(table, [tmp_path]).checkpoint is None
