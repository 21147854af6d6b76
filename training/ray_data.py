"""How Aura uses Ray Data: quietly, within the planned share of the cluster, on a fixed number of actors."""

from ray.data import ActorPoolStrategy, DataContext, ExecutionResources
from ray.exceptions import RayError

MAX_BLOCKS = 4096
"""One row to begin with is one block up to this many; above it, blocks hold several rows each."""


def actor_pool(actors: int) -> ActorPoolStrategy:
    """A pool that starts with all of its actors, and works on where some cannot be had."""
    return ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors)


def configure(context: DataContext, *, cpus: float, block_bytes: int, preserve_order: bool) -> None:
    """Set the context of a data set, or of this process for those to come.

    Args:
        context: what is set.
        cpus: Ray Data takes no more than these, which are planned.
        block_bytes: about how large a block may be.
        preserve_order: rows keep the order of what they are made from, so that a run can be repeated.
    """
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = block_bytes
    context.execution_options.preserve_order = preserve_order
    context.execution_options.resource_limits = ExecutionResources.for_limits(cpu=cpus)


def failure(error: RayError) -> str:
    """What was raised in an actor, in a sentence: Ray gives the traceback as text, with the exception at its end."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
