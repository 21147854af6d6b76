"""What the service counts for Prometheus, through Ray Serve. Each label takes its values from a fixed set."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

from ray.serve.metrics import Counter, Gauge, Histogram

from aura_model.reply import Verdict
from deployments.problems import PROBLEMS

OTHER = "other"
"""What a label says for a value outside its set: a number of series that a caller could raise is none of ours."""
REJECTIONS = frozenset({"busy", "model_not_ready", "rate_limited", "unauthorized"})
"""Outcomes of requests that were turned away before any of their body was read."""
STAGES = ("fetch", "queue", "open", "decode", "faces", "sound", "score", "explain", "total")
CAUSES: Mapping[str, str] = {
    "decode_crashed": "crash",
    "decode_out_of_memory": "memory",
    "decode_timeout": "timeout",
}
"""Codes of files that a decode child did not come through, and what the metric calls them."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0)
"""Bounds of the buckets: from a stage of a still picture to the deadline of a request. Videos take 0.1 to 30 s."""


@dataclass(frozen=True)
class Metric:
    """One metric as Prometheus sees it, but for the `ray_` that Ray puts in front of its name."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    label: str | None = None
    values: frozenset[str] | None = None
    """What the label may say; None: versions of models that were loaded."""

    @property
    def keys(self) -> tuple[str] | None:
        """The label, as Ray wants it."""
        return (self.label,) if self.label else None

    def tags(self, value: str | None) -> dict[str, str]:
        """The label with a value of its set."""
        if self.label is None or value is None:
            return {}
        return {self.label: value if self.values is None or value in self.values else OTHER}


REQUESTS = Metric(
    "aura_requests_total",
    "counter",
    "Requests for a prediction that ended, by verdict, problem code, or `cancelled` where the caller left.",
    "outcome",
    frozenset({*get_args(Verdict), *PROBLEMS, "cancelled"}),
)
STAGE_SECONDS = Metric(
    "aura_stage_seconds",
    "histogram",
    "Seconds of each stage of a request that was answered; `total`: of each request that was let in.",
    "stage",
    frozenset(STAGES),
)
IN_FLIGHT = Metric("aura_in_flight", "gauge", "Predictions that an ingress receives or works on.")
REJECTED = Metric(
    "aura_rejected_total",
    "counter",
    "Requests that were turned away before their body was read, by problem code.",
    "reason",
    REJECTIONS,
)
FETCHED = Metric("aura_fetch_bytes_total", "counter", "Bytes of media that were downloaded from URLs.")
READY = Metric("aura_ready", "gauge", "1 where `/health/ready` of an ingress says ready, else 0.")
CHILD_EXITS = Metric(
    "aura_decode_child_exits_total",
    "counter",
    "Files that a decode child did not come through, by cause.",
    "cause",
    frozenset(CAUSES.values()),
)
CRASHES_REMEMBERED = Metric(
    "aura_crashes_remembered_total",
    "counter",
    "Files that were refused because the same bytes crashed a decoder a while ago.",
)
MODEL_INFO = Metric("aura_model_info", "gauge", "1 for the version of the model that a detector serves.", "version")

METRICS = (
    REQUESTS,
    STAGE_SECONDS,
    IN_FLIGHT,
    REJECTED,
    FETCHED,
    READY,
    CHILD_EXITS,
    CRASHES_REMEMBERED,
    MODEL_INFO,
)


class IngressMetrics:
    """What an ingress counts."""

    def __init__(self) -> None:
        self._requests = _counter(REQUESTS)
        self._rejected = _counter(REJECTED)
        self._fetched = _counter(FETCHED)
        self._seconds = Histogram(
            STAGE_SECONDS.name, description=STAGE_SECONDS.help, boundaries=list(SECONDS), tag_keys=STAGE_SECONDS.keys
        )
        self._in_flight = _gauge(IN_FLIGHT)
        self._ready = _gauge(READY)
        self._working = 0

    @contextmanager
    def working(self) -> Iterator[None]:
        """A prediction is being worked on while the block runs."""
        self._work(1)
        try:
            yield
        finally:
            self._work(-1)

    def fetched(self, size: int) -> None:
        """A download of `size` bytes has arrived."""
        if size:
            self._fetched.inc(size, tags={})

    def answered(self, milliseconds: Mapping[str, float]) -> None:
        """A request was answered; its stages took this long. `ended` observes the whole of it."""
        for stage, time in milliseconds.items():
            if stage != "total":
                self._seconds.observe(time / 1000, tags=STAGE_SECONDS.tags(stage))

    def ended(self, outcome: str, seconds: float) -> None:
        """A request ended, however it did. Those that were turned away at once say nothing about the time it takes."""
        self._requests.inc(tags=REQUESTS.tags(outcome))
        if outcome in REJECTIONS:
            self._rejected.inc(tags=REJECTED.tags(outcome))
        else:
            self._seconds.observe(seconds, tags=STAGE_SECONDS.tags("total"))

    def ready(self, ready: bool) -> None:
        """Whether this ingress is ready now. Ray drops a gauge after 20 s of silence: the other is told again."""
        self._ready.set(float(ready), tags={})
        self._in_flight.set(self._working, tags={})

    def _work(self, change: int) -> None:
        self._working += change
        self._in_flight.set(self._working, tags={})


class CropperMetrics:
    """What a face cropper counts."""

    def __init__(self) -> None:
        self._exits = _counter(CHILD_EXITS)
        self._remembered = _counter(CRASHES_REMEMBERED)

    def failed(self, code: str) -> None:
        """A file was not cropped; counts where it failed a decode child rather than a check."""
        if code in CAUSES:
            self._exits.inc(tags=CHILD_EXITS.tags(CAUSES[code]))

    def remembered(self) -> None:
        """A file was refused because the same bytes crashed a decoder a while ago."""
        self._remembered.inc(tags={})


class DetectorMetrics:
    """What a detector says about its model."""

    def __init__(self) -> None:
        self._info = _gauge(MODEL_INFO)
        self._version: str | None = None

    def serves(self, version: str) -> None:
        """From now on this version of the model serves, and the last one no more."""
        if self._version not in {None, version}:
            self._info.set(0.0, tags=MODEL_INFO.tags(self._version))
        self._version = version
        self._info.set(1.0, tags=MODEL_INFO.tags(version))


def _counter(metric: Metric) -> Counter:
    return Counter(metric.name, description=metric.help, tag_keys=metric.keys)


def _gauge(metric: Metric) -> Gauge:
    return Gauge(metric.name, description=metric.help, tag_keys=metric.keys)
