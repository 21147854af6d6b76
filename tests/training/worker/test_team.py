import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.worker.team import step_weights


@given(
    counts=st.lists(st.lists(st.integers(0, 64), min_size=1, max_size=3), min_size=1, max_size=8).filter(
        lambda workers: any(map(any, workers))
    ),
    data=st.data(),
)
def test_weighted_means_average_over_workers_to_the_mean_over_all_clips(
    counts: list[list[int]], data: st.DataObject
) -> None:
    """Data-parallel training averages the workers' gradients; the weights make that the mean over the global batch."""
    means = [[data.draw(st.floats(-10, 10)) for _ in worker] for worker in counts]
    total = sum(map(sum, counts))
    averaged = overall = 0.0
    for worker, mean in zip(counts, means, strict=True):
        weights = step_weights(worker, total, len(counts))
        averaged += sum(weight * one for weight, one in zip(weights, mean, strict=True)) / len(counts)
        overall += sum(count * one for count, one in zip(worker, mean, strict=True)) / total
    assert averaged == pytest.approx(overall, abs=1e-9)


def test_a_worker_without_clips_does_not_count() -> None:
    assert [step_weights([count], 6, 3) for count in (0, 3, 3)] == [[0.0], [1.5], [1.5]]


def test_equal_shares_need_no_weight() -> None:
    assert step_weights([8], 24, 3) == [1.0]


@contextmanager
def worker(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that does not outlive the block."""
    with subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one worker alone, and two workers together, left."""
    folder = tmp_path_factory.mktemp("workers")
    script = str(Path(__file__).with_name("two_workers.py"))
    places = [(0, 1), (0, 2), (1, 2)]
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(script, str(rank), str(size), str(folder))) for rank, size in places]
        for one in workers:
            _, errors = one.communicate(timeout=280)
            assert one.returncode == 0, errors
    return folder


def told(folder: Path, rank: int) -> Any:
    return json.loads((folder / f"told-2-{rank}.json").read_text())


def test_two_workers_with_unequal_parts_have_the_gradient_of_one_with_all(folder: Path) -> None:
    """Of every weight, also of the backbone, which was frozen when the first step was taken."""
    trained = []
    for epoch in (1, 2):
        places = (f"gradients-{epoch}-{place}.pt" for place in ("1-0", "2-0", "2-1"))
        one, first, second = (torch.load(folder / place) for place in places)
        assert any(gradient.abs().max() > 1e-3 for gradient in one.values())
        assert one.keys() == first.keys() == second.keys()
        for name, gradient in one.items():
            torch.testing.assert_close(first[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
            torch.testing.assert_close(second[name], first[name], rtol=0, atol=0, msg=name)
        trained.append({name for name in one if name.startswith("video.backbone.")})
    assert not trained[0]
    assert len(trained[1]) > 10


def test_every_worker_gathers_the_items_of_all(folder: Path) -> None:
    assert told(folder, 0)["gathered"] == told(folder, 1)["gathered"] == [[0, 0], [0, 1], [0, 3], [1, 2]]


def test_all_workers_validate_with_the_buffers_of_the_first(folder: Path) -> None:
    assert told(folder, 0)["buffers"] == told(folder, 1)["buffers"] == [1.0]


def test_counts_are_summed_over_all_workers(folder: Path) -> None:
    assert told(folder, 0)["total"] == told(folder, 1)["total"] == [1, 2]
