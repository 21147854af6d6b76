from types import SimpleNamespace
from typing import Any

from training.ray_data import actor_pool, configure


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
