import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aura_model.config import Device
from training.plan import EXTRACTOR_MEMORY, WORKERS_PER_CPU, PlanError
from training.prediction.plan import SCORER_MEMORY, ScoringPlan, plan_scoring

GIB = 1024**3


def total_cpus(plan: ScoringPlan) -> float:
    return plan.scorers.actors * plan.scorers.cpus + plan.extractors.actors * plan.extractors.cpus


@given(
    cpus=st.floats(0.5, 512),
    gpus=st.integers(0, 64),
    memory=st.floats(0.1 * GIB, 4096 * GIB),
    extractors=st.none() | st.integers(1, 64),
)
def test_both_pools_fit_into_any_cluster(cpus: float, gpus: int, memory: float, extractors: int | None) -> None:
    assume(extractors is None or extractors <= WORKERS_PER_CPU * cpus / 2)
    plan = plan_scoring({"CPU": cpus, "GPU": gpus, "memory": memory}, "auto", extractors)
    smallest = 0.001 in (plan.scorers.cpus, plan.extractors.cpus)
    assert total_cpus(plan) <= cpus + 1e-6 or smallest
    assert plan.scorers.actors * plan.scorers.memory + plan.extractors.actors * plan.extractors.memory <= memory + 1
    for pool in (plan.scorers, plan.extractors):
        assert pool.actors >= 1
        assert 0 < pool.cpus <= 1
    assert plan.scorers.gpus == min(gpus, 1)
    assert gpus in (0, plan.scorers.actors)


@pytest.mark.parametrize(
    ("cpus", "scorers", "scorer_cpus", "extractors", "extractor_cpus"),
    [
        (1, 1, 0.5, 1, 0.5),
        (2, 1, 1.0, 1, 1.0),
        (3, 1, 1.0, 2, 1.0),
        (8, 4, 1.0, 4, 1.0),
        (16, 8, 1.0, 8, 1.0),
    ],
)
def test_without_a_gpu_half_of_the_cpus_score(
    cpus: int, scorers: int, scorer_cpus: float, extractors: int, extractor_cpus: float
) -> None:
    plan = plan_scoring({"CPU": cpus, "memory": 256 * GIB}, "auto")
    assert (plan.scorers.actors, plan.scorers.cpus) == (scorers, scorer_cpus)
    assert (plan.extractors.actors, plan.extractors.cpus) == (extractors, extractor_cpus)
    assert plan.scorers.device == "cpu"


@pytest.mark.parametrize(
    ("device", "gpus", "actors", "used"), [("auto", 8, 8, "cuda"), ("cuda", 1, 1, "cuda"), ("cpu", 8, 16, "cpu")]
)
def test_each_gpu_has_a_scorer(device: Device, gpus: int, actors: int, used: Device) -> None:
    plan = plan_scoring({"CPU": 32, "GPU": gpus, "memory": 256 * GIB}, device)
    assert plan.scorers.actors == actors
    assert plan.scorers.device == used
    assert plan.scorers.gpus == (used == "cuda")


@pytest.mark.parametrize(("cpus", "gpus", "extractors"), [(32, 8, 24), (4, 8, 3), (16, 1, 15)])
def test_most_cpus_extract_where_gpus_score(cpus: int, gpus: int, extractors: int) -> None:
    plan = plan_scoring({"CPU": cpus, "GPU": gpus, "memory": 256 * GIB}, "auto")
    assert plan.extractors.actors == extractors
    assert plan.extractors.cpus == 1.0


@pytest.mark.parametrize(
    ("memory", "scorers", "extractors"),
    [
        (64 * GIB, 8, 8),
        (6 * SCORER_MEMORY, 3, 2),
        (4 * SCORER_MEMORY + 5 * EXTRACTOR_MEMORY, 5, 4),
        (0.5 * GIB, 1, 1),
        (0, 1, 1),
    ],
)
def test_memory_bounds_both_pools(memory: float, scorers: int, extractors: int) -> None:
    plan = plan_scoring({"CPU": 16, "memory": memory}, "cpu")
    assert plan.scorers.actors == scorers
    assert plan.extractors.actors == extractors
    assert plan.scorers.memory <= SCORER_MEMORY
    assert plan.extractors.memory <= EXTRACTOR_MEMORY


@pytest.mark.parametrize(("asked", "cpus"), [(1, 1.0), (2, 1.0), (4, 0.5), (16, 0.125)])
def test_extractors_that_are_asked_for_share_what_is_left(asked: int, cpus: float) -> None:
    plan = plan_scoring({"CPU": 4, "memory": 256 * GIB}, "cpu", asked)
    assert (plan.extractors.actors, plan.extractors.cpus) == (asked, cpus)


@pytest.mark.parametrize(
    ("device", "resources", "extractors", "code", "said"),
    [
        ("cuda", {"CPU": 8.0}, None, "gpus_missing", "the cluster has 0 GPUs; use --device cpu"),
        ("cuda", {"CPU": 8.0, "GPU": 0.5}, None, "gpus_missing", "the cluster has 0.5 GPUs; use --device cpu"),
        ("auto", {}, None, "cpus_missing", "the cluster has no CPU to cut clips out with"),
        ("auto", {"GPU": 8.0}, None, "cpus_missing", "the cluster has no CPU to cut clips out with"),
        (
            "cpu",
            {"CPU": 4.0, "memory": 64.0 * GIB},
            33,
            "cpus_missing",
            "33 extraction actors on 2 CPUs: use 1 to 32",
        ),
    ],
)
def test_what_cannot_be_held_is_refused_with_what_to_do(
    device: Device, resources: dict[str, float], extractors: int | None, code: str, said: str
) -> None:
    with pytest.raises(PlanError) as caught:
        plan_scoring(resources, device, extractors)
    assert caught.value.code == code
    assert caught.value.detail.endswith(said)
