"""An exponential moving average of the weights."""

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

Model = TypeVar("Model", bound=nn.Module)


class WeightAverage(Generic[Model]):
    """A copy of a model that follows it (Polyak and Juditsky, 1992): `a = decay * a + (1 - decay) * w` a step.

    The buffers follow too, such as the statistics of batch normalisation; counters are copied. The first steps decay
    faster, `(1 + steps) / (10 + steps)`, so that the random start is soon forgotten.
    """

    def __init__(self, model: Model, decay: float) -> None:
        """Follow `model`, from where it is; the copy is in evaluation mode and wants no gradients."""
        self.model: Model = deepcopy(model).requires_grad_(False).eval()
        self._decay = decay
        pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))
        self._smooth = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Follow the model after an optimiser step; `steps` of them came before."""
        decay = min(self._decay, (1 + steps) / (10 + steps))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average([ours for ours, _ in self._smooth], [theirs for _, theirs in self._smooth], steps)
        for ours, theirs in self._counters:
            ours.copy_(theirs)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
