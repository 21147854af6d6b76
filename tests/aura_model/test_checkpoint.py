import enum
import hashlib
import io
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from aura_model import checkpoint
from aura_model.calibration import Calibration
from aura_model.checkpoint import (
    OPTIONAL,
    REQUIRED,
    checkpoint_name,
    read_checkpoint,
    save_calibrated,
    save_checkpoint,
    strip_training,
)
from aura_model.config import Config
from aura_model.errors import CheckpointError
from aura_model.settings import load_config
from tests.operating_points import make_points

CONFIG = load_config(env={})


class Stage(enum.Enum):
    LAST = "last"


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 2))


def save(path: Path, metrics: dict[str, Any] | None = None, **more: Any) -> nn.Module:
    model = network()
    save_checkpoint(path, model, CONFIG, 3, metrics or {"auc": 0.75}, **more)
    return model


def code_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(path) in caught.value.detail
    return caught.value.code


@pytest.mark.parametrize(
    ("epoch", "auc", "best", "name"),
    [
        (7, 0.91234, False, "multimodal_v1_epoch7_0.9123.pth"),
        (0, 0.5, False, "multimodal_v1_epoch0_0.5000.pth"),
        (12, 1.0, True, "multimodal_best_1.0000.pth"),
        (3, 0.0, True, "multimodal_best_0.0000.pth"),
        (3, None, True, "multimodal_best_epoch3.pth"),
        (3, None, False, "multimodal_v1_epoch3.pth"),
    ],
)
def test_names(epoch: int, auc: float | None, best: bool, name: str) -> None:
    assert checkpoint_name(epoch, auc, best=best) == name


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "debug.pth"
    points = make_points()
    model = save(path, operating_points=points, calibration=Calibration(scale=2.0, bias=-0.5))
    checkpoint = read_checkpoint(path)
    assert checkpoint.config == CONFIG.plain()
    assert (checkpoint.epoch, checkpoint.metrics) == (3, {"auc": 0.75})
    assert checkpoint.operating_points == points
    assert checkpoint.calibration == Calibration(scale=2.0, bias=-0.5)
    assert (checkpoint.optimizer_state_dict, checkpoint.scheduler_state_dict) == (None, None)
    assert checkpoint.model_state_dict.keys() == model.state_dict().keys()
    assert all(torch.equal(checkpoint.model_state_dict[name], value) for name, value in model.state_dict().items())


def test_the_keys_of_the_file(tmp_path: Path) -> None:
    save(tmp_path / "a.pth")
    content = torch.load(tmp_path / "a.pth", weights_only=True)
    assert set(content) == {*REQUIRED, *OPTIONAL, "calibration", "operating_points", "format", "format_version"}
    assert (content["format"], content["format_version"]) == ("aura-checkpoint", 1)


def test_the_digest_is_that_of_the_file_and_changes_with_the_weights(tmp_path: Path) -> None:
    save(tmp_path / "a.pth")
    model = network()
    next(model.parameters()).data[0, 0] += 1
    save_checkpoint(tmp_path / "b.pth", model, CONFIG, 3, {})
    digests = [read_checkpoint(tmp_path / name).sha256 for name in ("a.pth", "b.pth")]
    expected = subprocess.run(["sha256sum", tmp_path / "a.pth"], capture_output=True, text=True, check=True).stdout
    assert digests[0] == expected.split()[0]
    assert digests[0] != digests[1]


def schedulers(optimizer: torch.optim.Optimizer) -> Iterator[Any]:
    kinds = torch.optim.lr_scheduler
    yield kinds.CosineAnnealingLR(optimizer, 10)
    yield kinds.OneCycleLR(optimizer, 0.1, total_steps=10)
    yield kinds.LambdaLR(optimizer, lambda epoch: 0.9**epoch)
    yield kinds.MultiStepLR(optimizer, [2, 4])
    yield kinds.SequentialLR(
        optimizer, [kinds.LinearLR(optimizer), kinds.CosineAnnealingLR(optimizer, 10)], milestones=[3]
    )


