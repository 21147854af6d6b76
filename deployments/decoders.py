"""The decode children of one replica: a set for each of the settings that clips are asked for with."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import cv2
import numpy as np

from aura_model.config import Config
from aura_model.errors import ConfigError, DecoderError, MediaError
from aura_model.logging import get_logger
from aura_model.sandbox import Sandbox
from deployments.metrics import CAUSES

MOST = 2
"""Sets at once: for the model that serves, and for the one before or after it."""
WARM_UP_SIDE = 64
"""Pixels of the picture that warms a child up."""

Opening = asyncio.Task[Sandbox | ConfigError]
"""Children that are warm, or warming, or why they cannot be; it raises what may pass."""


@dataclass(eq=False)
class _Set:
    config: Config
    opening: Opening
    used: float

    def serves(self, config: Config) -> bool:
        """Whether these children would do the same with these settings, and have not failed to start."""
        return not _crashed(self.opening) and (self.config.dataset, self.config.limits) == (
            config.dataset,
            config.limits,
        )


class Decoders:
    """Opens, lends and closes the sets. Needs a running event loop."""

    def __init__(self, children: int, keep_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Sets of so many children each, closed when nobody has asked for them for `keep_seconds`."""
        self._children = children
        self._keep_seconds = keep_seconds
        self._clock = clock
        self._sets: list[_Set] = []  # the one that was asked for last comes first
        self._closer = ThreadPoolExecutor(1, thread_name_prefix="close-decoders")

    def opening(self, config: Config) -> Opening:
        """The children for these settings; they begin to start where there are none."""
        found = next((one for one in self._sets if one.serves(config)), None) or self._open(config)
        found.used = self._clock()
        kept = [one for one in self._sets if one is not found and not self._is_idle(one)][: MOST - 1]
        for one in self._sets:
            if one is not found and one not in kept:
                get_logger(__name__).info("decode children with other settings are closed")
                one.opening.add_done_callback(lambda opening: self._closer.submit(_close, opening))
        self._sets = [found, *kept]
        return found.opening

    def close(self) -> None:
        """End all children that have started."""
        for one in self._sets:
            _close(one.opening)
        self._closer.shutdown(wait=False)

    def _open(self, config: Config) -> _Set:
        opened = _Set(config, asyncio.create_task(asyncio.to_thread(_open, config, self._children)), self._clock())
        self._sets.append(opened)
        return opened

    def _is_idle(self, one: _Set) -> bool:
        return _crashed(one.opening) or self._clock() - one.used > self._keep_seconds


def _open(config: Config, children: int) -> Sandbox | ConfigError:
    """Children that are warm: as many calls as there are children ran at once.

    Raises:
        DecoderError: one did not start, or did not come through.
    """
    with ExitStack() as closing:
        try:
            sandbox = closing.enter_context(Sandbox(config, children))
            with ThreadPoolExecutor(children) as threads:
                list(threads.map(_warm_up, [sandbox] * children))
        except ConfigError as error:
            return error
        except DecoderError as error:
            get_logger(__name__).bind(detail=error.detail).error("the decode children did not start")
            raise
        closing.pop_all()
    return sandbox


def _warm_up(sandbox: Sandbox) -> None:
    picture = np.zeros((WARM_UP_SIDE, WARM_UP_SIDE, 3), np.uint8)
    try:
        sandbox.load_clips(cv2.imencode(".png", picture)[1].tobytes())
    except MediaError as error:
        if error.code in CAUSES:
            raise DecoderError(f"A decode child did not warm up: {error}") from None
        # The limits refuse this picture: the child has its networks, and warms up with the first file.


def _close(opening: Opening) -> None:
    if opening.done() and not _crashed(opening) and isinstance(sandbox := opening.result(), Sandbox):
        sandbox.close()


def _crashed(opening: Opening) -> bool:
    return opening.done() and (opening.cancelled() or opening.exception() is not None)
