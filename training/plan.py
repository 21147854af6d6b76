"""How the cluster's CPUs and GPUs are shared between the training workers and the clip extraction."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor

from aura_model.config import Device
from aura_model.errors import AuraError

DATA_SHARE = 0.25
"""The least share of the CPUs that stays with Ray Data; with none, the workers would wait for clips for ever."""
WORKERS_PER_CPU = 16
"""More workers than this are refused: each is a process of about half a gigabyte."""
EXTRACTOR_MEMORY = 1536 * 1024**2
"""Bytes that one extraction actor with its decode child is taken to need."""


class PlanError(AuraError):
    """No cluster, or one that cannot hold the workers; `code` is cluster_unreachable, gpus_missing or cpus_missing."""


@dataclass(frozen=True)
class ExtractorPlan:
    """The actor pool that turns videos into clips."""

    actors: int
    cpus: float
    """Logical CPUs per actor."""
    memory: int
    """Bytes reserved per actor."""


@dataclass(frozen=True)
class WorkerPlan:
    """What Ray Train and Ray Data may take."""

    workers: int
    use_gpu: bool
    resources_per_worker: Mapping[str, float]
    extractors: ExtractorPlan
    warnings: tuple[str, ...]


def plan_workers(num_workers: int, device: Device, cluster_resources: Mapping[str, float]) -> WorkerPlan:
    """Share the cluster between `num_workers` training workers and the clip extraction.

    On CPU more workers than CPUs get fractions of one, with a warning. A GPU is never shared.

    Args:
        num_workers: the Ray Train workers asked for.
        device: `auto` takes GPUs where the cluster has any.
        cluster_resources: as `ray.cluster_resources()` gives them: CPU and GPU counts, memory in bytes.

    Raises:
        PlanError: fewer GPUs than workers where GPUs are asked for, no CPU at all, or far too many workers.
    """
    cpus, gpus = cluster_resources.get("CPU", 0.0), cluster_resources.get("GPU", 0.0)
    use_gpu = _wants_gpu(num_workers, device, gpus)
    if cpus <= 0:
        raise PlanError("cpus_missing", "the cluster has no CPU for the workers")
    if num_workers > cpus * WORKERS_PER_CPU:
        most = floor(cpus * WORKERS_PER_CPU)
        raise PlanError("cpus_missing", f"{num_workers} workers on {cpus:g} CPUs are too many; use at most {most}")
    per_worker = cpu_share(cpus * (1 - DATA_SHARE), num_workers)
    resources = {"CPU": per_worker} | ({"GPU": 1.0} if use_gpu else {})
    extractors = plan_extractors(cpus - num_workers * per_worker, cluster_resources.get("memory", 0.0))
    return WorkerPlan(num_workers, use_gpu, resources, extractors, _warnings(num_workers, per_worker, cpus, use_gpu))


def plan_extractors(cpus: float, memory: float, asked: int | None = None) -> ExtractorPlan:
    """An actor pool within these CPUs and bytes: one actor for each CPU, as far as the memory goes, or as `asked`.

    Raises:
        PlanError: no CPU at all, or a number of actors that is not 1 to 16 for each CPU.
    """
    if cpus <= 0:
        raise PlanError("cpus_missing", "the cluster has no CPU to cut clips out with")
    most = max(1, floor(cpus * WORKERS_PER_CPU))
    if asked is not None and not 1 <= asked <= most:
        raise PlanError("cpus_missing", f"{asked} extraction actors on {cpus:g} CPUs: use 1 to {most}")
    actors = asked or max(1, min(floor(cpus), floor(memory / EXTRACTOR_MEMORY)))
    return ExtractorPlan(actors, cpu_share(cpus, actors), int(min(EXTRACTOR_MEMORY, memory / actors)))


def cpu_share(cpus: float, actors: int) -> float:
    """CPUs for each actor, at most one; rounded down, since Ray counts in ten-thousandths and the sum must fit."""
    return max(floor(min(1.0, cpus / actors) * 1000) / 1000, 0.001)


def _wants_gpu(num_workers: int, device: Device, gpus: float) -> bool:
    if device == "cpu" or (device == "auto" and gpus < 1):
        return False
    if gpus < num_workers:
        fewer = f"--num-workers {gpus:.0f} or " if gpus >= 1 else ""
        detail = f"{num_workers} workers need {num_workers} GPUs, and the cluster has {gpus:g}; use {fewer}--device cpu"
        raise PlanError("gpus_missing", detail)
    return True


def _warnings(num_workers: int, per_worker: float, cpus: float, use_gpu: bool) -> tuple[str, ...]:
    if per_worker >= 1 or (use_gpu and per_worker >= 0.5):
        return ()
    return (f"{num_workers} workers share {cpus:g} CPUs, {per_worker:g} each: this works, but it is not faster",)
