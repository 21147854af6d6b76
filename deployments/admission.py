"""Who may come in: a bound on the predictions at once that slow senders cannot use up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deployments.problems import ServiceError

GRACE_SECONDS = 2.0
"""A request that has not arrived in full after this time, or whose download lasts longer, gives its slot to others."""
SLOW_PER_SLOT = 2
"""So many slow requests for each slot may go on receiving without one; more keep their slots."""


class Admission:
    """Slots for predictions.

    A request takes a slot when it comes, before its body is read, and is refused at once where none is free. One that
    is slow to arrive gives the slot up after a while; when it is complete it waits for the next one that gets free,
    before any newcomer.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._free = asyncio.Semaphore(slots)
        self._slow_left = SLOW_PER_SLOT * slots

    @asynccontextmanager
    async def slot(self) -> AsyncIterator["Slot"]:
        """A slot for as long as the block runs.

        Raises:
            ServiceError: `busy`.
        """
        if self._free.locked():  # also while a slow request waits for its turn
            raise ServiceError("busy", f"{self._slots} requests are being answered already.")
        await self._free.acquire()
        slot = Slot(self)
        timer = asyncio.get_running_loop().call_later(GRACE_SECONDS, slot.lend)
        try:
            yield slot
        finally:
            timer.cancel()
            slot.leave()

    def lend(self) -> bool:
        """Take a slot back from a slow request; False where there are too many of them."""
        if not self._slow_left:
            return False
        self._slow_left -= 1
        self._free.release()
        return True

    async def take_again(self) -> None:
        """Wait for a slot, and count as slow no longer."""
        await self._free.acquire()
        self._slow_left += 1

    def leave(self, *, lent: bool) -> None:
        """A request is over."""
        if lent:
            self._slow_left += 1
        else:
            self._free.release()


class Slot:
    """That of one request."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._arrived = False
        self._lent = False

    def lend(self) -> None:
        """Give the slot up, unless the request has arrived meanwhile."""
        self._lent = not self._arrived and self._admission.lend()

    async def arrived(self) -> None:
        """The request is complete: keep the slot, or wait for one where it was given up."""
        self._arrived = True
        if self._lent:
            await self._admission.take_again()
            self._lent = False

    def leave(self) -> None:
        """The request is over, well or badly."""
        self._admission.leave(lent=self._lent)
