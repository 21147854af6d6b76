"""Who is told how a run goes, and two ways to keep one listener's trouble away from the run."""

import queue
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any, Protocol

from aura_model.redaction import redact_text

Event = Mapping[str, Any]
"""What workers post: a plain mapping with a `kind`; see `training.watch.board.Board`."""
Warn = Callable[[str], None]


class Listener(Protocol):
    """Who is told of a run's events, in order."""

    def hear(self, event: Event) -> None:
        """Take one event."""
        ...

    def close(self) -> None:
        """Finish: nothing is heard after this."""
        ...


class Guarded:
    """A listener whose failures end nothing: the first one is told, the later ones are not."""

    def __init__(self, listener: Listener, name: str, warn: Warn) -> None:
        """Guard `listener`, which a warning calls `name`."""
        self._listener, self._name, self._warn = listener, name, warn
        self._failed = False

    def hear(self, event: Event) -> None:
        """Pass an event on."""
        self._guard(lambda: self._listener.hear(event))

    def close(self) -> None:
        """Close the listener."""
        self._guard(self._listener.close)

    def _guard(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - foreign services and disks end here; training goes on
            if not self._failed:
                cause = redact_text(f"{type(error).__name__}: {error}")
                self._warn(f"{self._name} failed, and the run goes on without what it misses: {cause}")
            self._failed = True


class Background:
    """A listener that works in a thread of its own, so that a slow service holds nobody up."""

    def __init__(self, listener: Listener, name: str, warn: Warn, patience: float = 30.0) -> None:
        """Work off events in the background.

        Args:
            listener: who hears them; it must not raise.
            name: what a warning calls it.
            warn: is told when `close` gives up.
            patience: seconds that `close` waits for what is left.
        """
        self._listener, self._name, self._warn, self._patience = listener, name, warn, patience
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        # A service that never answers must not keep the process alive: hence a daemon.
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def hear(self, event: Event) -> None:
        """Note one event; returns at once."""
        self._events.put(event)

    def close(self) -> None:
        """Wait, with patience, until all events are worked off and the listener is closed."""
        self._events.put(None)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._warn(f"{self._name} did not take everything within {self._patience:g} seconds")

    def _work(self) -> None:
        while (event := self._events.get()) is not None:
            self._listener.hear(event)
        self._listener.close()
