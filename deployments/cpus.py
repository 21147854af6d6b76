"""How many CPUs a replica may count on."""

import os

import ray


def available_cpus() -> int:
    """The CPUs of this machine that the process may use; where Ray was started with fewer, that many; at least 1."""
    allowed = len(os.sched_getaffinity(0))
    granted = int(_node_cpus()) if ray.is_initialized() else 0
    return min(allowed, granted) if granted else allowed


def _node_cpus() -> float:
    here = ray.get_runtime_context().get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return next((node["Resources"].get("CPU", 0.0) for node in nodes if node["NodeID"] == here), 0.0)
