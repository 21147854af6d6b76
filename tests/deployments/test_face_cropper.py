"""The face cropper without Ray."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aura_model.clips import Clips
from aura_model.config import Config
from aura_model.errors import ConfigError, DecoderError, MediaError
from aura_model.sandbox import Sandbox
from deployments import face_cropper
from deployments.face_cropper import FaceCropper
from deployments.messages import MESSAGES, Cropped, Failed, Settings
from tests.deployments.conftest import make_clips, make_config

VIDEO = np.frombuffer(b"video", np.uint8)
OTHER = np.frombuffer(b"other", np.uint8)
SETTINGS = Settings.of(make_config())
CRASHED = MediaError("decode_crashed", "The decoder ended with signal 11; re-encode the file.")


class FakeSandbox(Sandbox):
    """Children that answer at once, or when they are let go."""

    made: list["FakeSandbox"] = []
    error: Exception | None = None
    """What the next children raise when they start."""

    def __init__(self, config: Config, children: int = 1, threads: int = 1) -> None:
        self.config = config
        self.children = children
        self.files: list[tuple[bytes | Path, float | None]] = []
        self.raises: Exception | None = None
        self.closed = threading.Event()
        self.begun, self.go = threading.Semaphore(0), threading.Event()
        self.go.set()
        self.failing = type(self).error
        self.made.append(self)

    def load_clips(
        self, source: Path | bytes | memoryview, *, seed: int | None = None, seconds: float | None = None
    ) -> Clips:
        if seconds is None:  # to be warm
            if self.failing:
                raise self.failing
            return make_clips()
        self.files.append((source if isinstance(source, Path) else bytes(source), seconds))
        self.begun.release()
        self.go.wait(10)
        if self.raises:
            raise self.raises
        return make_clips()

    def close(self) -> None:
        self.closed.set()


@pytest.fixture(autouse=True)
def _fake_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.decoders.Sandbox", FakeSandbox)
    monkeypatch.setattr("deployments.face_cropper.setup_logging", lambda config: None)
    monkeypatch.setattr(FakeSandbox, "made", [])
    monkeypatch.setattr(FakeSandbox, "error", None)


@pytest.fixture
async def cropper() -> AsyncIterator[FaceCropper]:
    cropper = FaceCropper(make_config(serving={"decode_children": 2}))
    yield cropper
    await asyncio.to_thread(cropper._threads.shutdown)


async def prepared(cropper: FaceCropper, settings: Settings = SETTINGS) -> FakeSandbox:
    await cropper.prepare(settings)
    await asyncio.wait([one.opening for one in cropper._decoders._sets])
    assert await cropper.prepare(settings) is True
    return FakeSandbox.made[-1]


async def test_a_replica_is_healthy_once_its_children_are_warm(cropper: FaceCropper) -> None:
    await cropper.check_health()
    assert await cropper.prepare(SETTINGS) is True
    await cropper.check_health()
    assert [sandbox.children for sandbox in FakeSandbox.made] == [2]


@pytest.mark.parametrize("error", [ConfigError("mtcnn is not installed"), DecoderError("did not start")], ids=str)
async def test_a_replica_is_healthy_also_without_children(cropper: FaceCropper, error: Exception) -> None:
    FakeSandbox.error = error
    await cropper.check_health()


async def test_other_settings_are_prepared_while_nobody_waits(cropper: FaceCropper) -> None:
    assert await cropper.prepare(SETTINGS) is False
    await prepared(cropper)
    assert len(FakeSandbox.made) == 1


async def test_clips_come_with_the_time_they_waited_and_with_what_they_fit(cropper: FaceCropper) -> None:
    cropped = await cropper.crop(VIDEO, SETTINGS, 30.0)
    assert isinstance(cropped, Cropped)
    assert cropped.fit == SETTINGS.fit
    assert cropped.clips.timings.keys() == {"queue", "open"}
    ((content, seconds),) = FakeSandbox.made[0].files
    assert content == b"video"
    assert seconds is not None
    assert 29 < seconds <= 30


async def test_a_path_is_handed_on(cropper: FaceCropper, tmp_path: Path) -> None:
    await cropper.crop(tmp_path, SETTINGS, 30.0)
    assert FakeSandbox.made[0].files[0][0] == tmp_path


async def test_bad_media_is_an_answer(cropper: FaceCropper) -> None:
    (await prepared(cropper)).raises = MediaError("corrupt_video", "mended by nobody")
    assert await cropper.crop(VIDEO, SETTINGS, 30.0) == Failed("corrupt_video", "mended by nobody", media=True)


async def test_a_child_that_cannot_be_had_is_the_services_fault_and_passes(cropper: FaceCropper) -> None:
    sandbox = await prepared(cropper)
    sandbox.raises = DecoderError("A decode child cannot be started: Resource temporarily unavailable.")
    outcome = await cropper.crop(VIDEO, SETTINGS, 30.0)
    assert isinstance(outcome, Failed)
    assert (outcome.media, outcome.error().code) == (False, "unavailable")
    sandbox.raises = None
    assert isinstance(await cropper.crop(VIDEO, SETTINGS, 30.0), Cropped)


async def test_children_that_do_not_start_are_an_answer_too(cropper: FaceCropper) -> None:
    FakeSandbox.error = DecoderError("did not start")
    outcome = await cropper.crop(VIDEO, SETTINGS, 30.0)
    assert isinstance(outcome, Failed)
    assert (outcome.media, outcome.error().code) == (False, "unavailable")


async def test_a_file_whose_time_is_up_is_not_opened(cropper: FaceCropper) -> None:
    outcome = await cropper.crop(VIDEO, SETTINGS, 0.0)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.media) == ("deadline_exceeded", False)
    assert FakeSandbox.made[0].files == []


async def test_whoever_leaves_the_queue_costs_no_decoding(cropper: FaceCropper) -> None:
    sandbox = await prepared(cropper)
    sandbox.go.clear()
    calls = [asyncio.create_task(cropper.crop(VIDEO, SETTINGS, 30.0)) for _ in range(5)]
    for _ in range(2):
        assert await asyncio.to_thread(sandbox.begun.acquire, timeout=10)
    for call in calls[1:4]:
        call.cancel()
    await asyncio.wait(calls[1:4])
    sandbox.go.set()
    assert isinstance(await calls[0], Cropped)
    assert isinstance(await calls[4], Cropped)
    assert len(sandbox.files) == 3


async def test_networks_that_are_not_installed_are_an_answer(cropper: FaceCropper) -> None:
    FakeSandbox.error = error = ConfigError("dataset.face.detector: mtcnn is not installed")
    assert await cropper.crop(VIDEO, SETTINGS, 30.0) == Failed.of(error)
    assert await cropper.prepare(SETTINGS) == Failed.of(error)
    assert len(FakeSandbox.made) == 1


async def test_new_settings_get_new_children_beside_the_old(cropper: FaceCropper) -> None:
    old = await prepared(cropper)
    settings = Settings.of(make_config(dataset={"face": {"size": 96}}))
    cropped = await cropper.crop(VIDEO, settings, 30.0)
    assert isinstance(cropped, Cropped)
    assert cropped.fit == settings.fit
    assert isinstance(await cropper.crop(VIDEO, SETTINGS, 30.0), Cropped)
    new = FakeSandbox.made[-1]
    assert (new.config.dataset.face.size, len(new.files), len(old.files)) == (96, 1, 1)


async def test_the_end_of_the_replica_ends_the_children(cropper: FaceCropper) -> None:
    sandbox = await prepared(cropper)
    cropper.__del__()
    assert sandbox.closed.is_set()


@pytest.mark.parametrize(("configured", "expected"), [(3, 3), (None, 5)])
async def test_one_child_a_cpu(monkeypatch: pytest.MonkeyPatch, configured: int | None, expected: int) -> None:
    monkeypatch.setattr("deployments.face_cropper.available_cpus", lambda: 5)
    cropper = FaceCropper(make_config(serving={"decode_children": configured}))
    assert (await prepared(cropper)).children == expected


def plain(changes: dict[str, Any]) -> Settings:
    """The settings of another version: each key is `section.key`, each value replaces it; None takes it away."""
    tree: dict[str, Any] = make_config().plain()
    for path, value in changes.items():
        *sections, key = path.split(".")
        branch = tree
        for section in sections:
            branch = branch[section]
        branch.pop(key, None)
        if value is not None:
            branch[key] = value
    return replace(SETTINGS, plain=tree)


@pytest.mark.parametrize(
    "settings",
    [
        plain({"dataset.face.margin": None, "limits.max_streams": None}),
        plain({"dataset.face.blur": 3, "limits.max_tracks": 9, "future": {"a": 1}, "dataset.future": {"b": []}}),
        replace(SETTINGS, messages=MESSAGES - 1),
        replace(SETTINGS, messages=MESSAGES + 1),
    ],
    ids=["keys that were not there yet", "keys of tomorrow", "the version before", "the version after"],
)
async def test_settings_of_a_neighbouring_version(cropper: FaceCropper, settings: Settings) -> None:
    await prepared(cropper)
    assert isinstance(await cropper.crop(VIDEO, settings, 30.0), Cropped)
    assert len(FakeSandbox.made) == 1


async def test_settings_of_a_distant_version(cropper: FaceCropper) -> None:
    distant = replace(SETTINGS, messages=MESSAGES + 2)
    for outcome in (await cropper.crop(VIDEO, distant, 30.0), await cropper.prepare(distant)):
        assert isinstance(outcome, Failed)
        assert outcome.code == "unavailable"


class Others:
    """The other replicas of the deployment."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.heard, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()
        self.error: Exception | None = None

    async def tell(self, digest: str) -> None:
        self.heard.set()
        await self.go.wait()
        self.told.append(digest)
        if self.error:
            raise self.error


