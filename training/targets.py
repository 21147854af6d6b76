"""What a model is to learn of a batch: the label of each clip and, where training knows it, the forged places."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Targets:
    """The truth about `B` clips."""

    labels: Tensor
    """int64 [B], 1 = fake."""
    places: Tensor | None = None
    """float32 [B, T, S, S], 0..1: how much of each place was put there by the forgery; None where nothing is known."""
    known: Tensor | None = None
    """bool [B]: of which clips the places are known."""

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Targets":
        """The same on `device`."""
        moved = (None if part is None else part.to(device, non_blocking=True) for part in (self.places, self.known))
        return Targets(self.labels.to(device, non_blocking=True), *moved)
