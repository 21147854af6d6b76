"""What tests see of metrics and of the log."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from loguru import logger

Series = dict[tuple[str, ...], list[float]]


class Recorder:
    """Stands in for a metric, and keeps what it is told: for each value of its label a list."""

    made: dict[str, "Recorder"] = {}

    def __init__(
        self, name: str, description: str, tag_keys: tuple[str] | None, boundaries: list[float] | None = None
    ) -> None:
        self.keys = tag_keys or ()
        self.boundaries = boundaries
        self.series: Series = {}
        self.made[name] = self

    def record(self, value: float, tags: Mapping[str, str]) -> None:
        assert tags.keys() == set(self.keys)
        self.series.setdefault(tuple(tags.values()), []).append(value)

    observe = set = record

    def inc(self, value: float = 1.0, *, tags: Mapping[str, str]) -> None:
        assert value > 0
        self.record(value, tags)

    def changes(self) -> list[float]:
        """The values of a metric without a label, without those that were told again."""
        told = self.series[()]
        return [value for at, value in enumerate(told) if at == 0 or value != told[at - 1]]

    def totals(self) -> dict[str, float]:
        return {"".join(label): sum(values) for label, values in self.series.items()}


@contextmanager
def lines() -> Iterator[list[dict[str, Any]]]:
    """The message, the level and the fields of each line in the log, from TRACE up, while the block runs."""
    seen: list[dict[str, Any]] = []

    def keep(message: Any) -> None:
        record = message.record
        seen.append({"message": record["message"], "level": record["level"].name, **record["extra"]})

    sink = logger.add(keep, level="TRACE")
    try:
        yield seen
    finally:
        logger.remove(sink)
