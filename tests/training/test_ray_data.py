from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayError, RayTaskError

from training.ray_data import actor_pool, configure, failure


def test_ray_data_keeps_the_order_and_to_its_share_of_the_cpus() -> None:
    context: Any = SimpleNamespace(execution_options=SimpleNamespace())
    configure(context, cpus=1.5, block_bytes=7, preserve_order=True)
    assert context.execution_options.preserve_order
    assert context.execution_options.resource_limits.cpu == 1.5
    assert context.target_max_block_size == 7
    assert not context.enable_progress_bars
    assert not context.print_on_execution_start


def test_a_pool_has_the_actors_that_are_planned() -> None:
    pool = actor_pool(5)
    assert (pool.min_size, pool.initial_size, pool.max_size) == (1, 5, 5)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RayError("The actor died:\n  File x.py\nCheckpointError: cannot read a.pth\n"),
            "CheckpointError: cannot read a.pth",
        ),
        (
            RayTaskError("score", "Traceback:\n  File x.py\nRuntimeError: CUDA error\n", RuntimeError()),
            "RuntimeError: CUDA error",
        ),
        (RayError(), "RayError"),
    ],
)
def test_a_run_that_failed_says_what_was_raised(error: RayError, said: str) -> None:
    assert failure(error) == said
