"""The faults of `chaos.py`: what happens, under which load, and what counts as good."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from open_loop import NO_REPLY, Reply, percentile

PATIENCE = 60.0
"""Seconds after which a request counts as left waiting."""


@dataclass(frozen=True)
class Run:
    """What came of a load with one fault."""

    replies: list[Reply]
    poisonous: frozenset[int]
    """Numbers of the requests that are to fail."""
    at: float
    """When the fault happened, seconds from the start."""
    recovery: float
    """Seconds until as many processes of that kind ran as before and the service was ready."""
    killed: int
    """Decode children that ended."""

    @property
    def lost(self) -> list[Reply]:
        """Requests that were not answered as they should have been."""
        return [
            reply
            for number, reply in enumerate(self.replies)
            if reply.status != (422 if number in self.poisonous else 200)
        ]

    def seconds(self, share: float) -> float:
        """The latency that this share of the answered ones did not exceed."""
        return percentile([reply.seconds for reply in self.replies if reply.status != NO_REPLY], share)

    @property
    def silent(self) -> int:
        """Requests that were left waiting."""
        return sum(reply.status == NO_REPLY and reply.seconds >= PATIENCE for reply in self.replies)


Marks = dict[str, Callable[[Run], bool]]


def loses(most: int) -> Marks:
    """The mark of how many requests may be lost."""
    return {f"at most {most} lost": lambda run: len(run.lost) <= most}


def p(share: float, seconds: float) -> Marks:
    """The mark of a latency."""
    return {f"p{100 * share:g} < {seconds:g} s": lambda run: run.seconds(share) < seconds}


def back(seconds: float) -> Marks:
    """The mark of a recovery."""
    return {f"back in < {seconds:g} s": lambda run: run.recovery < seconds}


@dataclass(frozen=True)
class Fault:
    """A kind of fault, the load under which it happens, and what counts as good."""

    kill: str | None
    """Of which kind of process one is killed, a key of `live.TITLES`."""
    marks: Marks
    rate: float = 40.0
    seconds: float = 20.0
    args: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the application."""
    change: Mapping[str, Any] = field(default_factory=dict)
    """What is deployed instead when the fault happens."""
    ends_by: signal.Signals | None = None
    """What ends the `serve run`; CTRL-C is SIGINT."""
    is_deleted: bool = False
    """Whether the application is deleted."""
    in_serve_run: bool = False
    """Whether the service is a `serve run` of its own, with the controller's options of serve_config.yaml."""

    @property
    def is_end(self) -> bool:
        """Whether nobody takes requests afterwards: then only those that had been sent count."""
        return self.is_deleted or self.ends_by is not None


SLOW = {"score_seconds": 0.8}
"""Requests that take their time, so that many are in flight."""
SILENT: Marks = {"none left waiting": lambda run: run.silent == 0}
REMEMBERED: Marks = {
    "at most 1 process ended": lambda run: run.killed <= 1,
    "2nd and 3rd in < 50 ms": lambda run: max(run.replies[n].seconds for n in sorted(run.poisonous)[1:]) < 0.05,
}
FAULTS: dict[str, Fault] = {
    "none": Fault(None, loses(0)),
    "detector": Fault("Detector", loses(0) | p(0.99, 1.5) | back(15)),
    "cropper": Fault("FaceCropper", loses(0) | p(0.99, 1.0) | back(15)),
    "controller": Fault("controller", loses(0) | p(0.99, 1.0)),
    "ingress": Fault("Ingress", loses(6) | SILENT | p(0.95, 5.0)),
    "proxy": Fault("proxy", back(10), rate=10.0, in_serve_run=True),
    "poison": Fault(None, loses(0) | REMEMBERED, rate=20.0, args={"real_cropper": True}),
    "update": Fault(None, loses(0), 20.0, 45.0, change={"args": {"score_seconds": 0.051}}),
    "scale": Fault(None, loses(0), 8.0, 16.0, SLOW, change={"deployments": [{"name": "Detector", "num_replicas": 1}]}),
    "delete": Fault(None, loses(0), 8.0, 10.0, SLOW, is_deleted=True),
    "sigterm": Fault(None, loses(0), 8.0, 10.0, SLOW, ends_by=signal.SIGTERM, in_serve_run=True),
    "sigint": Fault(None, loses(0), 8.0, 10.0, SLOW, ends_by=signal.SIGINT, in_serve_run=True),
    "gcs": Fault("gcs", loses(0), rate=10.0, seconds=58.0),
}
"""`gcs` comes last: Ray does not outlive it for long."""
