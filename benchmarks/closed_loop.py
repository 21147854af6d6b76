"""A closed-loop load: so many clients, each of which sends its next request when it has its answer."""

import asyncio
import time
from collections.abc import Callable
from itertools import count

from open_loop import Reply, ask


async def closed_loop(
    port: int,
    message: Callable[[int], bytes],
    clients: int,
    *,
    requests: int | None = None,
    seconds: float = float("inf"),
    patience: float = 120.0,
) -> list[Reply]:
    """Keep `clients` requests in flight until so many have been sent, or for so long, and wait for every reply.

    Args:
        port: where the service listens on 127.0.0.1.
        message: the whole HTTP request with this number, counted from 0.
        clients: how many requests are in flight.
        requests: how many are sent; None: as many as the time allows.
        seconds: for how long requests are sent.
        patience: seconds after which a request counts as unanswered.

    Returns:
        The replies in the order in which they came.
    """
    start, numbers, replies = time.perf_counter(), count(), list[Reply]()

    async def client() -> None:
        """Ask until it is time to stop."""
        while (sent := time.perf_counter() - start) < seconds:
            number = next(numbers)
            if requests is not None and number >= requests:
                return
            replies.append(await ask(port, message(number), start, sent, patience))

    await asyncio.gather(*(client() for _ in range(clients)))
    return replies
