import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.team import step_weight


@given(counts=st.lists(st.integers(1, 64), min_size=1, max_size=8), data=st.data())
def test_weighted_worker_means_average_to_the_mean_over_all_clips(counts: list[int], data: st.DataObject) -> None:
    """Data-parallel training averages the workers' gradients; the weights make that the mean over the global batch."""
    means = [data.draw(st.floats(-10, 10)) for _ in counts]
    weights = [step_weight(counts, rank) for rank in range(len(counts))]
    averaged = sum(weight * mean for weight, mean in zip(weights, means, strict=True) if weight is not None) / len(
        counts
    )
    overall = sum(count * mean for count, mean in zip(counts, means, strict=True)) / sum(counts)
    assert averaged == pytest.approx(overall, abs=1e-9)


@pytest.mark.parametrize("counts", [[0], [3, 0], [0, 0, 0], [0, 5, 5]])
def test_an_epoch_is_over_for_all_when_one_worker_has_nothing_left(counts: list[int]) -> None:
    assert [step_weight(counts, rank) for rank in range(len(counts))] == [None] * len(counts)


def test_equal_shares_need_no_weight() -> None:
    assert [step_weight([8, 8, 8], rank) for rank in range(3)] == [1.0, 1.0, 1.0]
