"""What the workers of one training run do together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import torch
import torch.distributed as dist
from ray.train import get_context
from ray.train.collective import broadcast_from_rank_zero
from torch import nn

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """A worker among all workers of the run. Every method is a collective: all workers call it, in one order."""

    rank: int
    size: int

    @classmethod
    def here(cls) -> "Team":
        """The place that Ray Train gave to this worker."""
        return cls(get_context().get_world_rank(), get_context().get_world_size())

    def total(self, *counts: int) -> list[int]:
        """Each of the counts, summed over all workers."""
        summed = torch.tensor(counts, dtype=torch.int64)
        dist.all_reduce(summed)
        return [int(count) for count in summed]

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all workers, by rank."""
        gathered: list[Sequence[T]] = [()] * self.size
        dist.all_gather_object(gathered, items)
        return list(chain.from_iterable(gathered))

    def deal(self, make: Callable[[], Sequence[T]]) -> T:
        """The first worker makes one item for each; returned is this worker's. They may hold handles of Ray actors."""
        items: Sequence[T] = broadcast_from_rank_zero(make() if self.rank == 0 else None)
        return items[self.rank]

    def share_buffers(self, model: nn.Module) -> None:
        """Give all workers the first worker's buffers, such as the statistics of batch normalisation."""
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def step_weights(clips: Sequence[int], total: int, workers: int) -> list[float]:
    """Weights that make the average over workers of summed, weighted mean losses the mean over all clips of a step.

    Args:
        clips: of each of this worker's forward passes.
        total: of all workers in this step, above 0.
        workers: how many there are.
    """
    return [count * workers / total for count in clips]