@pytest.mark.parametrize("which", range(5))
def test_training_goes_on_as_if_it_had_not_stopped(which: int, tmp_path: Path) -> None:
    def start() -> tuple[nn.Module, torch.optim.Optimizer, Any]:
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        return model, optimizer, list(schedulers(optimizer))[which]

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any) -> None:
        optimizer.zero_grad()
        model(torch.ones(4, 8) * torch.arange(4)[:, None]).square().sum().backward()
        optimizer.step()
        scheduler.step()

    run = start()
    step(*run)
    save_checkpoint(tmp_path / "a.pth", run[0], CONFIG, 1, {}, optimizer=run[1], scheduler=run[2])
    checkpoint, resumed = read_checkpoint(tmp_path / "a.pth"), start()
    resumed[0].load_state_dict(dict(checkpoint.model_state_dict))
    resumed[1].load_state_dict(dict(checkpoint.optimizer_state_dict or {}))
    resumed[2].load_state_dict(dict(checkpoint.scheduler_state_dict or {}))
    for _ in range(5):
        step(*run)
        step(*resumed)
    assert run[1].param_groups[0]["lr"] == resumed[1].param_groups[0]["lr"]
    for ours, theirs in zip(run[0].parameters(), resumed[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_metrics_as_evaluation_gives_them_become_plain(tmp_path: Path) -> None:
    given = {
        "auc": np.float64(0.5),
        "n": np.int64(3),
        "curve": np.array([0.0, 1.0]),
        "report": Path("out") / "report.json",
        "stage": Stage.LAST,
        "names": ("a", np.str_("b")),
        "loss": float("nan"),
    }
    save(tmp_path / "a.pth", given)
    metrics = dict(read_checkpoint(tmp_path / "a.pth").metrics)
    assert np.isnan(metrics.pop("loss"))
    assert metrics == {
        "auc": 0.5,
        "n": 3,
        "curve": [0.0, 1.0],
        "report": "out/report.json",
        "stage": "last",
        "names": ("a", "b"),
    }


@pytest.mark.parametrize(
    ("metrics", "key"),
    [
        ({"when": datetime(2024, 1, 1, tzinfo=UTC)}, r"metrics\.when is a datetime"),
        ({"parts": [1, {2}]}, r"metrics\.parts\[1\] is a set"),
        ({"model": nn.ReLU()}, r"metrics\.model is a ReLU"),
    ],
)
def test_what_is_not_plain_is_named_and_leaves_the_old_file(metrics: dict[str, Any], key: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    save(path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match=key):
        save(path, metrics)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("broken", ["save", "load"])
def test_a_file_that_does_not_read_back_never_replaces_a_good_one(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pth"
    save(path)
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("disk")

    monkeypatch.setattr(torch, broken, fail)
    with pytest.raises(RuntimeError, match="disk"):
        save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_temporary_file_of_a_killed_run_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".ckpt-0123.tmp").write_bytes(b"half")
    save(tmp_path / "a.pth")
    assert [item.name for item in tmp_path.iterdir()] == ["a.pth"]


def test_the_wrapper_of_distributed_training_is_taken_off(tmp_path: Path) -> None:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(network())
        save_checkpoint(tmp_path / "a.pth", wrapped, CONFIG, 1, {})
    finally:
        torch.distributed.destroy_process_group()
    assert read_checkpoint(tmp_path / "a.pth").model_state_dict.keys() == network().state_dict().keys()


# What is not there


def test_a_missing_file(tmp_path: Path) -> None:
    assert code_of(tmp_path / "no.pth") == "checkpoint_missing"


def test_a_package_without_weights_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PACKAGED_CHECKPOINT", tmp_path / "default.pth")
    with pytest.raises(CheckpointError, match=r"checkpoint_missing: .*default\.pth.*null for an untrained model"):
        read_checkpoint(tmp_path / "default.pth")
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "mine.pth")
    assert "untrained" not in caught.value.detail


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert code_of(tmp_path) == "checkpoint_missing"


# What is damaged


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        b"<!DOCTYPE html><html><body>404</body></html>",
        b"\x00" * 4096,
        np.random.default_rng(0).bytes(5000),
        b"PK\x03\x04" + np.random.default_rng(1).bytes(5000),
        pickle.dumps({"a": list(range(1000))})[:-100],
        b"\x8e" + (1 << 62).to_bytes(8, "little") + b"x",
    ],
    ids=["empty", "text", "lfs", "html", "zeros", "random", "zip magic", "half a pickle", "a long text"],
)
def test_what_is_no_checkpoint_is_damaged(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    assert code_of(tmp_path / "a.pth") == "checkpoint_damaged"


def test_a_file_cut_short_anywhere_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    save(path)
    content = path.read_bytes()
    for length in [*range(0, len(content), len(content) // 40), len(content) - 1]:
        path.write_bytes(content[:length])
        assert code_of(path) == "checkpoint_damaged", length


def test_a_flipped_bit_never_changes_a_weight_unseen(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    model = save(path)
    content = path.read_bytes()
    codes = set()
    for position in range(0, len(content), len(content) // 150):
        flipped = bytearray(content)
        flipped[position] ^= 0x10
        path.write_bytes(flipped)
        try:
            weights = read_checkpoint(path).model_state_dict
        except CheckpointError as error:
            codes.add(error.code)
        else:  # padding and the like
            assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert "checkpoint_damaged" in codes


def test_a_part_that_is_marked_as_a_folder_is_refused(tmp_path: Path) -> None:
    """Torch would read nothing of it, and take what lies in memory for weights."""
    path = tmp_path / "a.pth"
    save(path)
    content = path.read_bytes()
    entries = [match.start() for match in re.finditer(rb"PK\x01\x02", content)]
    assert len(entries) > 4
    for entry in entries:
        marked = bytearray(content)
        marked[entry + 38] |= 0x10  # the external attributes, APPNOTE.TXT 4.3.12
        path.write_bytes(marked)
        assert code_of(path) == "checkpoint_damaged", entry


# What is foreign


class Mine:
    """Unpickled with code allowed, it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def zipped(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def old_format(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize("written", [zipped, old_format, pickle.dumps, lambda content: pickle.dumps(content, 0)])
@pytest.mark.parametrize("hidden", [False, True])
def test_code_in_a_file_is_refused_and_not_run(
    written: Callable[[object], bytes], hidden: bool, tmp_path: Path
) -> None:
    path, target = tmp_path / "a.pth", tmp_path / "executed"
    mine = Mine(target)
    path.write_bytes(written(dict.fromkeys(REQUIRED) | {"metrics": mine} if hidden else mine))
    assert code_of(path) == "checkpoint_foreign"
    assert not target.exists()
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert "weights_only" not in caught.value.detail, "torch's advice to allow code is not passed on"
    if not hidden and written is pickle.dumps:
        pickle.loads(path.read_bytes())
        assert target.exists(), "the pickle of this test must be one that runs code"


def in_an_archive(pickled: bytes, **settings: Any) -> bytes:
    """A torch archive, sound in every respect, around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **settings) as archive:
        archive.writestr("net/data.pkl", pickled)
        archive.writestr("net/byteorder", b"little")
        archive.writestr("net/version", b"3\n")
    return buffer.getvalue()


HOSTILE = {
    "a global by name": b"cposix\nmkdir\n(V{target}\ntR.",
    "a global from the stack": b"\x80\x04\x8c\x05posix\x8c\x05mkdir\x93(V{target}\ntR.",
    "an instance": b"(V{target}\niposix\nmkdir\n.",
    "an object": b"(cposix\nmkdir\nV{target}\no.",
    "a new object": b"\x80\x02cposix\nmkdir\n(V{target}\nt\x81.",
    "evaluated text": b"cbuiltins\neval\n(V__import__('os').mkdir('{target}')\ntR.",
    "executed text": b"cbuiltins\nexec\n(Vimport os; os.mkdir('{target}')\ntR.",
    "a command": b"cos\nsystem\n(Vmkdir {target}\ntR.",
    "a process": b"csubprocess\ncheck_output\n((lVmkdir\naV{target}\natR.",
    "an attribute": b"cbuiltins\ngetattr\n(cos\nsep\nV__class__\ntRcos\nmkdir\n(V{target}\ntR.",
    "a module's code": b"crunpy\n_run_code\n(Vimport os; os.mkdir('{target}')\n(dtR.",
    "torch's own loader": b"ctorch.serialization\nload\n(V{target}\ntR.",
    "a state": b"ctorch._utils\n_rebuild_parameter_with_state\n(cos\nmkdir\nI00\n(d(dtR.",
    "an extension": b"\x80\x02\x82\x01(V{target}\ntR.",
    "a reference": b"\x80\x02V{target}\nQ.",
    "later, behind weights": b"(dVmodel_state_dict\n(dsVconfig\ncposix\nmkdir\n(V{target}\ntRs.",
}


@pytest.mark.parametrize("archived", [True, False])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_runs_nothing(name: str, archived: bool, tmp_path: Path) -> None:
    path, target = tmp_path / "a.pth", tmp_path / "executed"
    pickled = HOSTILE[name].replace(b"{target}", str(target).encode())
    path.write_bytes(in_an_archive(pickled) if archived else pickled)
    assert code_of(path) == "checkpoint_foreign"
    assert not target.exists()


@pytest.mark.parametrize(
    "name", ["a global by name", "an instance", "evaluated text", "a command", "later, behind weights"]
)
def test_a_hostile_pickle_would_run_where_code_is_allowed(name: str, tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    target = tmp_path / "executed"
    pickle.loads(HOSTILE[name].replace(b"{target}", str(target).encode()))
    assert target.exists()


def test_a_pickle_is_recognised_without_reading_it_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: hashlib.sha256())
    with (tmp_path / "a.pth").open("wb") as file:
        file.write(b"S'\\}'\n0" + b"N0" * 100_000)
        file.truncate(1 << 40)  # a terabyte of holes
    with pytest.raises(CheckpointError, match="could run code") as caught:
        read_checkpoint(tmp_path / "a.pth")
    assert caught.value.code == "checkpoint_foreign"


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = in_an_archive(bytes(300 << 20), compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 20
    (tmp_path / "a.pth").write_bytes(bomb)
    with pytest.raises(CheckpointError, match="a compressed archive") as caught:
        read_checkpoint(tmp_path / "a.pth")
    assert caught.value.code == "checkpoint_foreign"


def test_an_archive_whose_parts_overlap_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """One stored megabyte, named a thousand times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net/data.pkl", bytes(1 << 20))
        archive.filelist *= 1000
    (tmp_path / "a.pth").write_bytes(buffer.getvalue())
    assert code_of(tmp_path / "a.pth") == "checkpoint_damaged"


@pytest.mark.parametrize("line", ["{}", "{}  a.pth\n", "{} *other.pth\n"])
@pytest.mark.parametrize("upper", [False, True])
def test_a_digest_beside_a_checkpoint_must_be_its_own(line: str, upper: bool, tmp_path: Path) -> None:
    path, beside = tmp_path / "a.pth", tmp_path / "a.pth.sha256"
    save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    beside.write_text(line.format(digest.upper() if upper else digest))
    assert read_checkpoint(path).sha256 == digest
    save(path, {"auc": 0.5})  # another model in its place
    with pytest.raises(CheckpointError, match=r"not what a\.pth\.sha256 says") as caught:
        read_checkpoint(path)
    assert caught.value.code == "checkpoint_damaged"


@pytest.mark.parametrize("content", [b"", b"a.pth\n", b"\xff" * 100, b"0" * 63])
def test_a_digest_that_is_none_is_not_ignored(content: bytes, tmp_path: Path) -> None:
    save(tmp_path / "a.pth")
    (tmp_path / "a.pth.sha256").write_bytes(content)
    assert code_of(tmp_path / "a.pth") == "checkpoint_damaged"


def scripted() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps({}))
        archive.writestr("net/constants.pkl", pickle.dumps(()))
    return buffer.getvalue()


def archive(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, "text" * 100)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        zipped({"weight": torch.zeros(2)}),
        zipped(torch.zeros(2)),
        zipped([1, 2]),
        zipped(network()),
        old_format({"weight": torch.zeros(2)}),
        pickle.dumps({"weight": [0.0]}),
        scripted(),
        archive("word/document.xml"),
        archive("net/data.pkl"),
    ],
    ids=["weights only", "tensor", "list", "module", "old torch", "pickle", "script", "document", "false pickle"],
)
def test_sound_files_of_others_are_foreign(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    assert code_of(tmp_path / "a.pth") == "checkpoint_foreign"


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other-checkpoint"},
        {"format_version": 2},
        {"model_state_dict": [torch.zeros(2)]},
        {"model_state_dict": {"weight": [0.0]}},
        {"model_state_dict": {0: torch.zeros(2)}},
        {"config": "config.yaml"},
        {"epoch": "last"},
        {"epoch": True},
        {"metrics": None},
        {"optimizer_state_dict": [1]},
        {"scheduler_state_dict": 1},
        {"operating_points": [0.5]},
        {"training_state_dict": 3},
        {"calibration": {"scale": -1.0, "bias": 0.0}},
        {"calibration": [1.0, 0.0]},
    ],
    ids=str,
)
def test_what_a_checkpoint_never_holds_is_foreign(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    save(path)
    content = torch.load(path, weights_only=True)
    torch.save(content | change, path)
    assert code_of(path) == "checkpoint_foreign"


@pytest.mark.parametrize("key", REQUIRED)
def test_each_key_is_required(key: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    save(path)
    content = torch.load(path, weights_only=True)
    del content[key]
    torch.save(content, path)
    assert code_of(path) == "checkpoint_foreign"


def test_the_six_keys_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    save(path)
    content = torch.load(path, weights_only=True)
    torch.save({key: content[key] for key in REQUIRED}, path)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.calibration, checkpoint.operating_points) == (None, None)
    assert [getattr(checkpoint, key) for key in OPTIONAL] == [None]


def test_the_state_of_a_training_run_comes_back_as_it_was(tmp_path: Path) -> None:
    state: dict[str, Any] = {"steps": 7, "weights": {"a": torch.arange(3.0)}, "scaler": {}}
    save(tmp_path / "a.pth", training_state=state)
    read = read_checkpoint(tmp_path / "a.pth").training_state_dict
    assert read is not None
    assert torch.equal(read["weights"].pop("a"), state["weights"].pop("a"))
    assert read == state


def test_the_state_of_a_training_run_is_plain(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"training_state_dict\.model"):
        save(tmp_path / "a.pth", training_state={"model": network()})
    assert list(tmp_path.iterdir()) == []


# Killed while saving

KILLS = int(os.environ.get("AURA_TEST_KILLS", "5"))
"""How often a process is killed; raise it to look longer."""
WRITER = """
import os, sys
from pathlib import Path
import torch
from aura_model.checkpoint import save_checkpoint
from aura_model.settings import load_config
path, config, model = Path(sys.argv[1]), load_config(env={}), torch.nn.Linear(1000, 1000)
for line in sys.stdin:
    child = os.fork()
    while child == 0:
        save_checkpoint(path, model, config, int(line), {})
    print(child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


def kill_while_saving(writer: "subprocess.Popen[str]", folder: Path, round_number: int) -> None:
    """Start a child that saves without end; kill it once the file it writes has some size, other in each round."""
    assert writer.stdin is not None
    assert writer.stdout is not None
    print(round_number, file=writer.stdin, flush=True)
    child = int(writer.stdout.readline())
    seen = {item.name for item in folder.glob(".ckpt-*.tmp")}  # of the round before; the first save sweeps it
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        sizes = [_size(item) for item in folder.glob(".ckpt-*.tmp") if item.name not in seen]
        if any(size >= round_number % 5 * 1_000_000 for size in sizes):
            break
    os.kill(child, signal.SIGKILL)
    assert writer.stdout.readline() == "dead\n"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def test_killed_while_saving_the_file_is_readable_each_time(tmp_path: Path) -> None:
    path, leftovers = tmp_path / "a.pth", 0
    save_checkpoint(path, nn.Linear(1000, 1000), CONFIG, 0, {})
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        for round_number in range(KILLS):
            kill_while_saving(writer, tmp_path, round_number)
            leftovers += len(list(tmp_path.glob(".ckpt-*.tmp")))
            assert 0 <= read_checkpoint(path).epoch <= round_number
    assert leftovers, "no kill hit a save"
    save(path)
    assert list(tmp_path.iterdir()) == [path]


def test_the_configuration_inside_builds_the_same_tree(tmp_path: Path) -> None:
    save(tmp_path / "a.pth")
    assert Config.model_validate(read_checkpoint(tmp_path / "a.pth").config) == CONFIG


def test_a_file_for_serving_has_all_but_the_training(tmp_path: Path) -> None:
    path, served = tmp_path / "a.pth", tmp_path / "b" / "served.pth"
    model = network()
    optimizer = torch.optim.AdamW(model.parameters())
    points, calibration = make_points(), Calibration(scale=1.5, bias=-0.2)
    more: dict[str, Any] = {"operating_points": points, "calibration": calibration, "training_state": {"steps": 3}}
    save_checkpoint(path, model, CONFIG, 4, {"auc": 0.9}, optimizer=optimizer, **more)
    strip_training(path, served)
    before, after = read_checkpoint(path), read_checkpoint(served)
    assert (after.optimizer_state_dict, after.scheduler_state_dict, after.training_state_dict) == (None, None, None)
    assert (after.epoch, after.metrics, after.config) == (before.epoch, before.metrics, before.config)
    assert (after.operating_points, after.calibration) == (points, calibration)
    assert all(torch.equal(after.model_state_dict[name], value) for name, value in before.model_state_dict.items())


def test_another_calibration_leaves_the_rest_as_it_was(tmp_path: Path) -> None:
    path, changed = tmp_path / "a.pth", tmp_path / "b" / "calibrated.pth"
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.125)
    old = {"operating_points": make_points(), "calibration": Calibration(scale=1.5, bias=-0.2)}
    more: dict[str, Any] = old | {"training_state": {"steps": 3}}
    save_checkpoint(path, model, CONFIG, 4, {"auc": 0.9}, optimizer=optimizer, **more)
    calibration, points = Calibration(scale=0.5, bias=0.0), make_points((0.1, 0.1), (0.1, 0.2), (0.1, 0.3))
    before = read_checkpoint(path)
    save_calibrated(changed, before, calibration, points)
    after = read_checkpoint(changed)
    assert (after.calibration, after.operating_points) == (calibration, points)
    assert (before.calibration, before.operating_points) == (old["calibration"], old["operating_points"])
    assert (after.epoch, after.metrics, after.config) == (before.epoch, before.metrics, before.config)
    assert (after.optimizer_state_dict, after.training_state_dict) == (optimizer.state_dict(), {"steps": 3})
    assert all(torch.equal(after.model_state_dict[name], value) for name, value in before.model_state_dict.items())
    assert after.sha256 != before.sha256


def test_a_checkpoint_may_be_calibrated_in_its_place(tmp_path: Path) -> None:
    save(tmp_path / "a.pth")
    save_calibrated(
        tmp_path / "a.pth", read_checkpoint(tmp_path / "a.pth"), Calibration(scale=3.0, bias=0.0), make_points()
    )
    assert read_checkpoint(tmp_path / "a.pth").calibration == Calibration(scale=3.0, bias=0.0)
    assert [item.name for item in tmp_path.iterdir()] == ["a.pth"]


BAD_POINTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "list": lambda points: list(points.values()),
    "text": lambda _: "balanced",
    "empty": lambda _: {},
    "free": lambda _: {"fpr_1": {"threshold": 0.8, "fpr": 0.01}},
    "one missing": lambda points: {name: points[name] for name in ("screening", "balanced")},
    "one more": lambda points: points | {"lax": points["screening"]},
    "many more": lambda points: points | {str(number): number for number in range(10_000)},
    "swapped": lambda points: points | {"screening": points["strict"], "strict": points["screening"]},
    "turned band": lambda points: points | {"strict": points["strict"] | {"low": 0.95}},
    "no order": lambda points: points | {"strict": points["strict"] | {"high": 0.5}},
    "not a number": lambda points: points | {"strict": points["strict"] | {"high": float("nan")}},
    "above one": lambda points: points | {"strict": points["strict"] | {"high": 1.5}},
    "tensor": lambda points: points | {"strict": points["strict"] | {"high": torch.rand(3)}},
    "deep": lambda points: points | {"strict": points["strict"] | {"high": [[[[]]]]}},
    "rate outside": lambda points: points | {"strict": points["strict"] | {"false_positive_rate": 0.5}},
    "no reals": lambda points: points | {"strict": points["strict"] | {"reals": 0}},
    "unknown figure": lambda points: points | {"strict": points["strict"] | {"accuracy": 1.0}},
}


@pytest.mark.parametrize("change", BAD_POINTS.values(), ids=BAD_POINTS)
def test_operating_points_are_believed_only_whole(change: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    save(path, operating_points=make_points(), calibration=Calibration(scale=2.0, bias=0.0))
    content = torch.load(path, weights_only=True)
    torch.save(content | {"operating_points": change(content["operating_points"])}, path)
    assert code_of(path) == "checkpoint_foreign"


def test_operating_points_need_the_calibration_that_they_were_found_with(tmp_path: Path) -> None:
    save(tmp_path / "a.pth", operating_points=make_points())
    assert code_of(tmp_path / "a.pth") == "checkpoint_foreign"


def test_a_damaged_file_is_not_stripped(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(CheckpointError) as caught:
        strip_training(tmp_path / "a.pth", tmp_path / "b.pth")
    assert caught.value.code == "checkpoint_damaged"
    assert not (tmp_path / "b.pth").exists()
