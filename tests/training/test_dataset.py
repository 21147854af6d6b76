from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ray.data import DataContext

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.errors import MediaError
from training.dataset import EVALUATION, ClipExtractor, EpochExtractor, configure_ray_data, epoch_order
from training.manifest import Sample
from training.plan import ExtractorPlan
from training.rows import Row, to_rows


class FakeSource:
    """Answers with what was prepared for each path, and remembers the seeds."""

    def __init__(self, answers: dict[str, Clips | Exception]) -> None:
        self.answers = answers
        self.seeds: list[int | None] = []

    def load_clips(self, source: Path, *, seed: int | None = None) -> Clips:
        self.seeds.append(seed)
        answer = self.answers[str(source)]
        if isinstance(answer, Exception):
            raise answer
        return answer


def extract(extractor: ClipExtractor, path: str, epoch: int = EVALUATION, video_id: str = "one") -> Iterator[Row]:
    batch = {
        "video_id": np.array([video_id]),
        "path": np.array([path]),
        "label": np.array([1]),
        "epoch": np.array([epoch]),
    }
    for columns in extractor(batch):
        yield from to_rows(columns)


@pytest.fixture
def clips(make_clip: Callable[..., Clip], make_clips: Callable[..., Clips]) -> Clips:
    return make_clips(make_clip(0), make_clip(1, audio=False), make_clip(2, video=False))


def test_each_clip_is_yielded_by_itself(config: Config, clips: Clips) -> None:
    extractor = ClipExtractor(config.plain(), lambda _: FakeSource({"a.mp4": clips}))
    batch = {
        name: np.array([value]) for name, value in [("video_id", "a"), ("path", "a.mp4"), ("label", 0), ("epoch", -1)]
    }
    assert [len(columns["clip"]) for columns in extractor(batch)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (MediaError("corrupt_video", "The video stream cannot be decoded."), "corrupt_video"),
        (MediaError("decode_crashed", "The decoder ended with SIGSEGV."), "decode_crashed"),
        (FileNotFoundError(2, "No such file", "a.mp4"), "unreadable_file"),
        (PermissionError(13, "Permission denied", "a.mp4"), "unreadable_file"),
    ],
)
def test_a_bad_file_is_one_row_with_the_error(config: Config, clips: Clips, answer: Exception, code: str) -> None:
    extractor = ClipExtractor(config.plain(), lambda _: FakeSource({"a.mp4": answer, "b.mp4": clips}))
    (row,) = extract(extractor, "a.mp4")
    assert (row["error"], row["video_id"], row["path"], row["label"]) == (code, "one", "a.mp4", 1)
    assert row["detail"]
    assert [row["error"] for row in extract(extractor, "b.mp4")] == ["", "", ""]


def test_a_fault_of_the_program_is_not_blamed_on_the_file(config: Config) -> None:
    extractor = ClipExtractor(config.plain(), lambda _: FakeSource({"a.mp4": RuntimeError("a bug")}))
    with pytest.raises(RuntimeError, match="a bug"):
        list(extract(extractor, "a.mp4"))


def seeds_of(config: Config, clips: Clips, *rows: tuple[str, int]) -> list[int | None]:
    source = FakeSource({"a.mp4": clips})
    extractor = ClipExtractor(config.plain(), lambda _: source)
    for video_id, epoch in rows:
        list(extract(extractor, "a.mp4", epoch, video_id))
    return source.seeds


def test_training_draws_by_seed_epoch_and_video_and_evaluation_does_not_draw(
    make_config: Callable[..., Config], clips: Clips
) -> None:
    config, other = make_config(), make_config("seed=1")
    first, again, next_epoch, next_video, evaluation = seeds_of(
        config, clips, ("one", 1), ("one", 1), ("one", 2), ("two", 1), ("one", EVALUATION)
    )
    assert first == again
    assert evaluation is None
    assert len({first, next_epoch, next_video, *seeds_of(other, clips, ("one", 1))}) == 4


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_slot_is_a_video_of_the_order_of_the_epoch(
    config: Config, clips: Clips, make_sample: Callable[..., Sample], monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    samples = [make_sample(str(number), number % 2) for number in range(5)]
    source = FakeSource(dict.fromkeys([str(sample.path) for sample in samples], clips))
    monkeypatch.setattr("training.dataset.get_epoch", {"the clock": epoch}.__getitem__)
    extractor = EpochExtractor(config.plain(), samples, "the clock", lambda _: source)
    rows = [row for slot in range(5) for columns in extractor({"slot": np.array([slot])}) for row in to_rows(columns)]
    order = epoch_order(samples, config.seed, epoch)
    assert [(row["video_id"], row["path"], row["label"]) for row in rows[:: len(clips.clips)]] == [
        (sample.video_id, str(sample.path), sample.label) for sample in order
    ]
    assert {int(row["epoch"]) for row in rows} == {epoch}
    assert source.seeds == seeds_of(config, clips, *((sample.video_id, epoch) for sample in order))


def test_an_epoch_has_every_sample_once_in_an_order_of_its_own(make_sample: Callable[..., Sample]) -> None:
    samples = [make_sample(str(number)) for number in range(24)]
    order = epoch_order(samples, seed=0, epoch=1)
    assert sorted(order, key=lambda one: int(one.video_id)) == samples
    assert order == epoch_order(samples, seed=0, epoch=1)
    assert order != samples
    assert order != epoch_order(samples, seed=0, epoch=2)
    assert order != epoch_order(samples, seed=1, epoch=1)


def test_ray_data_keeps_the_order_and_to_its_share_of_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    context = SimpleNamespace(execution_options=SimpleNamespace())
    monkeypatch.setattr(DataContext, "get_current", lambda: context)
    configure_ray_data(ExtractorPlan(actors=3, cpus=0.5, memory=1))
    assert context.execution_options.preserve_order
    assert context.execution_options.resource_limits.cpu == 1.5
    assert not context.enable_progress_bars
