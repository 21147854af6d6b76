"""How the cluster's CPUs and GPUs are shared between clip extraction and the model that scores the clips."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor

from aura_model.config import Device
from training.plan import ExtractorPlan, PlanError, cpu_share, plan_extractors

CPU_SHARE = 0.5
"""Of the CPUs, for the model where it runs on them: a clip costs about as much to score as to cut out."""
GPU_CPU_SHARE = 0.25
"""The most of the CPUs that feeding the GPUs may take."""
SCORER_MEMORY = 1024**3
"""Bytes that one actor with the model is taken to need."""


@dataclass(frozen=True)
class ScorerPlan:
    """The actor pool that holds the model."""

    actors: int
    cpus: float
    """Logical CPUs per actor."""
    gpus: int
    """Per actor: 1 or 0."""
    memory: int
    """Bytes reserved per actor."""

    @property
    def device(self) -> Device:
        """Where the actors compute."""
        return "cuda" if self.gpus else "cpu"


@dataclass(frozen=True)
class ScoringPlan:
    """What a pass over videos may take of the cluster."""

    extractors: ExtractorPlan
    scorers: ScorerPlan


def plan_scoring(cluster_resources: Mapping[str, float], device: Device, extractors: int | None = None) -> ScoringPlan:
    """Share the cluster between extraction and scoring: a scorer per GPU, or half of the CPUs where there is none.

    Args:
        cluster_resources: as `ray.cluster_resources()` gives them: CPU and GPU counts, memory in bytes.
        device: `auto` takes GPUs where the cluster has any.
        extractors: how many actors cut clips out; None means one for each CPU that is left.

    Raises:
        PlanError: no GPU where GPUs are asked for, no CPU at all, or far too many extractors.
    """
    cpus, memory = cluster_resources.get("CPU", 0.0), cluster_resources.get("memory", 0.0)
    if cpus <= 0:
        raise PlanError("cpus_missing", "the cluster has no CPU to cut clips out with")
    gpus = _gpus(device, cluster_resources.get("GPU", 0.0))
    scorers = _plan_gpu_scorers(gpus, cpus, memory) if gpus else _plan_cpu_scorers(cpus, memory)
    left = cpus - scorers.actors * scorers.cpus
    return ScoringPlan(plan_extractors(left, memory - scorers.actors * scorers.memory, extractors), scorers)


def _gpus(device: Device, gpus: float) -> int:
    if device == "cuda" and gpus < 1:
        raise PlanError("gpus_missing", f"cuda is asked for, and the cluster has {gpus:g} GPUs; use --device cpu")
    return 0 if device == "cpu" else floor(gpus)


def _plan_gpu_scorers(gpus: int, cpus: float, memory: float) -> ScorerPlan:
    return ScorerPlan(gpus, cpu_share(cpus * GPU_CPU_SHARE, gpus), 1, _bytes(SCORER_MEMORY, memory / 2, gpus))


def _plan_cpu_scorers(cpus: float, memory: float) -> ScorerPlan:
    actors = _count(cpus * CPU_SHARE, memory / 2, SCORER_MEMORY)
    return ScorerPlan(actors, cpu_share(cpus * CPU_SHARE, actors), 0, _bytes(SCORER_MEMORY, memory / 2, actors))


def _count(cpus: float, memory: float, each: int) -> int:
    """As many actors of one CPU and `each` bytes as fit, at least one."""
    return max(1, min(floor(cpus), floor(memory / each)))


def _bytes(need: int, memory: float, actors: int) -> int:
    return int(min(need, memory / actors))
