"""How many actors extract clips where nothing else runs on the cluster."""

from collections.abc import Mapping
from math import floor

from training.plan import EXTRACTOR_MEMORY, WORKERS_PER_CPU, ExtractorPlan, PlanError


def plan_extractors(cluster_resources: Mapping[str, float], actors: int | None = None) -> ExtractorPlan:
    """Give the whole cluster to extraction.

    Args:
        cluster_resources: as `ray.cluster_resources()` gives them: CPU counts, memory in bytes.
        actors: how many; None means one per CPU, as far as memory goes.

    Raises:
        PlanError: no CPU at all, or a number of actors that is not 1 to 16 per CPU.
    """
    cpus, memory = cluster_resources.get("CPU", 0.0), cluster_resources.get("memory", 0.0)
    if cpus <= 0:
        raise PlanError("cpus_missing", "the cluster has no CPU to extract clips with")
    most = floor(cpus * WORKERS_PER_CPU)
    if actors is not None and not 1 <= actors <= most:
        raise PlanError("cpus_missing", f"{actors} extraction actors on {cpus:g} CPUs: use 1 to {most}")
    count = actors or max(1, min(floor(cpus), floor(memory / EXTRACTOR_MEMORY)))
    share = floor(min(1.0, cpus / count) * 1000) / 1000  # Ray counts in ten-thousandths; rounded up, they would not fit
    return ExtractorPlan(count, share, int(min(EXTRACTOR_MEMORY, memory / count)))
