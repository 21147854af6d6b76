import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.team import step_weight


@given(counts=st.lists(st.integers(0, 64), min_size=1, max_size=8).filter(any), data=st.data())
def test_weighted_worker_means_average_to_the_mean_over_all_clips(counts: list[int], data: st.DataObject) -> None:
    """Data-parallel training averages the workers' gradients; the weights make that the mean over the global batch."""
    means = [data.draw(st.floats(-10, 10)) for _ in counts]
    weights = [step_weight(counts, rank) for rank in range(len(counts))]
    averaged = sum(weight * mean for weight, mean in zip(weights, means, strict=True) if weight is not None) / len(
        counts
    )
    overall = sum(count * mean for count, mean in zip(counts, means, strict=True)) / sum(counts)
    assert averaged == pytest.approx(overall, abs=1e-9)


@pytest.mark.parametrize("counts", [[0], [0, 0, 0]])
def test_an_epoch_is_over_when_no_worker_has_a_clip_left(counts: list[int]) -> None:
    assert [step_weight(counts, rank) for rank in range(len(counts))] == [None] * len(counts)


def test_a_worker_without_clips_does_not_count() -> None:
    assert [step_weight([0, 3, 3], rank) for rank in range(3)] == [0.0, 1.5, 1.5]


def test_equal_shares_need_no_weight() -> None:
    assert [step_weight([8, 8, 8], rank) for rank in range(3)] == [1.0, 1.0, 1.0]
