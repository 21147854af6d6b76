import math
from collections.abc import Callable

import numpy as np
import pytest

from training.rows import Row
from training.worker.tally import Skip, Tally, TrainingError, check_skipped, joined, private_bytes, training_metrics

MakeRow = Callable[..., Row]


def test_a_skip_is_what_an_error_row_says(make_row: MakeRow) -> None:
    row = make_row("a", 1, "val", error="empty_file")
    taken = {name: np.array([value])[0] for name, value in row.items() if not isinstance(value, np.ndarray)}
    assert Skip.of(taken) == Skip("a", "/videos/a.mp4", "val", "empty_file", "why")
    assert all(type(value) is str for value in vars(Skip.of(taken)).values())


def test_clips_are_counted_with_what_they_hold(make_row: MakeRow) -> None:
    tally = Tally()
    tally.count([make_row("a"), make_row("b", audio=False)], 1)
    tally.count([make_row("c", video=False)], 0)
    tally.count([], 2)
    assert (tally.clips, tally.with_video, tally.with_audio, tally.skipped) == (3, 2, 2, 3)


def make_tally(*figures: float) -> Tally:
    """In the order of the fields."""
    return Tally(**dict(zip(Tally.__dataclass_fields__, figures, strict=True)))  # type: ignore[arg-type]


def test_workers_are_joined_as_they_work_at_the_same_time() -> None:
    one = make_tally(6, 5, 4, 1, 3.0, 1.0, 4.0, 2.0, 7)
    other = make_tally(4, 3, 2, 2, 2.0, 3.0, 5.0, 1.0, 9)
    both = Tally(
        clips=10,
        with_video=8,
        with_audio=6,
        skipped=3,
        loss_sum=5.0,
        waited=2.0,
        seconds=5.0,
        start_seconds=2.0,
        memory=9,
    )
    assert joined([one, other]) == joined([other, one]) == both
    assert joined([one]) == one


def test_the_figures_of_an_epoch() -> None:
    assert training_metrics(make_tally(10, 8, 6, 3, 5.0, 1.0, 4.0, 2.0, 9)) == {
        "loss": 0.5,
        "clips": 10,
        "clips_with_video": 8,
        "clips_with_audio": 6,
        "skipped": 3,
        "start_seconds": 2.0,
        "memory": 9,
        "clips_per_second": 2.5,
        "data_wait_share": 0.25,
    }


def test_rates_of_no_time_are_numbers() -> None:
    assert Tally().rates == {"clips_per_second": 0.0, "data_wait_share": 0.0}


def test_an_epoch_without_a_clip_fails() -> None:
    with pytest.raises(TrainingError, match="no training video could be used; 3 were skipped") as caught:
        training_metrics(Tally(seconds=1.0, skipped=3))
    assert caught.value.code == "no_clips"


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_fails(loss: float) -> None:
    said = r"lower training\.learning_rate in a new run \(training\.start_from\)"
    with pytest.raises(TrainingError, match=said) as caught:
        training_metrics(Tally(clips=1, loss_sum=loss, seconds=1.0))
    assert caught.value.code == "diverged"


@pytest.mark.parametrize(
    ("skipped", "videos", "share", "stops"),
    [
        (0, 4, 0.0, False),
        (1, 4, 0.0, True),
        (2, 4, 0.5, False),
        (3, 4, 0.5, True),
        (3, 7, 0.5, False),
        (4, 7, 0.5, True),
        (4, 4, 1.0, False),
    ],
)
def test_more_unusable_videos_than_allowed_end_the_run(skipped: int, videos: int, share: float, stops: bool) -> None:
    if not stops:
        check_skipped("val", skipped, videos, share)
        return
    with pytest.raises(TrainingError, match=rf"{skipped} of {videos} videos of the split val .*skipped\.csv") as caught:
        check_skipped("val", skipped, videos, share)
    assert caught.value.code == "too_many_skipped"


def test_the_memory_of_this_process_grows_with_what_it_holds() -> None:
    before = private_bytes()
    held = np.ones(64 * 1024**2, np.uint8)
    assert 0.8 * held.nbytes < private_bytes() - before < 2 * held.nbytes
