"""The account of one worker's pass, and what it tells meanwhile."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from aura_model.config import Config
from training.rows import Row
from training.worker import sweep as sweep_module
from training.worker.batches import Parts, prepare
from training.worker.sweep import PERIOD, Sweep
from training.worker.tally import private_bytes

MakeRow = Callable[..., Row]
FACTS = {"epoch": 2, "epochs": 5, "phase": "train"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sweep_module.time, "perf_counter", clock)
    return clock


@pytest.fixture
def posted() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def make_sweep(
    make_row: MakeRow, config: Config, clock: Clock, posted: list[dict[str, Any]]
) -> Callable[..., tuple[Sweep, Parts]]:
    """A pass over eight videos, of which this worker has three usable ones and two others, in three parts."""
    groups = [
        [make_row("a", slot=0, audio=False), make_row("b", slot=1, error="empty_file")],
        [make_row("c", slot=3), make_row("d", slot=5, video=False)],
        [make_row("e", slot=6, error="corrupt_video")],
    ]

    def build(phase: str = "train", first: bool = True) -> tuple[Sweep, Parts]:
        def source() -> Iterator[Any]:
            for group in groups:
                clock.now += 2.0  # each part lets wait
                kind = {"split": phase, "turn": 2}
                yield prepare([row | kind for row in group], config)

        parts = Parts(source())
        facts = FACTS | {"phase": phase}
        return Sweep(parts, 8, facts, lambda *events: posted.extend(events), first=first), parts

    return build


def test_a_pass_counts_clips_modalities_skips_and_loss(make_sweep: Callable[..., Any], clock: Clock) -> None:
    sweep, _ = make_sweep()
    seen = []
    for part in sweep:
        clock.now += 10.0  # the model is busy
        if part.rows:
            sweep.add_loss(torch.tensor(0.5 * len(part.rows)))
        seen.append(sweep.skipped)
    tally = sweep.tally()
    assert seen == [1, 1, 2]
    assert (tally.clips, tally.with_video, tally.with_audio, tally.skipped) == (3, 2, 2, 2)
    assert tally.loss_sum == pytest.approx(1.5)
    assert (tally.start_seconds, tally.waited, tally.seconds) == (2.0, 4.0, 34.0)
    assert 0.5 * private_bytes() < tally.memory < 2 * private_bytes()


def test_only_the_wait_of_the_pass_itself_counts(make_sweep: Callable[..., Any], clock: Clock) -> None:
    """The stream starts once in a run; what an earlier pass waited is not this one's."""
    _, parts = make_sweep()
    list(parts.of(2, "train"))
    assert (parts.start_seconds, parts.waited) == (2.0, 4.0)
    later = Sweep(parts, 8, FACTS | {"epoch": 3}, lambda *_: None, first=True)
    assert list(later) == []
    clock.now += 1.0
    tally = later.tally()
    assert (tally.start_seconds, tally.waited, tally.seconds) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("first", [True, False])
def test_every_worker_tells_of_what_it_skips(
    make_sweep: Callable[..., Any], posted: list[dict[str, Any]], first: bool
) -> None:
    sweep, _ = make_sweep(first=first)
    assert len(list(sweep)) == 3
    facts = {"kind": "skip", "split": "train", "detail": "why"}
    assert posted == [
        {"video_id": "b", "path": "/videos/b.mp4", "code": "empty_file", **facts},
        {"video_id": "e", "path": "/videos/e.mp4", "code": "corrupt_video", **facts},
    ]


def progress(posted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in posted if event["kind"] == "progress"]


@pytest.mark.parametrize(("phase", "loss"), [("train", 0.5), ("val", None)])
def test_the_first_worker_tells_how_far_it_is(
    make_sweep: Callable[..., Any], posted: list[dict[str, Any]], clock: Clock, phase: str, loss: float | None
) -> None:
    sweep, _ = make_sweep(phase)
    for part in sweep:
        clock.now += 10.0
        sweep.add_loss(torch.tensor(0.5 * len(part.rows)))
        sweep.tell(17)
    told = progress(posted)
    assert [event["share"] for event in told] == [2 / 8, 6 / 8, 7 / 8]
    facts = FACTS | {"kind": "progress", "phase": phase, "step": 17, "loss": loss}
    assert all({name: event[name] for name in facts} == facts for event in told)
    assert told[1]["clips_per_second"] == pytest.approx(3 / 22)
    assert told[1]["data_wait_share"] == pytest.approx(2 / 22)


def test_the_others_are_silent(make_sweep: Callable[..., Any], posted: list[dict[str, Any]], clock: Clock) -> None:
    sweep, _ = make_sweep(first=False)
    for _ in sweep:
        clock.now += 10.0
        sweep.tell(1)
    assert progress(posted) == []


def test_progress_is_not_told_too_often(
    make_sweep: Callable[..., Any], posted: list[dict[str, Any]], clock: Clock
) -> None:
    sweep, _ = make_sweep()
    told = []
    for seconds in (0.6 * PERIOD, 0.6 * PERIOD, 0.6 * PERIOD, PERIOD):
        clock.now += seconds
        sweep.tell(1)
        told.append(len(progress(posted)))
    assert told == [0, 1, 1, 2]


def test_progress_before_any_clip_has_no_loss(
    make_sweep: Callable[..., Any], posted: list[dict[str, Any]], clock: Clock
) -> None:
    sweep, _ = make_sweep()
    clock.now += 1.0
    sweep.tell(0)
    (event,) = progress(posted)
    assert (event["loss"], event["clips_per_second"], event["data_wait_share"]) == (None, 0.0, 0.0)
