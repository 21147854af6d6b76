"""Media in, clips out: the decode children of one replica."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ray import serve
from ray.serve.exceptions import RayServeException

from aura_model.clips import Clips
from aura_model.config import Config
from aura_model.errors import AuraError, ConfigError, DecoderError, MediaError
from aura_model.logging import get_logger, setup_logging
from aura_model.sandbox import Sandbox
from deployments.cpus import available_cpus
from deployments.crashes import Crashes, crashed_before, digest_of
from deployments.decoders import Decoders
from deployments.messages import UNKNOWN, Cropped, Failed, Settings, Trace
from deployments.metrics import CAUSES, CropperMetrics
from deployments.problems import ServiceError
from deployments.versions import read_settings

Source = Path | npt.NDArray[np.uint8]
TELL_SECONDS = 2.0
"""The answer to a file that crashed a child waits for so long until all croppers know the file."""


@dataclass(frozen=True, eq=False)
class File:
    """One file to crop."""

    source: Source
    began: float
    end: float
    trace: Trace


class FaceCropper:
    """The Serve deployment that opens untrusted media, each file in a child process that can be killed."""

    def __init__(self, config: Config) -> None:
        setup_logging(config.logging)
        self._config = config
        children = config.serving.decode_children or available_cpus()
        # Its own threads, one for each child: Ray Serve's pool also runs health checks.
        self._threads = ThreadPoolExecutor(children, thread_name_prefix="crop")
        self._decoders = Decoders(children, config.serving.deadline_seconds)
        self._crashes = Crashes(config.serving.crash_memory_seconds)
        self._metrics = CropperMetrics()
        self._is_warm = False

    async def check_health(self) -> None:
        """Always healthy.

        A new replica gets requests once this has returned, so the first call waits until the children for the service's
        own settings are warm, or cannot be had.
        """
        if not self._is_warm:
            await asyncio.wait([self._decoders.opening(self._config)])
            self._is_warm = True

    async def prepare(self, settings: Settings) -> bool | Failed:
        """Have children for these settings, those of the loaded model.

        Returns:
            Whether they have loaded their networks, or why they cannot.
        """
        try:
            opening = self._decoders.opening(read_settings(settings))
        except AuraError as error:
            return Failed.of(error)
        if not opening.done():
            return False
        sandbox = opening.result()
        return Failed.of(sandbox) if isinstance(sandbox, ConfigError) else True

    async def crop(
        self, source: Source, settings: Settings, seconds: float, trace: Trace = UNKNOWN
    ) -> Cropped | Failed:
        """The clips of one file, prepared as `settings` say. A bad file is an answer, not a crash.

        Args:
            source: a path on this node, or the file's bytes `[N]`.
            settings: those of the loaded model.
            seconds: time left, waiting included.
            trace: the request, for the log.
        """
        began = time.monotonic()
        file = File(source, began, began + seconds, trace)
        try:
            opening = self._decoders.opening(read_settings(settings))
            if await self._is_remembered(file):
                return Failed.of(crashed_before())
            sandbox = await asyncio.shield(opening)
        except AuraError as error:
            return Failed.of(error)
        if isinstance(sandbox, ConfigError):
            return Failed.of(sandbox)
        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._threads, self._crop, sandbox, file, loop)
        return Failed.of(outcome) if isinstance(outcome, AuraError) else Cropped(outcome, settings.fit)

    async def remember_crash(self, digest: str) -> None:
        """Another replica met a file that crashes the decoder."""
        self._crashes.add(digest)

    def __del__(self) -> None:
        """Ray Serve calls this when the replica stops; the children of a replica that was killed end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._decoders.close()

    async def _is_remembered(self, file: File) -> bool:
        """Whether this file crashed a child lately. It is read for that only where any file did."""
        if not self._crashes or await asyncio.to_thread(digest_of, file.source) not in self._crashes:
            return False
        self._metrics.remembered()
        get_logger(__name__).bind(**file.trace.fields()).warning("a file that crashed the decoder before was refused")
        return True

    def _crop(self, sandbox: Sandbox, file: File, loop: asyncio.AbstractEventLoop) -> Clips | AuraError:
        """Crop and leave a line in the log; also where nobody waits for the outcome any more."""
        with get_logger(__name__).contextualize(**file.trace.fields()):
            outcome = _load(sandbox, file)
            _log(outcome)
            if isinstance(outcome, MediaError):
                self._metrics.failed(outcome.code)
                if outcome.code == "decode_crashed":
                    self._remember(file.source, loop)
        return outcome

    def _remember(self, source: Source, loop: asyncio.AbstractEventLoop) -> None:
        self._crashes.add(digest := digest_of(source))
        if not self._crashes:  # switched off
            return
        telling = asyncio.run_coroutine_threadsafe(_tell_all(digest), loop)
        try:
            telling.result(TELL_SECONDS)
        except Exception as error:  # noqa: BLE001 - the others find out by themselves, at the price of a child each
            telling.cancel()
            get_logger(__name__).bind(error=type(error).__name__).warning("not all croppers know of a crash")


async def _tell_all(digest: str) -> None:
    """Tell every replica of this deployment about a file that crashes the decoder."""
    try:
        context = serve.get_replica_context()
    except RayServeException:  # there are no others outside Ray Serve
        return
    handle = serve.get_deployment_handle(context.deployment, context.app_name)
    await handle.broadcast("remember_crash", digest).results_async(timeout_s=TELL_SECONDS)


def _load(sandbox: Sandbox, file: File) -> Clips | AuraError:
    now, source = time.monotonic(), file.source
    if now >= file.end:
        return ServiceError("deadline_exceeded", "No decoder became free in time.")
    try:
        clips = sandbox.load_clips(source if isinstance(source, Path) else source.data, seconds=file.end - now)
    except AuraError as error:
        return error
    return replace(clips, timings={"queue": now - file.began, **clips.timings})


def _log(outcome: Clips | AuraError) -> None:
    """A file that the decoder did not come through is a warning; other outcomes are for whoever looks closely."""
    logger = get_logger(__name__)
    if isinstance(outcome, Clips):
        logger.bind(clips=len(outcome.clips), timings=_milliseconds(outcome.timings)).debug("cropped")
    elif outcome.code in CAUSES or isinstance(outcome, DecoderError):
        logger.bind(code=outcome.code, detail=outcome.detail).warning("decoding failed")
    else:
        logger.bind(code=outcome.code, detail=outcome.detail).debug("refused")


def _milliseconds(timings: Mapping[str, float]) -> dict[str, float]:
    return {stage: round(1000 * seconds, 1) for stage, seconds in timings.items()}
