"""The figure that tells whether training still gets anywhere."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from aura_model.config import MonitorConfig
from aura_model.errors import ConfigError
from aura_model.metrics import FIGURES

WATCHED = ("loss", "val_auc", *(f"{level}.{figure}" for level in ("val", "clip") for figure in FIGURES))
"""What `training.monitor.metric` may name: figures of an epoch; `val` is by video, `clip` by clip."""


def check_metric(metric: str) -> None:
    """Refuse a figure that no epoch will have, before there is one.

    Raises:
        ConfigError: it is none of `WATCHED`.
    """
    if metric not in WATCHED:
        raise ConfigError(
            f"training.monitor.metric: {metric!r} is no figure of an epoch; there are: {', '.join(WATCHED)}"
        )


class Monitor:
    """Watches one figure of the epochs' metrics: which epoch is the best, and when to stop."""

    def __init__(self, config: MonitorConfig) -> None:
        """Watch `config.metric`."""
        self._config = config
        self.best: float | None = None
        """The best figure so far."""
        self.stale = 0
        """Epochs since the last improvement."""

    @property
    def stop(self) -> bool:
        """Whether `patience` epochs brought no improvement."""
        return self._config.patience is not None and self.stale >= self._config.patience

    def value(self, metrics: Mapping[str, Any]) -> float | None:
        """The figure in an epoch's metrics; None where it is undefined, such as an AUC of one class.

        Raises:
            ConfigError: there is no such figure; the text names those there are.
        """
        found = dict(_figures(metrics))
        if self._config.metric not in found:
            raise ConfigError(
                f"training.monitor.metric: an epoch has no figure {self._config.metric!r}; "
                f"there are: {', '.join(sorted(found))}"
            )
        return found[self._config.metric]

    def score(self, metrics: Mapping[str, Any]) -> float:
        """The figure as one that is better the higher it is; minus infinity where it is undefined.

        Raises:
            ConfigError: see `value`.
        """
        value = self.value(metrics)
        if value is None:
            return -math.inf
        return value if self._config.mode == "max" else -value

    def update(self, metrics: Mapping[str, Any]) -> bool:
        """Take an epoch's metrics in; whether the figure improved by more than `min_delta`, as the first one does.

        An epoch whose figure is undefined tells nothing: it is no epoch without an improvement.

        Raises:
            ConfigError: see `value`.
        """
        value = self.value(metrics)
        if value is None:
            return False
        improved = self._improves(value)
        self.best = value if improved else self.best
        self.stale = 0 if improved else self.stale + 1
        return improved

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on, of plain types."""
        return {"best": self.best, "stale": self.stale}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the `state` of an earlier run."""
        self.best, self.stale = state["best"], state["stale"]

    def _improves(self, value: float) -> bool:
        if self.best is None:
            return True
        gain = value - self.best if self._config.mode == "max" else self.best - value
        return gain > self._config.min_delta


def _figures(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float | None]]:
    """The dotted path and value of each number; None for one that is undefined."""
    for key, value in metrics.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _figures(value, f"{path}.")
        elif value is None:
            yield path, None
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield path, float(value) if math.isfinite(value) else None
