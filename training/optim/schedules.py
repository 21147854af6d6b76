"""The learning rate: a scheduler from epoch to epoch, and a linear warm-up from step to step."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LRScheduler, ReduceLROnPlateau

from aura_model.config import TrainingConfig


class Schedule:
    """Sets the rate of an optimiser's groups.

    The warm-up multiplies the rate during a step only, so that the scheduler never sees a warmed rate and both can run
    at once.
    """

    def __init__(self, optimizer: Optimizer, config: TrainingConfig) -> None:
        """Steer `optimizer`, whose groups hold `config.learning_rate`, as `config.scheduler` and `warmup_steps` say."""
        self._optimizer = optimizer
        self._warmup = config.warmup_steps
        self.scheduler = build_scheduler(optimizer, config)

    def rate(self, steps: int) -> float:
        """The learning rate of the optimiser step after `steps` of them."""
        return self._factor(steps) * float(self._optimizer.param_groups[0]["lr"])

    @contextmanager
    def warmed(self, steps: int) -> Iterator[None]:
        """Within, the groups hold the rate of the step after `steps` of them."""
        rates = [group["lr"] for group in self._optimizer.param_groups]
        for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = self._factor(steps) * rate
        try:
            yield
        finally:
            for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
                group["lr"] = rate

    def end_epoch(self, monitored: float | None) -> None:
        """Set the rate of the next epoch; a plateau leaves it as it is where the figure is None or not a number."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            if monitored is not None and not math.isnan(monitored):
                self.scheduler.step(monitored)
        elif self.scheduler is not None:
            self.scheduler.step()

    def fits(self, state: Mapping[str, Any] | None) -> bool:
        """Whether `state` is the `state_dict` of a scheduler of this kind, None for a constant rate."""
        ours = None if self.scheduler is None else self.scheduler.state_dict().keys()
        return ours == (None if state is None else state.keys())

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on from the `state_dict` of the scheduler of an earlier run; the optimiser is restored on its own."""
        if self.scheduler is not None and state is not None:
            self.scheduler.load_state_dict(dict(state))

    def _factor(self, steps: int) -> float:
        return min(1.0, (steps + 1) / self._warmup) if self._warmup else 1.0


def build_scheduler(optimizer: Optimizer, config: TrainingConfig) -> LRScheduler | None:
    """The scheduler that `config.scheduler` names, to be stepped once an epoch; None for a constant rate."""
    settings, floor = config.scheduler, config.scheduler.floor * config.learning_rate
    match settings.name:
        case "cosine_restarts":
            return CosineAnnealingWarmRestarts(
                optimizer, T_0=settings.period, T_mult=settings.multiplier, eta_min=floor
            )
        case "plateau":
            return ReduceLROnPlateau(
                optimizer,
                mode=config.monitor.mode,
                factor=settings.factor,
                patience=settings.patience,
                threshold=config.monitor.min_delta,
                threshold_mode="abs",
                min_lr=floor,
                eps=0,
            )
        case "constant":
            return None
