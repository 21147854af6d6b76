"""The pipelines on a real Ray cluster, shared by two workers."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray
from ray.data import DataContext, DataIterator, Dataset

from aura_model.config import Config
from training.clock import epoch_clock, get_epoch, set_epoch
from training.dataset import EVALUATION, UnequalShares, clip_dataset, configure_ray_data, epoch_order, training_dataset
from training.manifest import Sample
from training.plan import ExtractorPlan
from training.rows import Row, to_rows

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # Ray Data's own settings
]

MEDIA = Path(__file__).parents[1] / "media"
PLAN = ExtractorPlan(actors=1, cpus=1.0, memory=2**30)
FILES = ("talking_face.mp4", "two_faces.mp4", "no_face.mp4", "not_a_video.mp4", "vfr.mp4", "rotated.mp4", "vp9.webm")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    started = not ray.is_initialized()
    if started:
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    before = DataContext.get_current().copy()
    configure_ray_data(PLAN)
    yield
    DataContext._set_current(before)
    if started:
        ray.shutdown()


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [Sample(name, number % 2, "train", MEDIA / name) for number, name in enumerate(FILES)]


@pytest.fixture(scope="module")
def quick(make_config: Callable[..., Config]) -> Config:
    """Without face detection and sound, so that a decode child starts and works fast."""
    return make_config("dataset.face.detect=false", "dataset.audio.enabled=false")


def shares(dataset: Dataset) -> list[DataIterator]:
    return [each["train"] for each in UnequalShares().configure({"train": dataset}, 2, None, None)]


def read(share: DataIterator) -> list[Row]:
    return [row for batch in share.iter_batches(batch_size=4, batch_format="numpy") for row in to_rows(batch)]  # type: ignore[arg-type]


def read_all(parts: list[DataIterator]) -> list[list[Row]]:
    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(read, parts))


def what(row: Row) -> tuple[str, int, int, str]:
    return str(row["video_id"]), int(row["clip"]), int(row["epoch"]), str(row["error"])


def test_each_epoch_gives_each_clip_to_one_worker_in_an_order_of_its_own(
    cluster: None, quick: Config, samples: list[Sample]
) -> None:
    with epoch_clock("test") as clock:
        parts = shares(training_dataset(samples, quick, PLAN, clock))
        found = []
        for epoch in (1, 2, 1):
            set_epoch(clock, epoch)
            assert get_epoch(clock) == epoch
            found.append(read_all(parts))
    for epoch, workers in zip((1, 2, 1), found, strict=True):
        everything = Counter(what(row) for worker in workers for row in worker)
        assert set(everything.values()) == {1}
        assert {video_id for video_id, *_ in everything} == set(FILES)
        assert {row_epoch for *_, row_epoch, _ in everything} == {epoch}
        assert {error for *_, error in everything} == {"", "invalid_video"}
        places = {sample.video_id: place for place, sample in enumerate(epoch_order(samples, quick.seed, epoch))}
        for worker in workers:
            order = [places[str(row["video_id"])] for row in worker]
            assert order == sorted(order)
    first, second, again = ([[what(row) for row in worker] for worker in workers] for workers in found)
    assert first == again
    assert [one[:2] for one in first[0]] != [one[:2] for one in second[0]]
    assert starts(found[0]) == starts(found[2]) != starts(found[1])


def starts(workers: list[list[Row]]) -> dict[tuple[str, int], float]:
    """When each clip begins, drawn for the epoch."""
    return {(str(row["video_id"]), int(row["clip"])): float(row["times"][0]) for worker in workers for row in worker}


def test_evaluation_gives_every_clip_to_one_worker(cluster: None, quick: Config, samples: list[Sample]) -> None:
    parts = shares(clip_dataset(samples, quick, PLAN))
    first, again = read_all(parts), read_all(parts)
    everything = [what(row) for worker in first for row in worker]
    assert set(Counter(everything).values()) == {1}
    assert {epoch for *_, epoch, _ in everything} == {EVALUATION}
    assert sorted(everything) == sorted(what(row) for worker in again for row in worker)
    assert starts(first) == starts(again)
