"""Each stage leaves a line about each request, with its ids; and what it does to a decode child is counted."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.errors import MEDIA_ERRORS, MediaError
from aura_model.logging import get_logger
from aura_model.sandbox import Sandbox
from aura_model.scores import ClipScore
from deployments import face_cropper, served_model
from deployments.detector import Detector, Job
from deployments.face_cropper import FaceCropper
from deployments.loading import Loaded
from deployments.messages import Cropped, Settings, Trace
from tests.deployments.conftest import INFO, make_clips, make_config
from tests.deployments.recorder import Recorder, lines

CONFIG = make_config(serving={"decode_children": 1})
SETTINGS = Settings.of(CONFIG)
VIDEO = np.frombuffer(b"video", np.uint8)
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACE = Trace("abc-1", f"00-{TRACE_ID}-{SPAN_ID}-01")
IDS = {"request_id": "abc-1", "trace_id": TRACE_ID, "span_id": SPAN_ID}


class Children(Sandbox):
    """Children that answer at once, and log as the real ones' parent does."""

    error: MediaError | None = None

    def __init__(self, config: Config, children: int = 1, threads: int = 1) -> None:
        pass

    def load_clips(self, source: Any, *, seed: int | None = None, seconds: float | None = None) -> Clips:
        get_logger("sandbox").info("about a child")
        if self.error and seconds is not None:
            raise self.error
        return make_clips(2)

    def close(self) -> None:
        pass


@pytest.fixture
async def cropper(monkeypatch: pytest.MonkeyPatch, recorded: dict[str, Recorder]) -> AsyncIterator[FaceCropper]:
    async def tell(digest: str) -> None:
        pass

    monkeypatch.setattr("deployments.decoders.Sandbox", Children)
    monkeypatch.setattr(face_cropper, "setup_logging", lambda config: None)
    monkeypatch.setattr(face_cropper, "_tell_all", tell)
    cropper = FaceCropper(CONFIG)
    await cropper.check_health()
    yield cropper
    await asyncio.to_thread(cropper._threads.shutdown)


async def crop(cropper: FaceCropper, error: MediaError | None = None) -> list[dict[str, Any]]:
    """The lines that a file leaves."""
    Children.error = error
    with lines() as seen:
        await cropper.crop(VIDEO, SETTINGS, 30.0, TRACE)
    assert all(line.items() >= IDS.items() for line in seen)
    return seen


async def test_the_face_cropper_says_how_long_it_took(cropper: FaceCropper) -> None:
    about_child, line = await crop(cropper)
    assert about_child["message"] == "about a child"
    assert (line["message"], line["level"], line["clips"]) == ("cropped", "DEBUG", 2)
    assert line["timings"].keys() == {"queue", "open"}
    assert line["timings"]["open"] == 1.0


@pytest.mark.parametrize("code", sorted(MEDIA_ERRORS))
async def test_a_file_that_fails_a_child_is_a_warning(
    cropper: FaceCropper, recorded: dict[str, Recorder], code: str
) -> None:
    line = next(line for line in await crop(cropper, MediaError(code, "why")) if line["name"] == face_cropper.__name__)
    assert (line["code"], line["detail"]) == (code, "why")
    fails = code.startswith("decode_")
    assert (line["level"], line["message"]) == (("WARNING", "decoding failed") if fails else ("DEBUG", "refused"))
    assert recorded["aura_decode_child_exits_total"].totals().keys() == (
        {{"crashed": "crash", "timeout": "timeout", "out_of_memory": "memory"}[code.removeprefix("decode_")]}
        if fails
        else set()
    )


async def test_a_file_that_is_remembered_is_a_warning_and_counted(
    cropper: FaceCropper, recorded: dict[str, Recorder]
) -> None:
    await crop(cropper, MediaError("decode_crashed", ""))
    assert recorded["aura_crashes_remembered_total"].totals() == {}
    (line,) = await crop(cropper)
    assert (line["level"], line["message"]) == ("WARNING", "a file that crashed the decoder before was refused")
    assert recorded["aura_crashes_remembered_total"].totals() == {"": 1}
    assert recorded["aura_decode_child_exits_total"].totals() == {"crash": 1}


async def test_a_thread_of_the_cropper_forgets_the_request(cropper: FaceCropper) -> None:
    await crop(cropper)
    with lines() as seen:
        await asyncio.to_thread(cropper._threads.submit(get_logger("later").info, "later").result)
    assert "request_id" not in seen[0]


# --- the detector -----------------------------------------------------------------------------------------------------

POISON = 99.0


def score(clips: Sequence[Clip]) -> list[ClipScore]:
    get_logger("model").info("a forward pass")
    if any(clip.times[0] == POISON for clip in clips):
        raise RuntimeError("poison")
    return [ClipScore(fake=0.0, video=None, audio=None) for _ in clips]


@pytest.fixture
async def detector(monkeypatch: pytest.MonkeyPatch, recorded: dict[str, Recorder]) -> Detector:
    monkeypatch.setattr("deployments.detector.setup_logging", lambda config: None)
    monkeypatch.setattr(served_model, "load", lambda config: Loaded(score, INFO, CONFIG, "cpu"))
    detector = Detector(CONFIG)

    async def enqueue(job: Job) -> Sequence[ClipScore] | Exception:
        return (await detector._score_batch([job]))[0]

    monkeypatch.setattr(detector, "_enqueue", enqueue)
    await detector.check_health()
    return detector


def poisoned() -> Clips:
    clips = make_clips(1)
    return replace(clips, clips=tuple(replace(clip, times=clip.times + POISON) for clip in clips.clips))


async def test_the_detector_says_how_long_it_took(detector: Detector) -> None:
    with lines() as seen:
        await detector.score(Cropped(make_clips(3), SETTINGS.fit), TRACE)
    forward, line = seen
    assert (forward["message"], forward["request_ids"]) == ("a forward pass", ["abc-1"])
    assert line.items() >= {"message": "scored", "level": "DEBUG", "clips": 3, **IDS}.items()
    assert line["timings"]["score"] >= 0


async def test_a_file_that_cannot_be_scored_is_named(detector: Detector) -> None:
    with lines() as seen, pytest.raises(RuntimeError):
        await detector.score(Cropped(poisoned(), SETTINGS.fit), TRACE)
    assert seen[-1].items() >= {"message": "a file could not be scored", "error": "RuntimeError", **IDS}.items()


async def test_a_batch_is_about_all_of_its_requests_and_then_about_none(detector: Detector) -> None:
    loaded = detector._model.get(SETTINGS.fit)
    assert loaded is not None
    batch = [Job(clips, loaded, Trace(name)) for clips, name in ((make_clips(), "first"), (poisoned(), "second"))]
    with lines() as seen:
        await detector._score_batch(batch)
        detector._forward.submit(get_logger("later").info, "later").result()
    *during, later = seen
    assert "a batch failed" in [line["message"] for line in during]
    assert all(line["request_ids"] == ["first", "second"] for line in during)
    assert "request_ids" not in later


async def test_the_detector_tells_which_model_it_serves(detector: Detector, recorded: dict[str, Recorder]) -> None:
    await detector.status()
    assert recorded["aura_model_info"].series == {(INFO.version,): [1.0]}
