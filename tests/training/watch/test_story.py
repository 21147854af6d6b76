from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from training.watch.story import SKIPS_TOLD, Story, epoch_line, progress_line, skip_line

SKIPS = Path("runs/[one]/skipped.csv")


def epoch(number: int = 2, **change: Any) -> dict[str, Any]:
    figures = {"loss": 0.61234, "clips_per_second": 12.34, "data_wait_share": 0.256, "skipped": 0, "val_skipped": 0}
    scores = {"val_auc": 0.98765, "val": {"undefined": {}}}
    return {"kind": "epoch", "epoch": number, "epochs": 20, "step": 10 * number, **figures, **scores, **change}


def progress(number: int = 2, phase: str = "train", share: float = 0.5, **change: Any) -> dict[str, Any]:
    figures = {"step": 15, "loss": 0.7, "clips_per_second": 12.34, "data_wait_share": 0.05}
    return {"kind": "progress", "epoch": number, "epochs": 20, "phase": phase, "share": share, **figures, **change}


def skip(video: str = "a", split: str = "train", **change: Any) -> dict[str, Any]:
    reason = {"code": "empty_file", "detail": "no bytes"}
    return {"kind": "skip", "video_id": video, "path": f"{video}.mp4", "split": split, **reason, **change}


def restart(after: int) -> dict[str, Any]:
    return {"kind": "restart", "epoch": after}


def plain(line: str) -> str:
    return Text.from_markup(line).plain


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def story(clock: Clock) -> Story:
    return Story(SKIPS, [], clock)


def tell(story: Story, *events: dict[str, Any]) -> list[str]:
    return [plain(line) for event in events for line in story.hear(event)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "epoch 2/20  loss 0.6123  validation AUC 0.9877  12.3 clips/s  waiting for data 26%"),
        ({"val_auc": None, "val": {"undefined": {"auc": "no real samples"}}}, "validation AUC none (no real samples)"),
        ({"skipped": 1, "val_skipped": 2}, "  skipped 3"),
        ({"loss": None}, "loss unknown"),
    ],
)
def test_an_epoch_is_told_in_a_line(change: dict[str, Any], said: str) -> None:
    assert said in plain(epoch_line(epoch(**change), 20))


def test_nothing_skipped_is_not_mentioned() -> None:
    assert "skipped" not in epoch_line(epoch(), 20)


@pytest.mark.parametrize(("phase", "word"), [("train", "training"), ("val", "validation")])
def test_progress_is_told_in_a_line(phase: str, word: str) -> None:
    assert progress_line(progress(phase=phase), "0:01:00 left") == (
        f"epoch 2/20, {word} 50%  step 15  loss 0.7000  12.3 clips/s  waiting for data 5%  0:01:00 left"
    )


@pytest.mark.parametrize(
    ("path", "detail", "said"),
    [
        ("a.mp4", "no bytes", "  skipped a.mp4: empty_file, no bytes"),
        ("[red]a[/].mp4", "[/]", "  skipped [red]a[/].mp4: empty_file, [/]"),
        ("a\\", "b", "  skipped a\\: empty_file, b"),
        ("a\x1b[2J\n.mp4", "x\ny", "  skipped a\\x1b[2J\\n.mp4: empty_file, x\\ny"),
        ("\u202e4pm.a", "\udcff", "  skipped \\u202e4pm.a: empty_file, \\udcff"),
    ],
)
def test_text_from_outside_is_one_harmless_line(path: str, detail: str, said: str) -> None:
    assert plain(skip_line(skip(path=path, detail=detail))) == said


def test_a_skipped_video_is_told_once_a_split(story: Story) -> None:
    again = [skip("a"), skip("b"), skip("a", code="decode_timeout"), skip("a", "val"), skip("b")]
    assert tell(story, *again) == [
        "  skipped a.mp4: empty_file, no bytes",
        "  skipped b.mp4: empty_file, no bytes",
        "  skipped a.mp4: empty_file, no bytes",
    ]
    assert len(story.skipped) == 3
    assert story.end() == []


def test_after_many_skipped_videos_only_their_place_is_told(story: Story) -> None:
    lines = tell(story, *(skip(str(n)) for n in range(SKIPS_TOLD + 10)))
    assert len(lines) == SKIPS_TOLD + 1
    assert lines[-2].startswith(f"  skipped {SKIPS_TOLD - 1}.mp4")
    assert lines[-1] == f"  skipped more than {SKIPS_TOLD} videos: from here on see {SKIPS}"
    assert [plain(line) for line in story.end()] == [f"skipped {SKIPS_TOLD + 10} videos: see {SKIPS}"]


def test_as_many_as_have_a_line_need_no_other(story: Story) -> None:
    assert len(tell(story, *(skip(str(n)) for n in range(SKIPS_TOLD)))) == SKIPS_TOLD
    assert story.end() == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([], 0, []),
        ([], 3, ["going on after epoch 3"]),
        ([progress(1)], 0, ["workers restarted; beginning with epoch 1 again"]),
        ([progress(4)], 3, ["workers restarted; going on after epoch 3"]),
    ],
)
def test_a_restart_is_told_where_it_is_one(
    story: Story, before: list[dict[str, Any]], after: int, said: list[str]
) -> None:
    tell(story, *before)
    assert tell(story, restart(after)) == said