@pytest.fixture(autouse=True)
def others(monkeypatch: pytest.MonkeyPatch) -> Others:
    others = Others()
    monkeypatch.setattr(face_cropper, "_tell_all", others.tell)
    return others


async def crash(cropper: FaceCropper, error: MediaError = CRASHED) -> FakeSandbox:
    """Have VIDEO end a child, once."""
    sandbox = await prepared(cropper)
    sandbox.raises = error
    assert await cropper.crop(VIDEO, SETTINGS, 30.0) == Failed.of(error)
    sandbox.raises = None
    sandbox.files.clear()
    return sandbox


async def test_a_file_that_crashed_a_child_is_not_opened_again(cropper: FaceCropper, tmp_path: Path) -> None:
    sandbox = await crash(cropper)
    (tmp_path / "copy").write_bytes(VIDEO.tobytes())
    for source in (VIDEO, VIDEO.copy(), tmp_path / "copy"):
        outcome = await cropper.crop(source, SETTINGS, 30.0)
        assert isinstance(outcome, Failed)
        assert (outcome.code, outcome.media) == ("decode_crashed", True)
        assert "before" in outcome.detail
    assert sandbox.files == []
    assert isinstance(await cropper.crop(OTHER, SETTINGS, 30.0), Cropped)


@pytest.mark.parametrize("code", ["decode_timeout", "decode_out_of_memory", "corrupt_video"])
async def test_other_failures_are_not_remembered(cropper: FaceCropper, others: Others, code: str) -> None:
    await crash(cropper, MediaError(code, ""))
    assert isinstance(await cropper.crop(VIDEO, SETTINGS, 30.0), Cropped)
    assert others.told == []


