"""Files become a trained model on a real Ray cluster: the stream of clips, shared by workers, and a run of two."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from ray.data import DataContext, DataIterator
from sklearn.metrics import brier_score_loss, roc_auc_score

from aura_model.analysis import probability
from aura_model.config import Config
from aura_model.model_loading import load_for_inference
from aura_model.scoring import Scorer
from training.data.debugset import MEDIA
from training.data.manifest import Sample
from training.data.splits import Split
from training.extraction import MediaRows
from training.plan import ExtractorPlan, WorkerPlan
from training.rows import Row, clip_from_row, path_row, to_rows
from training.run import Outcome, ray_cluster, run_training
from training.stream import Course, clip_stream
from training.worker.batches import training_clip

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # Ray Data's own settings
]

EXTRACTORS = ExtractorPlan(actors=1, cpus=1.0, memory=2**30)
FILES: dict[Split, tuple[str, ...]] = {
    "train": ("talking_face.mp4", "long_gop.mp4", "not_a_video.mp4", "mpeg4.avi", "audio_only.m4a"),
    "val": ("talking_face_b.mp4", "two_faces.mp4", "empty.mp4", "vfr.mp4", "video_only.mp4", "face.jpg", "rotated.mp4"),
}
"""With face and voice, without sound, without picture, a still, and one in each split that cannot be used."""
BROKEN = {("not_a_video.mp4", "train", "invalid_video"), ("empty.mp4", "val", "empty_file")}


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with ray_cluster(local=True, cpus=3):
        before = DataContext.get_current().copy()
        yield
        DataContext._set_current(before)


@pytest.fixture(scope="module")
def samples() -> dict[Split, tuple[Sample, ...]]:
    return {
        split: tuple(Sample(name, number % 2, split, str(MEDIA / name)) for number, name in enumerate(names))
        for split, names in FILES.items()
    }


@pytest.fixture(scope="module")
def quick(make_config: Callable[..., Config]) -> Config:
    """Without face detection, so that decode children start and work fast."""
    return make_config("dataset.face.detect=false", "training.epochs=1", "training.batch_size=2")


@pytest.fixture(scope="module")
def media_rows(quick: Config) -> MediaRows:
    """The clips of a video, decoded in this process's own child."""
    return MediaRows(quick)


Key = tuple[int, str, str, int]


def key(row: Row) -> Key:
    return int(row["turn"]), str(row["split"]), str(row["video_id"]), int(row["clip"])


def seen(row: Row, config: Config) -> str:
    """What a worker would train on, or the error."""
    if row["error"]:
        return str(row["error"])
    clip = training_clip(row, config) if row["split"] == "train" else clip_from_row(row)
    digest = sha256(clip.times.tobytes())
    for array in (clip.frames, clip.wave):
        digest.update(b"none" if array is None else array.tobytes())
    return digest.hexdigest()


def read(share: DataIterator, config: Config) -> list[tuple[Key, str]]:
    blocks = share.iter_batches(batch_size=None, batch_format="numpy")  # type: ignore[arg-type]
    return [(key(row), seen(row, config)) for block in blocks for row in to_rows(block)]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shares(
    cluster: None, quick: Config, samples: Mapping[Split, tuple[Sample, ...]]
) -> Callable[[int], list[list[tuple[Key, str]]]]:
    def stream(workers: int) -> list[list[tuple[Key, str]]]:
        """What each worker has of two epochs."""
        course = Course(samples["train"], samples["val"], quick.seed, first=1, last=2)
        parts = clip_stream(course, quick, EXTRACTORS, workers)
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(read, parts, [quick] * workers))

    return stream


@pytest.fixture(scope="module")
def two(shares: Callable[[int], list[list[tuple[Key, str]]]]) -> list[list[tuple[Key, str]]]:
    return shares(2)


@pytest.mark.parametrize("workers", [1, 3])
def test_every_clip_goes_to_one_worker_and_is_the_same_for_any_number_of_workers(
    shares: Callable[[int], list[list[tuple[Key, str]]]], two: list[list[tuple[Key, str]]], workers: int
) -> None:
    """Augmented training clips to the byte."""
    found = shares(workers)
    assert all(found)
    of_two, of_others = ([one for share in each for one in share] for each in (two, found))
    assert set(Counter(key for key, _ in of_others).values()) == {1}
    assert len(of_others) == len(of_two)
    assert dict(of_others) == dict(of_two)


def test_a_stream_holds_every_video_of_every_epoch_drawn_anew_in_training(two: list[list[tuple[Key, str]]]) -> None:
    everything = dict(one for share in two for one in share)
    assert set(Counter(key for share in two for key, _ in share).values()) == {1}
    for turn in (1, 2):
        for split, names in FILES.items():
            assert {name for at, of, name, _ in everything if (at, of) == (turn, split)} == set(names)
    assert {text for text in everything.values() if len(text) < 64} == {code for *_, code in BROKEN}
    for (turn, split, name, clip), content in everything.items():
        later = everything.get((turn + 1, split, name, clip))
        if later is not None and len(content) == 64:
            assert (later == content) == (split == "val"), name


