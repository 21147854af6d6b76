"""Media in, clips out: the decode children of one replica."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from aura_model.clips import Clips
from aura_model.config import Config
from aura_model.errors import AuraError, MediaError
from aura_model.logging import get_logger, setup_logging
from aura_model.sandbox import Sandbox
from deployments.cpus import available_cpus
from deployments.messages import UNKNOWN, Trace
from deployments.problems import ServiceError

Source = Path | npt.NDArray[np.uint8]
FAILURES = {"decode_crashed", "decode_timeout", "decode_out_of_memory"}
"""Codes of files that a decode child did not come through, rather than refused."""
WARM_UP_SIDE = 64
"""Pixels of the picture that warms a child up."""


class FaceCropper:
    """The Serve deployment that opens untrusted media, each file in a child process that can be killed."""

    def __init__(self, config: Config) -> None:
        setup_logging(config.logging)
        self._children = config.serving.decode_children or available_cpus()
        # Its own threads, one for each child: Ray Serve's pool also runs health checks.
        self._threads = ThreadPoolExecutor(self._children, thread_name_prefix="crop")
        self._opened: tuple[Config, asyncio.Task[Sandbox | AuraError]] | None = None

    async def prepare(self, config: Config) -> bool | AuraError:
        """Have children for this configuration, that of the loaded model.

        Returns:
            Whether they have loaded their networks, or why they cannot.
        """
        opening = self._opening(config)
        if not opening.done():
            return False
        sandbox = opening.result()
        return sandbox if isinstance(sandbox, AuraError) else True

    async def crop(self, source: Source, config: Config, seconds: float, trace: Trace = UNKNOWN) -> Clips | AuraError:
        """The clips of one file, prepared as `config` says. A bad file is an answer, not a crash.

        Args:
            source: a path on this node, or the file's bytes `[N]`.
            config: the settings that go with the loaded model.
            seconds: time left, waiting included.
            trace: the request, for the log.
        """
        began = time.monotonic()
        sandbox = await asyncio.shield(self._opening(config))
        if isinstance(sandbox, AuraError):
            return sandbox
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _crop, sandbox, source, began, began + seconds, trace)

    def __del__(self) -> None:
        """Ray Serve calls this when the replica stops; the children of a replica that was killed end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._opened is not None:
            _close(self._opened[1])

    def _opening(self, config: Config) -> "asyncio.Task[Sandbox | AuraError]":
        """The children for this configuration, warm or warming; where it changed, the old children go."""
        if self._opened is not None and (self._opened[0] != config or _crashed(self._opened[1])):
            get_logger(__name__).info("new settings, or the decode children did not start: new children")
            self._opened[1].add_done_callback(lambda old: self._threads.submit(_close, old))
            self._opened = None
        if self._opened is None:
            self._opened = config, asyncio.create_task(self._open(config))
        return self._opened[1]

    async def _open(self, config: Config) -> Sandbox | AuraError:
        sandbox = await asyncio.to_thread(Sandbox, config, self._children)
        loop = asyncio.get_running_loop()
        try:
            await asyncio.gather(
                *(loop.run_in_executor(self._threads, _warm_up, sandbox) for _ in range(self._children))
            )
        except AuraError as error:
            self._threads.submit(sandbox.close)
            return error
        return sandbox


def _crop(sandbox: Sandbox, source: Source, began: float, end: float, trace: Trace) -> Clips | AuraError:
    """Crop and leave a line in the log; also where nobody waits for the outcome any more."""
    with get_logger(__name__).contextualize(**trace.fields()):
        outcome = _load(sandbox, source, began, end)
        _log(outcome)
    return outcome


def _load(sandbox: Sandbox, source: Source, began: float, end: float) -> Clips | AuraError:
    now = time.monotonic()
    if now >= end:
        return ServiceError("deadline_exceeded", "No decoder became free in time.")
    try:
        clips = sandbox.load_clips(source if isinstance(source, Path) else source.data, seconds=end - now)
    except MediaError as error:
        return error
    return replace(clips, timings={"queue": now - began, **clips.timings})


def _log(outcome: Clips | AuraError) -> None:
    """A file that the decoder did not come through is a warning; other outcomes are for whoever looks closely."""
    logger = get_logger(__name__)
    if isinstance(outcome, Clips):
        logger.bind(clips=len(outcome.clips), timings=_milliseconds(outcome.timings)).debug("cropped")
    elif outcome.code in FAILURES:
        logger.bind(code=outcome.code, detail=outcome.detail).warning("decoding failed")
    else:
        logger.bind(code=outcome.code, detail=outcome.detail).debug("refused")


def _milliseconds(timings: Mapping[str, float]) -> dict[str, float]:
    return {stage: round(1000 * seconds, 1) for stage, seconds in timings.items()}


def _warm_up(sandbox: Sandbox) -> None:
    """Wait for a child's networks. All children are warm when as many calls as there are children ran at once."""
    picture = np.zeros((WARM_UP_SIDE, WARM_UP_SIDE, 3), np.uint8)
    sandbox.load_clips(cv2.imencode(".png", picture)[1].tobytes())


def _close(opening: "asyncio.Task[Sandbox | AuraError]") -> None:
    if opening.done() and not _crashed(opening) and isinstance(sandbox := opening.result(), Sandbox):
        sandbox.close()


def _crashed(opening: "asyncio.Task[Sandbox | AuraError]") -> bool:
    return opening.done() and (opening.cancelled() or opening.exception() is not None)