async def test_every_cropper_is_told_of_a_crash_before_it_is_answered(cropper: FaceCropper, others: Others) -> None:
    others.go.clear()
    call = asyncio.create_task(crash(cropper))
    await others.heard.wait()
    done, _ = await asyncio.wait([call], timeout=0.05)
    assert not done
    others.go.set()
    await call
    assert others.told == [sha256(b"video").hexdigest()]


async def test_a_crash_at_another_cropper_is_remembered(cropper: FaceCropper) -> None:
    await cropper.remember_crash(sha256(b"video").hexdigest())
    assert isinstance(await cropper.crop(VIDEO, SETTINGS, 30.0), Failed)
    assert isinstance(await cropper.crop(OTHER, SETTINGS, 30.0), Cropped)


async def test_croppers_that_cannot_be_told_delay_nobody(cropper: FaceCropper, others: Others) -> None:
    others.error = RuntimeError("gone")
    await crash(cropper)


async def test_a_crash_is_remembered_although_its_client_has_left(cropper: FaceCropper, others: Others) -> None:
    sandbox = await prepared(cropper)
    sandbox.raises = CRASHED
    sandbox.go.clear()
    call = asyncio.create_task(cropper.crop(VIDEO, SETTINGS, 30.0))
    assert await asyncio.to_thread(sandbox.begun.acquire, timeout=10)
    call.cancel()
    await asyncio.wait([call])
    sandbox.go.set()
    await others.heard.wait()  # which comes after it is remembered here
    assert isinstance(await cropper.crop(VIDEO, SETTINGS, 30.0), Failed)
    assert len(sandbox.files) == 1


async def test_the_memory_can_be_switched_off(others: Others) -> None:
    cropper = FaceCropper(make_config(serving={"decode_children": 1, "crash_memory_seconds": 0}))
    await crash(cropper)
    assert isinstance(await cropper.crop(VIDEO, SETTINGS, 30.0), Cropped)
    assert others.told == []


async def test_nothing_is_read_twice_before_the_first_crash(
    cropper: FaceCropper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_cropper, "digest_of", lambda source: pytest.fail("hashed in vain"))
    assert isinstance(await cropper.crop(VIDEO, SETTINGS, 30.0), Cropped)
