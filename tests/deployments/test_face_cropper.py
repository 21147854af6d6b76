"""The face cropper without Ray."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from aura_model.clips import Clips
from aura_model.config import Config
from aura_model.errors import ConfigError, MediaError
from aura_model.sandbox import Sandbox
from deployments.face_cropper import FaceCropper
from deployments.problems import ServiceError
from tests.deployments.conftest import make_clips, make_config

VIDEO = np.frombuffer(b"video", np.uint8)


class FakeSandbox(Sandbox):
    """Children that answer at once, or when they are let go."""

    made: list["FakeSandbox"] = []
    error: Exception | None = None
    """What the next children raise."""

    def __init__(self, config: Config, children: int = 1, threads: int = 1) -> None:
        self.config = config
        self.children = children
        self.warm = threading.Barrier(children)
        self.files: list[tuple[bytes | Path, float | None]] = []
        self.raises: Exception | None = None
        self.closed = threading.Event()
        self.failing = type(self).error
        self.made.append(self)

    def load_clips(
        self, source: Path | bytes | memoryview, *, seed: int | None = None, seconds: float | None = None
    ) -> Clips:
        if seconds is None:
            self.warm.wait(10)  # as many at once as there are children
            if self.failing:
                raise self.failing
            return make_clips()
        self.files.append((source if isinstance(source, Path) else bytes(source), seconds))
        if self.raises:
            raise self.raises
        return make_clips()

    def close(self) -> None:
        self.closed.set()


@pytest.fixture(autouse=True)
def _fake_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.face_cropper.Sandbox", FakeSandbox)
    monkeypatch.setattr("deployments.face_cropper.setup_logging", lambda config: None)
    monkeypatch.setattr(FakeSandbox, "made", [])
    monkeypatch.setattr(FakeSandbox, "error", None)


@pytest.fixture
async def cropper() -> AsyncIterator[FaceCropper]:
    cropper = FaceCropper(make_config(serving={"decode_children": 2}))
    yield cropper
    await asyncio.to_thread(cropper._threads.shutdown)


async def prepared(cropper: FaceCropper, config: Config) -> FakeSandbox:
    await cropper.prepare(config)
    await asyncio.wait([cropper._opening(config)])
    assert await cropper.prepare(config) is True
    return FakeSandbox.made[-1]


async def test_children_are_warm_before_the_cropper_is_ready(cropper: FaceCropper) -> None:
    config = make_config()
    assert await cropper.prepare(config) is False
    sandbox = await prepared(cropper, config)
    assert sandbox.children == 2
    assert FakeSandbox.made == [sandbox]


async def test_clips_come_with_the_time_they_waited(cropper: FaceCropper) -> None:
    config = make_config()
    clips = await cropper.crop(VIDEO, config, 30.0)
    assert isinstance(clips, Clips)
    assert clips.timings.keys() == {"queue", "open"}
    ((content, seconds),) = FakeSandbox.made[0].files
    assert content == b"video"
    assert seconds is not None
    assert 29 < seconds <= 30


async def test_a_path_is_handed_on(cropper: FaceCropper, tmp_path: Path) -> None:
    await cropper.crop(tmp_path, make_config(), 30.0)
    assert FakeSandbox.made[0].files[0][0] == tmp_path


async def test_bad_media_is_an_answer(cropper: FaceCropper) -> None:
    sandbox = await prepared(cropper, make_config())
    sandbox.raises = error = MediaError("corrupt_video", "")
    assert await cropper.crop(VIDEO, make_config(), 30.0) is error


async def test_a_file_whose_time_is_up_is_not_opened(cropper: FaceCropper) -> None:
    outcome = await cropper.crop(VIDEO, make_config(), 0.0)
    assert isinstance(outcome, ServiceError)
    assert outcome.code == "deadline_exceeded"
    assert FakeSandbox.made[0].files == []


async def test_networks_that_are_not_installed_are_an_answer(cropper: FaceCropper) -> None:
    FakeSandbox.error = error = ConfigError("dataset.face.detector: mtcnn is not installed")
    config = make_config()
    assert await cropper.crop(VIDEO, config, 30.0) is error
    assert await cropper.prepare(config) is error
    assert len(FakeSandbox.made) == 1


async def test_children_that_did_not_start_are_started_again(cropper: FaceCropper) -> None:
    FakeSandbox.error = RuntimeError("a decode child did not start")
    config = make_config()
    with pytest.raises(RuntimeError, match="did not start"):
        await cropper.crop(VIDEO, config, 30.0)
    FakeSandbox.error = None
    assert isinstance(await cropper.crop(VIDEO, config, 30.0), Clips)
    assert len(FakeSandbox.made) == 2


async def test_new_settings_get_new_children(cropper: FaceCropper) -> None:
    old = await prepared(cropper, make_config())
    config = make_config(dataset={"face": {"size": 96}})
    assert isinstance(await cropper.crop(VIDEO, config, 30.0), Clips)
    new = FakeSandbox.made[-1]
    assert (new.config, len(new.files), len(old.files)) == (config, 1, 0)
    assert await asyncio.to_thread(old.closed.wait, 10)
    assert not new.closed.is_set()


async def test_equal_settings_keep_their_children(cropper: FaceCropper) -> None:
    await prepared(cropper, make_config())
    await prepared(cropper, make_config())
    assert len(FakeSandbox.made) == 1


async def test_the_end_of_the_replica_ends_the_children(cropper: FaceCropper) -> None:
    sandbox = await prepared(cropper, make_config())
    cropper.__del__()
    assert sandbox.closed.is_set()


@pytest.mark.parametrize(("configured", "expected"), [(3, 3), (None, 5)])
async def test_one_child_a_cpu(monkeypatch: pytest.MonkeyPatch, configured: int | None, expected: int) -> None:
    monkeypatch.setattr("deployments.face_cropper.available_cpus", lambda: 5)
    cropper = FaceCropper(make_config(serving={"decode_children": configured}))
    assert (await prepared(cropper, make_config())).children == expected
