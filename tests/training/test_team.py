import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.team import step_weight


@given(counts=st.lists(st.integers(0, 64), min_size=1, max_size=8).filter(any), data=st.data())
def test_weighted_worker_means_average_to_the_mean_over_all_clips(counts: list[int], data: st.DataObject) -> None:
    """Data-parallel training averages the workers' gradients; the weights make that the mean over the global batch."""
    means = [data.draw(st.floats(-10, 10)) for _ in counts]
    weights = [step_weight(counts, rank) for rank in range(len(counts))]
    averaged = sum(weight * mean for weight, mean in zip(weights, means, strict=True) if weight is not None) / len(
        counts
    )
    overall = sum(count * mean for count, mean in zip(counts, means, strict=True)) / sum(counts)
    assert averaged == pytest.approx(overall, abs=1e-9)


@pytest.mark.parametrize("counts", [[0], [0, 0, 0]])
def test_an_epoch_is_over_when_no_worker_has_a_clip_left(counts: list[int]) -> None:
    assert [step_weight(counts, rank) for rank in range(len(counts))] == [None] * len(counts)


def test_a_worker_without_clips_does_not_count() -> None:
    assert [step_weight([0, 3, 3], rank) for rank in range(3)] == [0.0, 1.5, 1.5]


def test_equal_shares_need_no_weight() -> None:
    assert [step_weight([8, 8, 8], rank) for rank in range(3)] == [1.0, 1.0, 1.0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one worker alone, and two workers together, left."""
    folder = tmp_path_factory.mktemp("workers")
    script = str(Path(__file__).with_name("two_workers.py"))
    places = [(0, 1), (0, 2), (1, 2)]
    workers = [
        subprocess.Popen([sys.executable, script, str(rank), str(size), str(folder)], stderr=subprocess.PIPE, text=True)
        for rank, size in places
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    return folder


def told(folder: Path, rank: int) -> Any:
    return json.loads((folder / f"told-2-{rank}.json").read_text())


def test_two_workers_with_unequal_shares_have_the_gradient_of_one_with_all(folder: Path) -> None:
    one, first, second = (torch.load(folder / f"gradients-{place}.pt") for place in ("1-0", "2-0", "2-1"))
    assert any(gradient.abs().max() > 1e-3 for gradient in one.values())
    for name, gradient in one.items():
        torch.testing.assert_close(first[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=0, msg=name)


def test_every_worker_gathers_the_items_of_all(folder: Path) -> None:
    assert told(folder, 0)["gathered"] == told(folder, 1)["gathered"] == [[0, 0], [0, 1], [0, 2], [1, 3]]


def test_all_workers_validate_with_the_buffers_of_the_first(folder: Path) -> None:
    assert told(folder, 0)["buffers"] == told(folder, 1)["buffers"] == [1.0]


def test_all_workers_see_the_end(folder: Path) -> None:
    assert told(folder, 0)["over"] is True
    assert told(folder, 1)["over"] is True
