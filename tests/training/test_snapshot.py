"""A list of checkpoints that a kill left torn, read back by Ray Train's own reader."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.train import CheckpointConfig
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
from ray.train.v2._internal.execution.storage import StorageContext

from aura_model.checkpoint import save_checkpoint
from aura_model.settings import load_config
from training.optim.monitor import Monitor
from training.snapshot import SNAPSHOT, mend_snapshot
from training.worker.loop import SCORE

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")  # of Ray's reader

NAME = "run"
MONITOR = Monitor(load_config(env={}).training.monitor)


def keep(storage: Path, epoch: int, auc: float | None) -> Path:
    """A checkpoint of a run, as Ray Train copied it."""
    file = storage / NAME / f"checkpoint_{epoch}" / "multimodal.pth"
    file.parent.mkdir(parents=True)
    save_checkpoint(file, torch.nn.Linear(2, 1), load_config(env={}), epoch, {"epoch": epoch, "val_auc": auc})
    return file


def read_back(storage: Path) -> Any:
    config = CheckpointConfig(num_to_keep=2, checkpoint_score_attribute=SCORE)
    return CheckpointManager(config, StorageContext(str(storage), NAME))


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    (tmp_path / NAME).mkdir()
    return tmp_path / NAME / SNAPSHOT


def test_the_name_is_that_of_ray_train() -> None:
    assert SNAPSHOT == CHECKPOINT_MANAGER_SNAPSHOT_FILENAME


@pytest.mark.parametrize("torn", ["", '{"ray_version": "2.60.0", "checkpoint_res'])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_torn_list_is_made_anew(tmp_path: Path, snapshot: Path, torn: str, scheme: str) -> None:
    for epoch, auc in ((1, 0.75), (2, 0.5), (3, None)):
        keep(tmp_path, epoch, auc)
    half = keep(tmp_path, 4, 0.9)
    half.write_bytes(half.read_bytes()[:500])
    (tmp_path / NAME / "checkpoint_5").mkdir()
    snapshot.write_text(torn)
    mend_snapshot(f"{scheme}{tmp_path}", NAME, MONITOR)
    found = read_back(tmp_path)
    assert found.latest_checkpoint_result.metrics["epoch"] == 3
    kept = [(one.metrics["epoch"], one.metrics[SCORE]) for one in found.best_checkpoint_results]
    assert sorted(kept) == [(1, 0.75), (2, 0.5)]  # the best two
    assert found.best_checkpoint_result.metrics["epoch"] == 1
    assert Path(found.latest_checkpoint_result.checkpoint.path) == tmp_path / NAME / "checkpoint_3"


def test_without_a_whole_checkpoint_the_run_begins_anew(tmp_path: Path, snapshot: Path) -> None:
    snapshot.touch()
    mend_snapshot(str(tmp_path), NAME, MONITOR)
    assert read_back(tmp_path).latest_checkpoint_result is None


def test_a_whole_list_is_left_alone(tmp_path: Path, snapshot: Path) -> None:
    keep(tmp_path, 1, 0.5)
    snapshot.write_text(json.dumps({"of": "another release"}))
    mend_snapshot(str(tmp_path), NAME, MONITOR)
    assert json.loads(snapshot.read_text()) == {"of": "another release"}


def test_a_run_that_is_not_there_has_none(tmp_path: Path) -> None:
    mend_snapshot(str(tmp_path / "storage"), NAME, MONITOR)
    assert not (tmp_path / "storage").exists()
