"""Extraction takes the whole cluster, and no more."""

import pytest

from training.extraction_plan import plan_extractors
from training.plan import EXTRACTOR_MEMORY, PlanError

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
def test_actors_fit_the_cluster(cpus: float, memory: float, asked: int | None, actors: int, share: float) -> None:
    plan = plan_extractors({"CPU": cpus, "memory": memory}, asked)
    assert (plan.actors, plan.cpus) == (actors, share)
    assert plan.actors * plan.cpus <= cpus
    assert plan.actors * plan.memory <= memory
    assert plan.memory <= EXTRACTOR_MEMORY


@pytest.mark.parametrize(
    ("cpus", "asked", "said"), [(0.0, None, "no CPU"), (2.0, 0, "1 to 32"), (2.0, 33, "1 to 32"), (2.0, -1, "1 to 32")]
)
def test_impossible_numbers_are_refused(cpus: float, asked: int | None, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        plan_extractors({"CPU": cpus, "memory": PLENTY}, asked)
