"""What the model says of one clip; without torch, so that every process can hold it."""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ClipScore:
    """Log-odds of fake: 0 is undecided, above is fake."""

    fake: float
    """By all that the clip has; calibrated where the model is."""
    video: float | None
    """By the pictures alone; None where the clip has none, `fake` where it has nothing else. Beside sound it comes
    from a head of its own, which is not calibrated."""
    audio: float | None
    """By the sound alone, likewise."""
    heatmap: npt.NDArray[np.float32] | None = field(default=None, compare=False)
    """[T, h, w] the probability, 0..1, that each place of each crop was forged; None where the clip has no pictures, or
    the model no map."""
    restored: bool = False
    """Whether the model saw other pictures than the clip's own, see `aura_model.restoration`."""

    def without_heatmap(self) -> "ClipScore":
        """The same numbers without the map: small enough to pass around."""
        return replace(self, heatmap=None)
