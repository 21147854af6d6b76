import numpy as np
import pytest
from scrutiny.clustered import auc_table, clustered_auc, draw_weights, lead, pairs_won

from aura_model.metrics import compute_auc

LABELS = [0, 1] * 60
GROUPS = [f"g{one // 4}" for one in range(120)]


def scores(shift: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 1 / (1 + np.exp(-(shift * np.array(LABELS) + rng.normal(0, 1, 120))))


def test_whole_groups_are_drawn():
    weights = draw_weights(["a", "a", "b", "c", "c"], resamples=50)
    assert weights.shape == (50, 5)
    assert np.array_equal(weights[:, 0], weights[:, 1])
    assert np.array_equal(weights[:, 3], weights[:, 4])
    assert (weights[:, 0] + weights[:, 2] + weights[:, 3] == 3).all()
    assert len(np.unique(weights, axis=0)) > 5


def test_the_draws_are_the_same_each_time():
    assert np.array_equal(draw_weights(GROUPS), draw_weights(GROUPS))
    assert not np.array_equal(draw_weights(GROUPS), draw_weights(GROUPS, seed=1))


def test_an_auc_has_an_interval_around_it():
    found = clustered_auc(LABELS, scores(1.0), GROUPS)
    assert found["value"] == pytest.approx(compute_auc(LABELS, scores(1.0)))
    assert found["low"] < found["value"] < found["high"]
    assert (found["n"], found["fakes"], found["groups"]) == (120, 60, 30)


def test_few_large_groups_are_less_sure_than_many_small_ones():
    alike = np.repeat(scores(1.0)[:12], 10)
    labels = np.repeat(LABELS[:12], 10).tolist()
    grouped = clustered_auc(labels, alike, [str(one // 10) for one in range(120)])
    single = clustered_auc(labels, alike, [str(one) for one in range(120)])
    assert grouped["high"] - grouped["low"] > 2 * (single["high"] - single["low"])


def test_too_few_groups_have_no_interval():
    found = clustered_auc(LABELS, scores(1.0), [str(one % 4) for one in range(120)])
    assert (found["low"], found["high"]) == (None, None)
    assert found["value"] is not None


def test_a_single_fake_has_no_interval():
    """A third of the resamples lack it; those that are left say nothing of the next fake."""
    labels = [1] + [0] * 29
    found = clustered_auc(labels, np.linspace(0, 1, 30), [str(one) for one in range(30)])
    assert (found["value"], found["low"], found["high"]) == (0.0, None, None)
    assert lead(labels, np.linspace(0, 1, 30), np.linspace(1, 0, 30), [str(one) for one in range(30)])["low"] is None


def test_one_class_has_no_auc():
    found = clustered_auc([0] * 20, np.linspace(0, 1, 20), [str(one) for one in range(20)])
    assert (found["value"], found["low"]) == (None, None)


class TestLead:
    def test_the_better_system_leads(self):
        found = lead(LABELS, scores(3.0), scores(0.5, seed=1), GROUPS)
        assert found["value"] == pytest.approx(
            compute_auc(LABELS, scores(3.0)) - compute_auc(LABELS, scores(0.5, seed=1))
        )
        assert 0 < found["low"] < found["value"] < found["high"]

    def test_a_system_does_not_lead_itself(self):
        assert lead(LABELS, scores(1.0), scores(1.0), GROUPS) == {"value": 0.0, "low": 0.0, "high": 0.0}

    def test_the_difference_is_surer_than_its_parts(self):
        """Both are measured on the same videos: what makes these hard is hard for both."""
        ours = scores(1.0)
        theirs = np.clip(ours + np.random.default_rng(3).normal(0, 0.02, 120), 0, 1)
        gap, alone = lead(LABELS, ours, theirs, GROUPS), clustered_auc(LABELS, ours, GROUPS)
        assert gap["high"] - gap["low"] < 0.3 * (alone["high"] - alone["low"])

    def test_one_class_has_no_lead(self):
        flat = np.full(10, 0.5)
        assert lead([1] * 10, flat, flat, [str(one) for one in range(10)])["value"] is None


@pytest.mark.parametrize(
    ("fakes", "reals", "share"),
    [([1, 1], [0, 0], 1), ([0, 1], [1, 0], 0.5), ([0.5], [0.5], 0.5), ([0, 0, 1], [1, 1, 1], 1 / 6)],
)
def test_pairs_are_won_where_the_fake_looks_more_fake(fakes, reals, share):
    assert pairs_won(np.array(fakes, float), np.array(reals, float)) == pytest.approx(share)


def test_a_table_has_each_system_on_the_chosen_videos():
    systems = {"good": scores(3.0), "constant": np.full(120, 0.5)}
    table = auc_table(systems, LABELS, GROUPS, np.arange(40))
    assert set(table) == {"good", "constant"}
    assert table["constant"]["value"] == 0.5
    assert table["good"]["n"] == 40
    assert table["good"]["value"] == pytest.approx(compute_auc(LABELS[:40], systems["good"][:40]))
