"""How often each caller may ask: a token bucket for each."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class Rates:
    """A limit on the requests of each caller, counted in this process.

    A bucket holds a minute's worth: a caller who was quiet may send that many at once, and then as many as the limit
    lets through. Refused requests take nothing out. There is one bucket for each caller that was ever let in; who
    calls must come from a known set.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: dict[str | None, _Bucket] = {}

    def take(self, caller: str | None) -> int:
        """Let one request in.

        Returns:
            0, or the seconds, rounded up, after which the caller's next request will be let in.
        """
        bucket = self._filled(caller)
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return 0
        return max(1, math.ceil((1 - bucket.tokens) * 60 / self._per_minute))

    def _filled(self, caller: str | None) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(caller, _Bucket(self._per_minute, now))
        gained = (now - bucket.filled_at) * self._per_minute / 60
        bucket.tokens = min(self._per_minute, bucket.tokens + gained)
        bucket.filled_at = now
        return bucket
