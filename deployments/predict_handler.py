"""`POST /predict` from the request to the analysis, within the service's bounds."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from starlette.requests import Request

from aura_model.analysis import analyse
from aura_model.config import Config
from aura_model.errors import AuraError
from aura_model.logging import get_logger, log_inference_event
from aura_model.reply import Analysis
from deployments.access import Access
from deployments.admission import Admission, Slot
from deployments.health import HealthMonitor
from deployments.messages import Backend, Scored, Trace
from deployments.metrics import IngressMetrics
from deployments.problems import ServiceError
from deployments.request_ids import trace_of
from deployments.uploads import as_array, receive_media, wants_heatmaps

if TYPE_CHECKING:
    from loguru import Logger


class PredictHandler:
    """Answers requests within the service's bounds: whose, how many at once, and how long each."""

    def __init__(
        self,
        config: Config,
        backend: Backend,
        monitor: HealthMonitor,
        access: Access,
        metrics: IngressMetrics,
        *,
        open_to_others: bool,
    ) -> None:
        self._config = config
        self._open_to_others = open_to_others
        self._access = access
        self._backend = backend
        self._monitor = monitor
        self._metrics = metrics
        self._admission = Admission(config.serving.max_in_flight)
        self._logger = get_logger(__name__)

    async def predict(self, request: Request) -> Analysis:
        """Answer one request and leave one line in the log, whatever happens.

        Raises:
            AuraError: with a code of `problems.PROBLEMS`.
        """
        log = RequestLog(trace_of(request))
        try:
            log.caller = self._access.admit(request)
            log.trace = replace(log.trace, explain=wants_heatmaps(request))
            analysis = await self._bounded(request, log)
        except AuraError as error:
            log.status = error.code
            raise
        except Exception as error:  # noqa: BLE001 - the client gets a problem, the log the trace
            self._logger.opt(exception=error).error("a request failed")
            log.status = "internal"
            raise ServiceError("internal", "The service made a mistake; the log has the trace.") from None
        else:
            log.answered(analysis)
            self._metrics.answered(analysis.timings)
            return analysis
        finally:
            log.write(self._logger)
            self._metrics.ended(log.status, log.seconds())

    async def _bounded(self, request: Request, log: "RequestLog") -> Analysis:
        self._monitor.require_ready()
        seconds = self._config.serving.deadline_seconds
        try:
            async with self._admission.slot() as slot, asyncio.timeout(seconds):
                with self._metrics.working():
                    return await self._analyse(request, log, slot)
        except TimeoutError:
            raise ServiceError("deadline_exceeded", f"The request was not answered within {seconds:g} s.") from None

    async def _analyse(self, request: Request, log: "RequestLog", slot: Slot) -> Analysis:
        async with receive_media(request, self._config, open_to_others=self._open_to_others) as media:
            fetched = log.seconds()
            await slot.arrived()
            log.filename, log.size = media.name, media.size
            if media.name is None:  # from a URL
                self._metrics.fetched(media.size)
            scored = await self._backend.predict(as_array(media.spool), self._seconds_left(log), log.trace)
        return self._report(scored, fetched, log)

    def _seconds_left(self, log: "RequestLog") -> float:
        return max(self._config.serving.deadline_seconds - log.seconds(), 0.0)

    def _report(self, scored: Scored, fetched: float, log: "RequestLog") -> Analysis:
        timings = {"fetch": fetched, **scored.timings, "total": log.seconds()}
        return analyse(
            scored.clips,
            scored.scores,
            scored.model,
            self._config,
            timings,
            request_id=log.trace.request_id,
            heatmaps=scored.heatmaps,
        )


@dataclass
class RequestLog:
    """What the log says about one request; filled in on the way."""

    trace: Trace
    caller: str | None = None
    """The name of the API key."""
    filename: str | None = None
    size: int = 0
    model_version: str = ""
    fake_probability: float | None = None
    timings: Mapping[str, float] | None = None
    """Milliseconds per stage."""
    status: str = "cancelled"
    started: float = field(default_factory=time.perf_counter)

    def seconds(self) -> float:
        """Since the request came."""
        return time.perf_counter() - self.started

    def answered(self, analysis: Analysis) -> None:
        """The request ends with this answer."""
        self.status = analysis.verdict
        self.fake_probability = analysis.fake_probability
        self.model_version = analysis.model.version
        self.timings = analysis.timings

    def write(self, logger: "Logger") -> None:
        """Write the line."""
        more = {"caller": self.caller, "timings": self.timings}
        log_inference_event(
            logger.bind(**{name: value for name, value in more.items() if value is not None}),
            self.trace.request_id,
            self.filename,
            self.size,
            self.model_version,
            self.fake_probability,
            round(1000 * self.seconds(), 1),
            self.status,
        )
