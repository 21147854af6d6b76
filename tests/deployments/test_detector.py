"""The detector without Ray: batches, health, and what it answers before it has a model."""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from aura_model.analysis import analyse
from aura_model.clips import Clip, Clips, blank_clip
from aura_model.config import PACKAGED_CHECKPOINT, Config
from aura_model.model_loading import LoadedModel
from aura_model.scores import ClipScore
from aura_model.scoring import Scorer
from deployments import served_model
from deployments.detector import (
    Detector,
    Job,
    Watch,
    count_clips,
    max_batch_clips,
    score_files,
    score_jobs,
    user_config_of,
)
from deployments.loading import Loaded
from deployments.messages import MESSAGES, UNKNOWN, Cropped, Failed, Scored, Trace, Unfit, fit_of
from deployments.versions import read_scored
from tests.deployments.conftest import INFO, make_clips, make_config
from tests.operating_points import make_points

POISON = 99.0
FIT = fit_of(make_config())
UNTRAINED = make_config(inference={"checkpoint": None})


class Model:
    """Scores a clip by its start; a clip that starts at POISON fails the whole batch."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def score(self, clips: Sequence[Clip]) -> list[ClipScore]:
        self.batches.append(len(clips))
        if any(clip.times[0] == POISON for clip in clips):
            raise RuntimeError("poison")
        return [ClipScore(float(clip.times[0]), None, None, self.heat(clip)) for clip in clips]

    def heat(self, clip: Clip) -> npt.NDArray[np.float32]:
        """The later a clip starts, the hotter all of it."""
        return np.full((len(clip.times), 3, 3), float(clip.times[0]) / 10, np.float32)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def loaded(model: Model) -> Loaded:
    return Loaded(model.score, INFO, make_config(), "cpu")


def poisoned() -> Clips:
    clips = make_clips(1)
    clip = clips.clips[0]
    return replace(clips, clips=(replace(clip, times=clip.times + POISON),))


def starts(result: Sequence[ClipScore] | Exception) -> list[float]:
    assert not isinstance(result, Exception)
    return [score.fake for score in result]


def test_several_files_are_scored_in_one_go(loaded: Loaded, model: Model) -> None:
    results = score_files(loaded, [make_clips(2), make_clips(1), make_clips(3)])
    assert [starts(result) for result in results] == [[0, 1], [0], [0, 1, 2]]
    assert model.batches == [6]


def test_a_poisonous_file_fails_alone(loaded: Loaded, model: Model) -> None:
    first, bad, last = score_files(loaded, [make_clips(2), poisoned(), make_clips(1)])
    assert (starts(first), starts(last)) == ([0, 1], [0])
    assert isinstance(bad, RuntimeError)
    assert model.batches == [4, 2, 1, 1]


def test_a_file_that_fails_alone_is_not_tried_again(loaded: Loaded, model: Model) -> None:
    (bad,) = score_files(loaded, [poisoned()])
    assert isinstance(bad, RuntimeError)
    assert model.batches == [1]


def test_a_batch_is_measured_in_clips(loaded: Loaded) -> None:
    assert count_clips([Job(make_clips(count), loaded, UNKNOWN) for count in (2, 3)]) == 5


@pytest.mark.parametrize(("batch_clips", "max_clips", "bound"), [(16, 4, 16), (4, 16, 16)])
def test_every_file_fits_a_batch(batch_clips: int, max_clips: int, bound: int) -> None:
    config = make_config(inference={"batch_clips": batch_clips}, dataset={"video": {"max_clips": max_clips}})
    assert max_batch_clips(config) == bound


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("deployments.detector.time", clock)
    return clock


def test_a_batch_that_hangs_is_noticed(clock: Clock) -> None:
    watch = Watch(5.0)
    with watch.batch():
        clock.now += 5
        watch.check()
        clock.now += 0.1
        with pytest.raises(RuntimeError, match="more than 5 s"):
            watch.check()
    watch.check()


def test_a_broken_device_stays_broken() -> None:
    watch = Watch(5.0)
    watch.see([[], RuntimeError("one file"), torch.OutOfMemoryError("one file")])
    watch.check()
    watch.see([torch.AcceleratorError("device-side assert")])
    watch.see([[]])
    with pytest.raises(RuntimeError, match="device-side assert"):
        watch.check()


def test_files_for_two_models_are_scored_by_their_own(loaded: Loaded, model: Model) -> None:
    other = Model()
    new = replace(loaded, score=other.score)
    batch = [(1, loaded), (2, loaded), (1, new), (3, loaded)]
    results = score_jobs([Job(make_clips(count), model, UNKNOWN) for count, model in batch])
    assert [len(starts(result)) for result in results] == [1, 2, 1, 3]
    assert (model.batches, other.batches) == ([3, 3], [1])


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, loaded: Loaded) -> dict[str | None, Loaded]:
    """What there is to load, by checkpoint; others are an error."""
    monkeypatch.setattr("deployments.detector.setup_logging", lambda config: None)
    models: dict[str | None, Loaded] = {None: loaded}

    def load(config: Config) -> Loaded:
        return models[None if config.inference.checkpoint is None else str(config.inference.checkpoint)]

    monkeypatch.setattr(served_model, "load", load)
    return models


@pytest.fixture
async def detector(models: dict[str | None, Loaded], monkeypatch: pytest.MonkeyPatch) -> Detector:
    detector = Detector(UNTRAINED)

    async def enqueue(job: Job) -> Sequence[ClipScore] | Exception:
        return (await detector._score_batch([job]))[0]

    monkeypatch.setattr(detector, "_enqueue", enqueue)
    await detector.check_health()
    return detector


def cropped(count: int = 1, fit: str = FIT) -> Cropped:
    return Cropped(make_clips(count), fit)


def reloaded(detector: Detector, user_config: object) -> None:
    """Reconfigure, and wait until the load has ended."""
    detector.reconfigure(user_config)
    if detector._model._thread:
        detector._model._thread.join(10)


async def test_a_replica_is_healthy_once_its_model_is_there(detector: Detector) -> None:
    assert (await detector.status()).state == "ready"


async def test_the_error_of_the_stage_before_is_the_answer(detector: Detector) -> None:
    error = Failed("corrupt_video", "", media=True)
    assert await detector.score(error) is error


async def test_a_file_without_clips_needs_no_batch(detector: Detector, model: Model) -> None:
    scored = await detector.score(cropped(0))
    assert isinstance(scored, Scored)
    assert (scored.scores, scored.model) == ((), INFO)
    assert model.batches == []


async def test_pixels_do_not_leave_the_detector(detector: Detector) -> None:
    scored = await detector.score(cropped(2))
    assert isinstance(scored, Scored)
    assert [score.fake for score in scored.scores] == [0, 1]
    assert all(clip.frames is None and clip.wave is None for clip in scored.clips.clips)
    assert scored.timings.keys() == {"score"}
    await detector.check_health()


async def test_maps_stay_in_the_detector_unless_they_are_asked_for(detector: Detector) -> None:
    scored = await detector.score(cropped(2))
    assert isinstance(scored, Scored)
    assert scored.heatmaps is None
    assert [score.heatmap for score in scored.scores] == [None, None]


async def test_a_heat_map_of_each_face_where_they_are_asked_for(detector: Detector) -> None:
    scored = await detector.score(cropped(3), Trace("abc-1", explain=True))
    assert isinstance(scored, Scored)
    assert scored.heatmaps is not None
    assert scored.heatmaps.keys() == {0}
    heatmap = scored.heatmaps[0]
    assert (heatmap.area.time, heatmap.peak.probability) == (2.0, 0.2)  # the clip with the highest score
    assert heatmap.image.startswith("data:image/png;base64,")
    assert [score.heatmap for score in scored.scores] == [None] * 3
    assert all(clip.frames is None for clip in scored.clips.clips)
    assert scored.timings.keys() == {"score", "explain"}


async def test_nothing_to_explain_in_a_file_without_clips(detector: Detector) -> None:
    scored = await detector.score(cropped(0), Trace("abc-1", explain=True))
    assert isinstance(scored, Scored)
    assert scored.heatmaps == {}


async def test_what_the_model_raises_for_a_file_is_raised(detector: Detector) -> None:
    with pytest.raises(RuntimeError, match="poison"):
        await detector.score(Cropped(poisoned(), FIT))


async def test_clips_of_other_shapes_never_reach_the_model(detector: Detector, model: Model) -> None:
    outcome = await detector.score(cropped(fit="3 frames at 8/s, 64 px"))
    assert isinstance(outcome, Unfit)
    assert outcome.settings.fit == FIT
    assert model.batches == []


@pytest.mark.parametrize(("version", "understood"), [(-2, False), (-1, True), (1, True), (2, False)])
async def test_a_cropper_of_another_version(detector: Detector, version: int, understood: bool) -> None:
    outcome = await detector.score(replace(cropped(), messages=MESSAGES + version))
    assert isinstance(outcome, Scored if understood else Failed)
    if isinstance(outcome, Failed):
        assert outcome.code == "unavailable"


async def test_a_missing_checkpoint_leaves_the_detector_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.detector.setup_logging", lambda config: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    path = tmp_path / "absent.pth"
    detector = Detector(make_config(inference={"checkpoint": str(path)}))
    await detector.check_health()
    status = await detector.status()
    assert (status.state, status.reason, status.checkpoint_path) == ("failed", "checkpoint_missing", str(path))
    outcome = await detector.score(cropped())
    assert isinstance(outcome, Failed)
    assert outcome.code == "model_not_ready"
    await detector.check_health()


async def test_the_user_config_names_another_model(
    detector: Detector, models: dict[str | None, Loaded], loaded: Loaded
) -> None:
    new = models["new.pth"] = replace(loaded, info=INFO.model_copy(update={"version": "new"}))
    reloaded(detector, {"checkpoint": "new.pth"})
    status = await detector.status()
    assert (status.state, status.checkpoint_path, status.model) == ("ready", "new.pth", new.info)
    scored = await detector.score(cropped())
    assert isinstance(scored, Scored)
    assert scored.model is new.info
    reloaded(detector, {"checkpoint": None})
    assert (await detector.status()).model is INFO


async def test_another_model_brings_its_operating_points_along(
    detector: Detector, models: dict[str | None, Loaded], loaded: Loaded
) -> None:
    for name, high in (("eager.pth", 0.4), ("careful.pth", 0.9)):
        points = make_points((0.2, high), (0.2, high), (0.2, high))
        models[name] = replace(loaded, info=INFO.model_copy(update={"operating_points": points}))
    verdicts = []
    for name in ("eager.pth", "careful.pth"):
        reloaded(detector, {"checkpoint": name})
        scored = await detector.score(cropped(3))
        assert isinstance(scored, Scored)
        arrived = read_scored(pickle.loads(pickle.dumps(scored)))
        verdicts.append(analyse(arrived.clips, arrived.scores, arrived.model, make_config(), {}).verdict)
    assert verdicts == ["fake", "uncertain"]


async def test_the_user_config_may_name_the_model_in_the_package(
    detector: Detector, models: dict[str | None, Loaded], loaded: Loaded
) -> None:
    new = models["default"] = replace(loaded, info=INFO.model_copy(update={"version": "packaged"}))
    reloaded(detector, {"checkpoint": "default"})
    status = await detector.status()
    assert (status.state, status.checkpoint_path, status.model) == ("ready", str(PACKAGED_CHECKPOINT), new.info)


async def test_a_replica_that_starts_with_a_user_config_never_serves_another_model(
    models: dict[str | None, Loaded], loaded: Loaded
) -> None:
    models["new.pth"] = models.pop(None)
    detector = Detector(make_config())
    detector.reconfigure({"checkpoint": "new.pth"})
    await detector.check_health()
    status = await detector.status()
    assert (status.state, status.checkpoint_path) == ("ready", "new.pth")


async def test_a_replica_that_starts_with_a_bad_user_config_has_the_configured_model(
    models: dict[str | None, Loaded],
) -> None:
    """One that only restarts must not be worse off than those that had a model when the bad one came."""
    assert models.keys() == {None}
    detector = Detector(UNTRAINED)
    detector.reconfigure({"checkpoint": "absent.pth"})
    await detector.check_health()
    status = await detector.status()
    assert (status.state, status.update_failed, status.model) == ("ready", "model_error", INFO)


async def test_without_a_user_config_the_configured_model_comes_back(
    detector: Detector, models: dict[str | None, Loaded], loaded: Loaded
) -> None:
    models["new.pth"] = replace(loaded, info=INFO.model_copy(update={"version": "new"}))
    reloaded(detector, {"checkpoint": "new.pth"})
    reloaded(detector, user_config_of(UNTRAINED))
    assert (await detector.status()).model is INFO


async def test_at_the_start_the_configured_model_is_loaded_once(models: dict[str | None, Loaded]) -> None:
    detector = Detector(UNTRAINED)
    await detector.check_health()
    models.clear()
    reloaded(detector, user_config_of(UNTRAINED))
    assert (await detector.status()).update_failed is None


@pytest.mark.parametrize(
    ("user_config", "code"),
    [
        ({"checkpoint": "absent.pth"}, "model_error"),
        ({"checkpont": "new.pth"}, "invalid_config"),
        ({}, "invalid_config"),
        ({"checkpoint": "new.pth", "device": "cuda"}, "invalid_config"),
        ("new.pth", "invalid_config"),
    ],
    ids=str,
)
async def test_a_bad_user_config_changes_nothing_but_the_status(
    detector: Detector, user_config: object, code: str
) -> None:
    reloaded(detector, user_config)
    status = await detector.status()
    assert (status.state, status.update_failed, status.model) == ("ready", code, INFO)
    assert isinstance(await detector.score(cropped()), Scored)
    await detector.check_health()


async def test_the_same_user_config_loads_nothing(detector: Detector, models: dict[str | None, Loaded]) -> None:
    models["new.pth"] = models[None]
    reloaded(detector, {"checkpoint": "new.pth"})
    del models["new.pth"]
    reloaded(detector, {"checkpoint": "new.pth"})
    assert (await detector.status()).update_failed is None


async def test_clips_that_were_prepared_for_the_last_model_are_scored_by_it(
    detector: Detector, models: dict[str | None, Loaded], model: Model
) -> None:
    other = Model()
    config = make_config(dataset={"face": {"size": 96}})
    models["new.pth"] = Loaded(other.score, INFO, config, "cpu")
    reloaded(detector, {"checkpoint": "new.pth"})
    assert isinstance(await detector.score(cropped(2)), Scored)
    assert isinstance(await detector.score(cropped(3, fit_of(config))), Scored)
    assert (model.batches, other.batches) == ([2], [3])


class CountingScorer(Scorer):
    """Counts the clips of its passes."""

    def __init__(self, loaded: LoadedModel, device: str, passes: int) -> None:
        super().__init__(loaded, device, passes)
        self.batches: list[int] = []

    def _score(self, clips: Sequence[Clip]) -> list[ClipScore]:
        self.batches.append(len(clips))
        return super()._score(clips)


@pytest.mark.parametrize(("threads", "expected"), [(3, 3), (None, 8)], ids=["configured", "one for each CPU"])
def test_a_model_is_loaded_warm_and_passes_have_a_thread_each(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, expected: int
) -> None:
    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    monkeypatch.setattr(served_model, "available_cpus", lambda: 8)
    monkeypatch.setattr("aura_model.scoring.Scorer", CountingScorer)
    config = make_config(
        inference={"threads": threads, "device": "auto", "checkpoint": None},
        dataset={"video": {"temporal_window": 1}, "face": {"size": 32}},
        model={"video": {"pretrained": False, "backbone": "test_vit"}, "fusion": {"hidden_dim": 8}},
    )
    loaded = served_model.load(config)
    assert counts == [1]
    assert loaded.score.__self__.passes == (1 if torch.cuda.is_available() else expected)
    assert loaded.device == ("cuda" if torch.cuda.is_available() else "cpu")
    scorer = loaded.score.__self__
    assert scorer.batches == [scorer.pass_clips] * scorer.passes
    (score,) = loaded.score([blank_clip(config)])
    assert None not in (score.video, score.audio)