def test_an_epoch_that_workers_repeat_before_they_go_on_is_not_told_again(story: Story) -> None:
    assert len(tell(story, progress(1), epoch(1), progress(2))) == 1
    assert tell(story, epoch(1), restart(1)) == ["workers restarted; going on after epoch 1"]
    assert len(tell(story, progress(2), epoch(2))) == 1


def test_an_epoch_that_is_trained_again_is_told_again(story: Story) -> None:
    tell(story, progress(1), epoch(1), progress(2), epoch(2), epoch(1), restart(1))
    assert len(tell(story, progress(2), epoch(2))) == 1


def test_a_resumed_run_tells_its_last_epoch_only_where_it_is_news(clock: Clock) -> None:
    events = epoch(2), restart(2)
    assert tell(Story(SKIPS, [epoch(1), epoch(2), epoch(3)], clock), *events) == ["going on after epoch 2"]
    assert [line[:10] for line in tell(Story(SKIPS, [], clock), *events)] == ["epoch 2/20", "going on a"]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], "no AUC yet"),
        ([epoch(1, val_auc=0.7)], "AUC 0.7000 (best 0.7000)"),
        ([epoch(1, val_auc=0.7), epoch(2, val_auc=0.9), epoch(3, val_auc=0.8)], "AUC 0.8000 (best 0.9000)"),
        ([epoch(1, val_auc=0.7), epoch(2, val_auc=0.9), restart(1)], "AUC 0.7000 (best 0.7000)"),
        ([epoch(1, val_auc=0.7), epoch(2, val_auc=0.9), epoch(1, val_auc=0.6)], "AUC 0.6000 (best 0.6000)"),
        ([epoch(1, val_auc=None, val={"undefined": {"auc": "no"}})], "AUC unknown"),
        ([epoch(1), epoch(2, val_auc=None, val={"undefined": {"auc": "no"}})], "AUC unknown (best 0.9877)"),
    ],
)
def test_the_last_and_the_best_auc_are_known(story: Story, events: list[dict[str, Any]], said: str) -> None:
    tell(story, *events)
    assert story.auc() == said


def test_a_resumed_run_knows_the_best_auc_of_its_earlier_epochs(clock: Clock) -> None:
    story = Story(SKIPS, [epoch(1, val_auc=0.9), epoch(2, val_auc=0.8)], clock)
    assert story.auc() == "AUC 0.8000 (best 0.9000)"


def test_the_time_left_is_unknown_at_first_and_nothing_in_the_end(story: Story, clock: Clock) -> None:
    assert story.left() == "time left unknown"
    tell(story, progress(19, share=0.0))
    assert story.left() == "time left unknown"
    clock.now += 3000
    tell(story, progress(19, "val", 0.0))
    clock.now += 600
    tell(story, epoch(19))
    assert story.left() == "1:00:00 left"
    clock.now += 1500
    tell(story, progress(20))
    assert story.left() == "0:35:00 left"
    tell(story, epoch(20))
    assert story.left() == "0:00:00 left"


def test_an_epoch_that_was_broken_off_tells_nothing_of_the_time_left(story: Story, clock: Clock) -> None:
    tell(story, progress(1, share=0.0))
    clock.now += 100
    tell(story, epoch(1), progress(2, share=0.1))
    clock.now += 5000
    tell(story, epoch(1), restart(1))
    assert story.left() == "0:31:40 left"


def test_validation_keeps_the_loss_of_training(story: Story) -> None:
    tell(story, progress(loss=0.4), progress(phase="val", loss=None))
    assert story.progress is not None
    assert story.progress["loss"] == 0.4
    tell(story, epoch(2), progress(3, phase="val", loss=None))
    assert story.progress["loss"] is None


def test_kinds_that_are_not_known_are_passed_over(story: Story) -> None:
    assert tell(story, {"kind": "news"}) == []


def test_a_run_that_had_stopped_early_says_so_when_it_is_resumed(clock: Clock) -> None:
    stopped = epoch(2, stop=True, monitor={"best": 0.9, "stale": 3})
    assert tell(Story(SKIPS, [stopped], clock), stopped) == [
        "stopped early: 3 epochs without an improvement (training.monitor.patience)"
    ]


def test_a_run_that_stops_early_says_so(story: Story) -> None:
    said = tell(story, epoch(1), epoch(2, stop=True, monitor={"best": 0.9, "stale": 3}))
    assert said[-1] == "stopped early: 3 epochs without an improvement (training.monitor.patience)"
    assert len(said) == 3
    assert len(tell(story, epoch(20, stop=True, monitor={"best": 0.9, "stale": 3}))) == 1  # the last one anyway
