"""Clips in, scores out: the model on a GPU where there is one, batched across requests."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from ray import serve

from aura_model.clips import Clip, Clips
from aura_model.config import CheckpointChoice, Config
from aura_model.errors import AuraError, ConfigError
from aura_model.explanation import explain
from aura_model.logging import get_logger, setup_logging
from aura_model.scores import ClipScore
from aura_model.stopwatch import Stopwatch
from deployments.loading import Candidate, Loaded, LoadingModel
from deployments.messages import UNKNOWN, Cropped, Failed, ModelStatus, Scored, Settings, Trace, Unfit
from deployments.metrics import DetectorMetrics
from deployments.versions import understood

BATCH_WAIT_SECONDS = 0.005
"""How long a batch waits for company; small beside the decoding of a video."""


class UserConfig(BaseModel):
    """The `user_config` of the Detector in a Serve configuration: what can change while it runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: CheckpointChoice
    """As `inference.checkpoint`."""


def user_config_of(config: Config) -> dict[str, Any]:
    """The `user_config` that stands for the configuration: what holds again once a Serve configuration names none."""
    return UserConfig(checkpoint=config.inference.checkpoint).model_dump(mode="json")


@dataclass(frozen=True, eq=False)
class Job:
    """The clips of one file, the model that they fit, and the request that they belong to."""

    clips: Clips
    model: Loaded
    trace: Trace


class Detector:
    """The Serve deployment that owns the model."""

    def __init__(self, config: Config) -> None:
        setup_logging(config.logging)
        self._config = config
        self._model = LoadingModel(_candidate(config, config.inference.checkpoint), config.serving.deadline_seconds)
        self._user_config: Any = user_config_of(config)
        self._metrics = DetectorMetrics()
        self._forward = ThreadPoolExecutor(1, thread_name_prefix="forward")
        self._watch = Watch(config.serving.deadline_seconds)
        self._enqueue = serve.batch(
            max_batch_size=max_batch_clips(config),
            batch_wait_timeout_s=BATCH_WAIT_SECONDS,
            batch_size_fn=count_clips,
        )(self._score_batch)

    def reconfigure(self, user_config: Any) -> None:
        """Serve another checkpoint: Ray Serve calls this at the start and where only the `user_config` has changed.

        The model loads in the background. A bad one changes nothing but `ModelStatus.update_failed`: this must not
        raise, for then Ray Serve would end the replica with the model that works.
        """
        if user_config == self._user_config:  # Ray Serve also calls when replicas are counted anew
            return
        self._user_config = user_config
        try:
            checkpoint = UserConfig.model_validate(user_config).checkpoint
        except ValidationError as error:
            detail = (
                f"the Detector's user_config must be {{checkpoint: PATH, default or null}}: {error.errors()[0]['msg']}"
            )
            self._model.choose(Candidate(None, partial(_refuse, detail)))
        else:
            self._model.choose(_candidate(self._config, checkpoint))

    async def status(self) -> ModelStatus:
        """How far the model is; never waits for it."""
        status = self._model.status()
        if status.model:
            self._metrics.serves(status.model.version)
        return status

    async def score(self, cropped: Cropped | Failed, trace: Trace = UNKNOWN) -> Scored | Failed | Unfit:
        """Score the clips of one file. An error of the stage before, and a missing model, are answers, not crashes.

        Raises:
            Exception: what the model raised for this very file.
        """
        if isinstance(cropped, Failed):
            return cropped
        try:
            loaded = self._model.get(understood(cropped).fit)
        except AuraError as error:
            return Failed.of(error)
        if loaded is None:
            return self._unfit(trace)
        return await self._score(Job(cropped.clips, loaded, trace))

    async def _score(self, job: Job) -> Scored:
        stopwatch = Stopwatch()
        logger = get_logger(__name__).bind(**job.trace.fields(), clips=len(job.clips.clips))
        scores = await self._enqueue(job) if job.clips.clips else ()
        stopwatch.lap("score")
        if isinstance(scores, Exception):
            logger.bind(error=type(scores).__name__).error("a file could not be scored")
            raise scores
        heatmaps = None
        if job.trace.explain:
            heatmaps = await asyncio.to_thread(explain, job.clips, scores, job.model.config.dataset.face)
            stopwatch.lap("explain")
        timings = stopwatch.seconds
        logger.bind(timings={stage: round(1000 * seconds, 1) for stage, seconds in timings.items()}).debug("scored")
        bare = tuple(score.without_heatmap() for score in scores)
        return Scored(job.clips.without_samples(), bare, job.model.info, timings, heatmaps=heatmaps)

    def _unfit(self, trace: Trace) -> Unfit:
        settings = self._model.status().settings
        assert isinstance(settings, Settings)  # there is a model, or `get` had raised
        get_logger(__name__).bind(**trace.fields(), fit=settings.fit).info("the clips were prepared for another model")
        return Unfit(settings)

    async def check_health(self) -> None:
        """Ray Serve restarts the replica where this raises: a forward pass that hangs, or a broken CUDA context.

        A new replica gets requests once this has returned, so the first call waits until the model is there, or cannot
        be had.
        """
        await self._model.wait()
        self._watch.check()

    async def _score_batch(self, batch: list[Job]) -> list[Sequence[ClipScore] | Exception]:
        loop = asyncio.get_running_loop()
        with self._watch.batch():
            results = await loop.run_in_executor(self._forward, score_jobs, batch)
        self._watch.see(results)
        return results


