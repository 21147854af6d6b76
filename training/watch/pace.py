"""How long a run still takes."""

from collections import deque
from collections.abc import Callable
from statistics import fmean

BASIS = 0.05
"""Share of a first phase that must be done before its length is guessed."""
REMEMBERED = 3
"""Epochs whose length counts: the first ones of a run are slower."""

PHASES = ("train", "val")


class Pace:
    """Guesses a run's end from how long the phases of its epochs took, and from the share of the one it is in.

    A phase that was never seen counts as nothing: during the first epoch the end is guessed without validation.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._took: dict[str, deque[float]] = {phase: deque(maxlen=REMEMBERED) for phase in PHASES}
        self.begin()

    def begin(self) -> None:
        """An epoch begins now: the first one of all, the next one, or one anew."""
        self._phase, self._share, self._since = "train", 0.0, self._clock()

    def at(self, phase: str, share: float) -> None:
        """The run is in `phase`, train or val, of which `share` is done, 0..1."""
        if (self._phase, phase) == ("train", "val"):
            self._finish()
        elif phase != self._phase or share < self._share:
            self._since = self._clock()
        self._phase, self._share = phase, share

    def end(self) -> None:
        """The epoch is over, and the next one begins."""
        if self._phase == "train":  # validation was too short to be heard of
            self._took["val"].append(0.0)
        self._finish()
        self.begin()

    def position(self) -> float:
        """The share of the epoch that is done, 0..1; validation counts once one has been finished."""
        train, val = (fmean(self._took[phase] or [0.0]) for phase in PHASES)
        of_training = train / (train + val) if train else 1.0
        if self._phase == "train":
            return of_training * self._share
        return of_training + (1 - of_training) * self._share

    def left(self, epochs: int) -> float | None:
        """Seconds until `epochs` more are done, the present one among them; None until there is a basis."""
        train, val = self._length("train"), self._length("val") or 0.0
        if train is None or not epochs:
            return None if epochs else 0.0
        here = train * (1 - self._share) + val if self._phase == "train" else val * (1 - self._share)
        return here + (epochs - 1) * (train + val)

    def _finish(self) -> None:
        self._took[self._phase].append(self._clock() - self._since)
        self._since = self._clock()

    def _length(self, phase: str) -> float | None:
        """Seconds that the phase takes."""
        if took := self._took[phase]:
            return fmean(took)
        if phase == self._phase and self._share >= BASIS:
            return (self._clock() - self._since) / self._share
        return None
