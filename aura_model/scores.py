"""What the model says of one clip; without torch, so that every process can hold it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClipScore:
    """Log-odds of fake: 0 is undecided, above is fake."""

    fake: float
    """By all that the clip has; calibrated where the model is."""
    video: float | None
    """By the pictures alone; None where the clip has none."""
    audio: float | None
    """By the sound alone; None where the clip has none."""
