from collections import Counter

import pytest

from training.data.splits import SPLITS, Shares, split_by_hash


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.0, 0.5, 0.5)])
def test_shares_are_met(shares: Shares) -> None:
    counts = Counter(split_by_hash(f"person {number}", shares) for number in range(4000))
    assert [counts[split] / 4000 for split in SPLITS] == pytest.approx(shares, abs=0.03)


@pytest.mark.parametrize("shares", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_a_split_without_a_share_gets_nothing(shares: Shares) -> None:
    found = {split_by_hash(str(number), shares) for number in range(1000)}
    assert found == {SPLITS[shares.index(1.0)]}


def test_rounding_leaves_no_gap_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.splits.derive_seed", lambda *_: 2**64 - 1)
    assert split_by_hash("last", (0.7, 0.3 - 1e-12, 0.0)) == "train"


def test_the_split_of_a_name_stays_for_ever() -> None:
    names = ["Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "日本", ""]
    found = [split_by_hash(name, (0.5, 0.25, 0.25)) for name in names]
    assert found == ["train", "test", "train", "test", "val", "train", "train", "train"]


def test_more_training_data_moves_nobody_out_of_training() -> None:
    names = [str(number) for number in range(500)]
    before = {name for name in names if split_by_hash(name, (0.6, 0.2, 0.2)) == "train"}
    after = {name for name in names if split_by_hash(name, (0.8, 0.1, 0.1)) == "train"}
    assert before < after
