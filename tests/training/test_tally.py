import math

import pytest

from training.tally import Skip, Tally, TrainingError, all_skips, training_metrics


def skip(video_id: str, code: str = "corrupt_video") -> Skip:
    return Skip(video_id, f"{video_id}.mp4", code, "why")


def test_an_epoch_is_summed_over_workers() -> None:
    tallies = [
        Tally(steps=2, clips=6, loss_sum=3.0, waited=1.0, seconds=4.0),
        Tally(steps=2, clips=4, loss_sum=2.0, waited=3.0, seconds=5.0, skipped=[skip("b")]),
    ]
    metrics = training_metrics(tallies)
    assert metrics["loss"] == pytest.approx(0.5)
    assert (metrics["steps"], metrics["clips"], metrics["clips_per_second"]) == (2, 10, 2.0)
    assert metrics["data_wait_share"] == pytest.approx(4 / 9)
    assert metrics["skipped"] == [
        {"video_id": "b", "path": "b.mp4", "code": "corrupt_video", "detail": "why"},
    ]


def test_a_video_is_skipped_once_however_often_it_came() -> None:
    tallies = [Tally(skipped=[skip("b"), skip("a")]), Tally(skipped=[skip("b")])]
    assert [one.video_id for one in all_skips(tallies)] == ["a", "b"]


def test_an_epoch_without_a_step_fails_with_the_causes() -> None:
    skips = [skip("a"), skip("b", "empty_file"), skip("c")]
    with pytest.raises(TrainingError, match=r"3 were skipped \(corrupt_video, empty_file\)") as caught:
        training_metrics([Tally(seconds=1.0, skipped=skips[:2]), Tally(seconds=1.0, skipped=skips[2:])])
    assert caught.value.code == "no_clips"


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_fails(loss: float) -> None:
    with pytest.raises(TrainingError, match=r"training\.learning_rate") as caught:
        training_metrics([Tally(steps=1, clips=1, loss_sum=loss, seconds=1.0)])
    assert caught.value.code == "diverged"
