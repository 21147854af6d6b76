import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aura_model.config import Device
from training.plan import EXTRACTOR_MEMORY, WORKERS_PER_CPU, PlanError, WorkerPlan, plan_extractors, plan_workers

GIB = 1024**3


def total_cpus(plan: WorkerPlan) -> float:
    return plan.workers * plan.resources_per_worker["CPU"] + plan.extractors.actors * plan.extractors.cpus


@given(
    workers=st.integers(1, 200),
    cpus=st.floats(0.5, 512),
    memory=st.floats(0.1 * GIB, 4096 * GIB),
)
def test_any_number_of_cpu_workers_fits_beside_the_extraction(workers: int, cpus: float, memory: float) -> None:
    assume(workers <= WORKERS_PER_CPU * cpus)
    plan = plan_workers(workers, "cpu", {"CPU": cpus, "memory": memory})
    assert plan.workers == workers
    assert total_cpus(plan) <= cpus + 1e-6 or plan.resources_per_worker["CPU"] == 0.001
    assert plan.extractors.actors >= 1
    assert plan.extractors.cpus > 0
    assert plan.extractors.actors * plan.extractors.memory <= memory


@pytest.mark.parametrize(
    ("workers", "cpus", "per_worker", "warned"),
    [(1, 2, 1.0, False), (2, 2, 0.75, True), (8, 2, 0.187, True), (8, 16, 1.0, False), (1, 1, 0.75, True)],
)
def test_workers_share_what_cpus_there_are(workers: int, cpus: int, per_worker: float, warned: bool) -> None:
    plan = plan_workers(workers, "auto", {"CPU": cpus, "memory": 16 * GIB})
    assert plan.resources_per_worker == {"CPU": per_worker}
    assert not plan.use_gpu
    assert [f"{workers} workers share {cpus} CPUs" in warning for warning in plan.warnings] == [True] * warned


@pytest.mark.parametrize(
    ("memory", "actors"), [(64 * GIB, 12), (4 * EXTRACTOR_MEMORY, 4), (0.5 * EXTRACTOR_MEMORY, 1), (0, 1)]
)
def test_extraction_takes_the_cpus_that_are_left_as_memory_allows(memory: float, actors: int) -> None:
    plan = plan_workers(4, "cpu", {"CPU": 16, "memory": memory})
    assert plan.extractors.actors == actors
    assert plan.extractors.memory <= EXTRACTOR_MEMORY


@pytest.mark.parametrize(
    ("device", "gpus", "use_gpu"), [("auto", 8, True), ("cuda", 9, True), ("cpu", 8, False), ("auto", 0, False)]
)
def test_each_worker_gets_a_gpu_where_there_are_enough(device: Device, gpus: int, use_gpu: bool) -> None:
    plan = plan_workers(8, device, {"CPU": 64, "GPU": gpus, "memory": 512 * GIB})
    assert plan.use_gpu is use_gpu
    assert plan.resources_per_worker.get("GPU", 0) == (1 if use_gpu else 0)
    assert plan.warnings == ()


@pytest.mark.parametrize(
    ("device", "gpus", "said"),
    [
        ("cuda", 0, "8 workers need 8 GPUs, and the cluster has 0; use --device cpu"),
        ("cuda", 3, "the cluster has 3; use --num-workers 3 or --device cpu"),
        ("auto", 7, "the cluster has 7; use --num-workers 7 or --device cpu"),
        ("cuda", 0.5, "the cluster has 0.5; use --device cpu"),
    ],
)
def test_too_few_gpus_are_refused_with_what_to_do(device: Device, gpus: float, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan_workers(8, device, {"CPU": 64, "GPU": gpus})
    assert caught.value.code == "gpus_missing"
    assert caught.value.detail.endswith(said)


@pytest.mark.parametrize("resources", [{}, {"CPU": 0.0}, {"GPU": 8.0}])
def test_a_cluster_without_cpus_is_refused(resources: dict[str, float]) -> None:
    with pytest.raises(PlanError) as caught:
        plan_workers(1, "auto", resources)
    assert caught.value.code == "cpus_missing"


@pytest.mark.parametrize(("workers", "cpus"), [(17, 1), (1000, 2), (10**9, 64)])
def test_far_too_many_workers_are_refused(workers: int, cpus: int) -> None:
    with pytest.raises(PlanError, match=f"use at most {16 * cpus}$") as error:
        plan_workers(workers, "cpu", {"CPU": cpus, "memory": 16 * GIB})
    assert error.value.code == "cpus_missing"


PLENTY = 64 * EXTRACTOR_MEMORY


@pytest.mark.parametrize(
    ("cpus", "memory", "asked", "actors", "share"),
    [
        (8.0, PLENTY, None, 8, 1.0),
        (2.5, PLENTY, None, 2, 1.0),
        (0.5, PLENTY, None, 1, 0.5),
        (8.0, 3 * EXTRACTOR_MEMORY, None, 3, 1.0),
        (8.0, 0, None, 1, 1.0),
        (8.0, PLENTY, 2, 2, 1.0),
        (2.0, PLENTY, 3, 3, 0.666),
    ],
)
def test_extractors_fit_what_they_are_given(
    cpus: float, memory: float, asked: int | None, actors: int, share: float
) -> None:
    plan = plan_extractors(cpus, memory, asked)
    assert (plan.actors, plan.cpus) == (actors, share)
    assert plan.actors * plan.cpus <= cpus
    assert plan.actors * plan.memory <= memory
    assert plan.memory <= EXTRACTOR_MEMORY


@pytest.mark.parametrize(
    ("cpus", "asked", "said"), [(0.0, None, "no CPU"), (2.0, 0, "1 to 32"), (2.0, 33, "1 to 32"), (2.0, -1, "1 to 32")]
)
def test_an_impossible_number_of_extractors_is_refused(cpus: float, asked: int | None, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        plan_extractors(cpus, PLENTY, asked)