def _candidate(config: Config, checkpoint: CheckpointChoice) -> Candidate:
    inference = config.inference.model_copy(update={"checkpoint": checkpoint})
    return Candidate(inference.checkpoint_file, partial(_load, config.model_copy(update={"inference": inference})))


def _load(config: Config) -> Loaded:
    # Imported here, in the loading thread: torch takes seconds, and the replica answers meanwhile.
    from deployments.served_model import load

    return load(config)


def _refuse(detail: str) -> Loaded:
    raise ConfigError(detail)


def score_jobs(batch: Sequence[Job]) -> list[Sequence[ClipScore] | Exception]:
    """As `score_files`, for each model by itself; each line of the log says for which requests."""
    with get_logger(__name__).contextualize(request_ids=[job.trace.request_id for job in batch]):
        runs = groupby(batch, key=lambda job: job.model)
        return [result for model, jobs in runs for result in score_files(model, [job.clips for job in jobs])]


def score_files(model: Loaded, batch: Sequence[Clips]) -> list[Sequence[ClipScore] | Exception]:
    """Score the clips of several files in one go; where that fails, file by file, so that a bad one fails alone.

    Returns:
        For each file the scores of its clips, in order, or what the model raised.
    """
    scores = _try_score(model, [clip for clips in batch for clip in clips.clips])
    if isinstance(scores, Exception):
        return [scores] if len(batch) == 1 else [_try_score(model, clips.clips) for clips in batch]
    ends = np.cumsum([len(clips.clips) for clips in batch]).tolist()
    return [scores[end - len(clips.clips) : end] for clips, end in zip(batch, ends, strict=True)]


def count_clips(batch: Sequence[Job]) -> int:
    """The size of a batch, which is bounded in clips and not in files."""
    return sum(len(job.clips.clips) for job in batch)


def max_batch_clips(config: Config) -> int:
    """The bound of a batch: one forward pass, or one file where that has more clips."""
    return max(config.inference.batch_clips, config.dataset.video.max_clips)


class Watch:
    """Notices that the model's process is beyond help."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began: float | None = None
        self._broken = ""

    @contextmanager
    def batch(self) -> Iterator[None]:
        """A batch is being computed while the block runs."""
        self._began = time.monotonic()
        try:
            yield
        finally:
            self._began = None

    def see(self, results: Sequence[Sequence[ClipScore] | Exception]) -> None:
        """Look at how a batch went. After an error on the device a CUDA context answers no call any more."""
        import torch  # loaded long since, by the model

        broken = next((result for result in results if isinstance(result, torch.AcceleratorError)), None)
        self._broken = str(broken) if broken else self._broken

    def check(self) -> None:
        """Raise RuntimeError where a batch runs for longer than a request may, or the device is broken."""
        if self._broken:
            raise RuntimeError(f"the device is broken: {self._broken}")
        if self._began is not None and time.monotonic() - self._began > self._seconds:
            raise RuntimeError(f"a batch has been running for more than {self._seconds:g} s")


def _try_score(model: Loaded, clips: Sequence[Clip]) -> Sequence[ClipScore] | Exception:
    try:
        return model.score(clips)
    except Exception as error:  # noqa: BLE001 - the caller tells one file's failure from another's
        get_logger(__name__).opt(exception=error).error("a batch failed")
        return error