def test_a_worker_has_its_clips_in_the_order_of_the_run_and_the_same_again(
    shares: Callable[[int], list[list[tuple[Key, str]]]],
    two: list[list[tuple[Key, str]]],
    quick: Config,
    samples: Mapping[Split, tuple[Sample, ...]],
) -> None:
    course = Course(samples["train"], samples["val"], quick.seed, first=1, last=2)
    places = [course.at(index) for index in range(len(course))]
    order = [(place.turn, place.path_row["split"], place.path_row["video_id"]) for place in places]
    for share in two:
        taken = [(order.index((turn, split, name)), clip) for (turn, split, name, clip), _ in share]
        assert taken == sorted(taken)
    assert shares(2) == two


@dataclass(frozen=True)
class Trained:
    """A run of two workers that has ended."""

    outcome: Outcome
    events: list[Mapping[str, Any]]

    def told(self, kind: str) -> list[Mapping[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]


@pytest.fixture(scope="module")
def trained(
    cluster: None,
    quick: Config,
    samples: Mapping[Split, tuple[Sample, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    folder, events = tmp_path_factory.mktemp("run"), list[Mapping[str, Any]]()
    plan = WorkerPlan(2, False, {"CPU": 1.0}, EXTRACTORS, ())
    listener: Any = type("Listener", (), {"hear": staticmethod(events.append), "close": lambda self: None})()
    outcome = run_training(
        quick,
        [*samples["train"], *samples["val"]],
        plan,
        storage=str(folder / "runs"),
        name="run",
        target=folder / "model.pth",
        listeners=[listener],
    )
    return Trained(outcome, events)


def test_two_workers_train_on_every_clip_and_tell_what_was_skipped(
    trained: Trained, media_rows: MediaRows, samples: Mapping[Split, tuple[Sample, ...]]
) -> None:
    rows = [row for slot, one in enumerate(samples["train"]) for row in media_rows(path_row(one, slot, epoch=1))]
    clips = [row for row in rows if not row["error"]]
    (epoch,) = trained.told("epoch")
    assert trained.outcome.metrics["loss"] == epoch["loss"]
    assert (epoch["clips"], epoch["skipped"], epoch["val_skipped"]) == (len(clips), 1, 1)
    assert epoch["clips_with_video"] == sum(row["has_video"] for row in clips) < len(clips)
    assert epoch["clips_with_audio"] == sum(row["has_audio"] for row in clips) < len(clips)
    assert {(event["video_id"], event["split"], event["code"]) for event in trained.told("skip")} == BROKEN
    assert epoch["step"] == 2  # two workers with two clips each, of seven or eight


def test_validation_of_two_workers_is_that_of_the_list(
    trained: Trained, quick: Config, media_rows: MediaRows, samples: Mapping[Split, tuple[Sample, ...]]
) -> None:
    """Every clip of every video once, scored by the model that came out, and joined by scikit-learn."""
    scorer = Scorer(load_for_inference(trained.outcome.checkpoint, quick, "cpu"), "cpu")
    scores: dict[str, list[float]] = defaultdict(list)
    for slot, sample in enumerate(samples["val"]):
        clips = [clip_from_row(row) for row in media_rows(path_row(sample, slot)) if not row["error"]]
        scores[sample.video_id] += [score.fake for score in scorer.score(clips)] if clips else []
    labels = {sample.video_id: sample.label for sample in samples["val"]}
    usable = [name for name, found in scores.items() if found]
    truth, values = [labels[name] for name in usable], [probability(float(np.mean(scores[name]))) for name in usable]
    of_clips = [(labels[name], probability(score)) for name in usable for score in scores[name]]
    assert len(set(values)) == len(usable) == len(FILES["val"]) - 1
    metrics = trained.outcome.metrics
    assert (metrics["val"]["n"], metrics["val"]["positives"]) == (len(usable), sum(truth))
    assert (metrics["clip"]["n"], metrics["clip"]["positives"]) == (len(of_clips), sum(label for label, _ in of_clips))
    assert metrics["val_auc"] == pytest.approx(roc_auc_score(truth, values))
    assert metrics["val"]["brier"] == pytest.approx(brier_score_loss(truth, values), abs=1e-5)
    assert metrics["clip"]["auc"] == pytest.approx(roc_auc_score(*zip(*of_clips, strict=True)))
    assert metrics["clip"]["brier"] == pytest.approx(brier_score_loss(*zip(*of_clips, strict=True)), abs=1e-5)
