"""One worker's pass over its part of a split: the account of it, and what is told while it goes on."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from training.worker.batches import Part, Parts
from training.worker.tally import Tally, private_bytes

PERIOD = 0.5
"""The first worker tells of its progress at most this often, seconds."""


class Sweep:
    """Iterate over it for the parts of the pass; each is counted, and its skipped videos are told of."""

    def __init__(
        self,
        parts: Parts,
        videos: int,
        facts: dict[str, Any],
        post: Callable[..., None],
        *,
        first: bool,
    ) -> None:
        """Begin a pass.

        Args:
            parts: the worker's stream.
            videos: in the whole pass, over all workers.
            facts: what every event of progress says: epoch, epochs and phase.
            post: takes events.
            first: whether this is the worker that tells of progress.
        """
        self._parts, self._videos, self._facts, self._post, self._first = parts, videos, facts, post, first
        self._tally = Tally()
        self._loss: float | Tensor = 0.0
        self._slot = 0
        self._began = self._told = time.perf_counter()
        self._waited, self._start = parts.waited, parts.start_seconds

    def __iter__(self) -> Iterator[Part]:
        for part in self._parts.of(self._facts["epoch"], self._facts["phase"]):
            self._tally.count(part.rows, len(part.skips))
            self._slot = part.slot
            if part.skips:
                self._post(*({"kind": "skip", **asdict(skip)} for skip in part.skips))
            yield part

    @property
    def skipped(self) -> int:
        """Videos of this worker that gave no clip, so far."""
        return self._tally.skipped

    def add_loss(self, loss: Tensor) -> None:
        """Add a loss, summed over clips; nothing waits for the device here."""
        self._loss = self._loss + loss

    def tell(self, step: int) -> None:
        """Post the progress, not too often; `step` counts the optimiser steps of the run."""
        if not self._first or time.perf_counter() - self._told < PERIOD:
            return
        self._told, tally = time.perf_counter(), self.tally()
        share = min(1.0, (self._slot + 1) / self._videos)
        loss = tally.loss_sum / tally.clips if tally.clips and self._facts["phase"] == "train" else None
        self._post({"kind": "progress", **self._facts, "share": share, "step": step, "loss": loss, **tally.rates})

    def tally(self) -> Tally:
        """The account so far."""
        tally = self._tally
        tally.start_seconds = self._parts.start_seconds - self._start
        tally.waited = self._parts.waited - self._waited
        tally.seconds = time.perf_counter() - self._began - tally.start_seconds
        tally.loss_sum = float(torch.as_tensor(self._loss))
        tally.memory = private_bytes()
        return tally
