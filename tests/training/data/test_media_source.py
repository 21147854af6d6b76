from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import cv2
import fsspec
import numpy as np
import pytest

from aura_model.clips import load_clips
from aura_model.config import Config
from aura_model.errors import MediaError
from training.data.debugset import MEDIA
from training.data.media_source import open_media_source

FRAME = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
VIDEO = MEDIA / "video_only.mp4"


@pytest.fixture
def remote() -> Iterator[str]:
    system, root = fsspec.filesystem("memory"), f"/{uuid4().hex}"
    system.pipe({f"{root}/a.mp4": VIDEO.read_bytes(), f"{root}/b/preprocessed/frames/1.jpg": FRAME})
    yield f"memory:/{root}"
    system.rm(root, recursive=True)


@pytest.mark.parametrize("name", ["a.mp4", "gone.mp4"])
def test_a_local_file_is_left_to_the_child(tmp_path: Path, config: Config, name: str) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert open_media_source(str(tmp_path / name), config) == tmp_path / name


def test_a_remote_file_is_read(config: Config, remote: str) -> None:
    assert open_media_source(f"{remote}/a.mp4", config) == VIDEO.read_bytes()
    assert open_media_source(VIDEO.as_uri(), config) == VIDEO.read_bytes()


def test_a_folder_is_packed_wherever_it_is(tmp_path: Path, config: Config, remote: str) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.jpg").write_bytes(FRAME)
    packed = open_media_source(str(tmp_path), config)
    assert isinstance(packed, bytes)
    assert packed == open_media_source(tmp_path.as_uri(), config) == open_media_source(f"{remote}/b", config)
    assert load_clips(packed, config).notes == ("no_face", "no_audio")


@pytest.mark.parametrize(("room", "fits"), [(0, True), (-1, False)])
def test_remote_files_are_read_up_to_the_limit(
    make_config: Callable[..., Config], remote: str, room: int, fits: bool
) -> None:
    limited = make_config(f"limits.max_bytes={VIDEO.stat().st_size + room}")
    if fits:
        assert open_media_source(f"{remote}/a.mp4", limited)
        return
    with pytest.raises(MediaError) as caught:
        open_media_source(f"{remote}/a.mp4", limited)
    assert caught.value.code == "file_too_large"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("memory://gone/a.mp4", "cannot read memory://gone/a.mp4: nothing is there"),
        ("file:///gone/a.mp4", "cannot read file:///gone/a.mp4: nothing is there"),
        ("nope://k:hidden@b/a.mp4?sig=hidden", "cannot read nope://b/a.mp4?<redacted>: Protocol not known: nope"),
    ],
)
def test_what_is_not_there_is_an_os_error_without_secrets(config: Config, uri: str, said: str) -> None:
    with pytest.raises(OSError, match="cannot read") as caught:
        open_media_source(uri, config)
    assert str(caught.value) == said


def test_a_folder_without_frames_is_the_medias_fault(tmp_path: Path, config: Config) -> None:
    with pytest.raises(MediaError) as caught:
        open_media_source(str(tmp_path), config)
    assert caught.value.code == "no_video_stream"


def test_a_folder_that_cannot_be_read_is_an_os_error(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr("training.data.media_source.pack_folder", fail)
    with pytest.raises(OSError, match=f"^cannot read {tmp_path}: the disk is gone$"):
        open_media_source(str(tmp_path), config)
