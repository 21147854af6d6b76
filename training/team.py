"""What the workers of one training run do together."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import torch
import torch.distributed as dist
from ray.train import get_context
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

    def weight(self, clips: int) -> float | None:
        """How much this worker's mean loss counts in the next step, see `step_weight`."""
        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([clips]))
        return step_weight([int(count) for count in counts], self.rank)

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all workers, by rank."""
        gathered: list[Sequence[T]] = [()] * self.size
        dist.all_gather_object(gathered, items)
        return list(chain.from_iterable(gathered))

    def share_buffers(self, model: nn.Module) -> None:
        """Give all workers the first worker's buffers, such as the statistics of batch normalisation."""
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def step_weight(counts: Sequence[int], rank: int) -> float | None:
    """The weight that makes the average over workers of weighted mean losses the mean over all clips of the step.

    Args:
        counts: clips that each worker has for the step; 0 where it has run out.
        rank: the worker asked about.

    Returns:
        None where no worker has a clip: then the epoch is over.
    """
    total = sum(counts)
    return counts[rank] * len(counts) / total if total else None
