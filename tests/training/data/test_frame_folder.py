import io
import json
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from pyarrow.fs import LocalFileSystem

from aura_model.clips import Clips
from aura_model.config import Config
from aura_model.errors import MediaError
from aura_model.sandbox import Sandbox
from training.data.debugset import MEDIA
from training.data.frame_folder import find_frames, pack_folder

SYSTEM = LocalFileSystem()
VIDEO = MEDIA / "talking_face.mp4"
FRAMES = "preprocessed/frames"
Image = npt.NDArray[np.uint8]


def picture(level: int, size: tuple[int, int] = (64, 48), kind: str = ".jpg") -> bytes:
    """A grey picture of (width, height)."""
    return cv2.imencode(kind, np.full((size[1], size[0], 3), level, np.uint8))[1].tobytes()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def wav(samples: npt.NDArray[np.int16], rate: int = 16000) -> bytes:
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    data = samples.astype("<i2").tobytes()
    return b"RIFF" + struct.pack("<I", len(head) + 8 + len(data)) + head + b"data" + struct.pack("<I", len(data)) + data


def npy(array: npt.NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def grey_levels(packed: bytes) -> list[float]:
    with av.open(io.BytesIO(packed)) as container:
        return [float(np.median(frame.to_ndarray(format="gray"))) for frame in container.decode(video=0)]


def sound_of(packed: bytes) -> tuple[int, npt.NDArray[np.int16]]:
    with av.open(io.BytesIO(packed)) as container:
        frames = list(container.decode(audio=0))
        return frames[0].sample_rate, np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.int16)


@pytest.fixture(scope="module")
def upright() -> tuple[list[Image], float, npt.NDArray[np.int16]]:
    """The frames of a real video, its rate, and its sound at 16 kHz."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=16000)
    with av.open(str(VIDEO)) as container:
        rate = float(container.streams.video[0].average_rate or 0)
        frames = [frame.to_ndarray(format="bgr24").astype(np.uint8) for frame in container.decode(video=0)]
        container.seek(0)
        decoded = [*container.decode(audio=0), None]
        pieces = [piece.to_ndarray()[0] for frame in decoded for piece in resampler.resample(frame)]
    sound = np.concatenate(pieces).astype(np.int16)
    return frames, rate, sound[: round(16000 * len(frames) / rate)]  # as long as the frames, so that clips start alike


def write_frames(folder: Path, video: tuple[list[Image], float, npt.NDArray[np.int16]], kind: str) -> Path:
    frames, rate, sound = video
    quality = [cv2.IMWRITE_JPEG_QUALITY, 98] if kind == ".jpg" else []
    files = {f"{FRAMES}/{n}{kind}": cv2.imencode(kind, frame, quality)[1].tobytes() for n, frame in enumerate(frames)}
    files["preprocessed/audio.wav"] = wav(sound)
    return write(folder, files | {"meta.json": json.dumps({"label": 0, "fps": rate}).encode()})


@pytest.fixture(scope="module")
def sandboxed(make_config: Callable[..., Config]) -> Callable[[Path | bytes], Clips]:
    def load(source: Path | bytes) -> Clips:
        with Sandbox(make_config("dataset.video.temporal_window=4", "dataset.audio.min_speech=0")) as sandbox:
            return sandbox.load_clips(source)

    return load


@pytest.fixture(scope="module")
def originals(sandboxed: Callable[[Path | bytes], Clips]) -> Clips:
    return sandboxed(VIDEO)


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_frames_and_sound_give_nearly_the_clips_of_their_video(
    tmp_path: Path,
    config: Config,
    upright: tuple[list[Image], float, npt.NDArray[np.int16]],
    sandboxed: Callable[[Path | bytes], Clips],
    originals: Clips,
    kind: str,
) -> None:
    found = sandboxed(pack_folder(SYSTEM, str(write_frames(tmp_path, upright, kind)), config))
    assert found.notes == originals.notes == ()
    assert (found.media.width, found.media.height) == (originals.media.width, originals.media.height)
    assert found.media.fps == pytest.approx(originals.media.fps, rel=1e-3)
    assert found.media.duration == pytest.approx(originals.media.duration, abs=0.1)
    assert len(found.clips) == len(originals.clips) > 1
    for clip, original in zip(found.clips, originals.clips, strict=True):
        assert clip.frames is not None
        assert original.frames is not None
        assert clip.boxes == pytest.approx(original.boxes, abs=5)
        assert np.abs(clip.frames.astype(float) - original.frames).mean() < 6
        assert clip.wave is not None
        assert original.wave is not None
        assert np.corrcoef(clip.wave, original.wave)[0, 1] > 0.99


def test_the_sound_begins_with_the_first_frame(tmp_path: Path, config: Config) -> None:
    ramp = (np.arange(100_000) % 30_000).astype(np.int16)  # more than one block
    files = {f"{n}.jpg": picture(n) for n in range(8)} | {"audio.wav": wav(ramp)}
    packed = pack_folder(SYSTEM, str(write(tmp_path, files)), config)
    rate, samples = sound_of(packed)
    assert rate == 16000
    assert np.array_equal(samples, ramp)
    with av.open(io.BytesIO(packed)) as container:
        assert [float(stream.start_time or 0) for stream in container.streams] == [0, 0]
        assert container.duration == pytest.approx(6.25e6, rel=1e-3)


def test_frames_come_in_the_natural_order_of_their_names(tmp_path: Path, config: Config) -> None:
    names = ["f1.jpg", "f2.JPG", "f03.jpeg", "f10.jpg", "f010b.jpg", "g.jpg"]
    files = {name: picture(20 * n + 20) for n, name in reversed(list(enumerate(names)))}
    folder = write(tmp_path, files | {"notes.txt": b"x", ".hidden.jpg": b"x", "sub/f1.jpg": b"x"})
    assert [file.name for file in find_frames(SYSTEM, str(folder)).frames] == names
    levels = grey_levels(pack_folder(SYSTEM, str(folder), config))
    assert levels == pytest.approx([20, 40, 60, 80, 100, 120], abs=1)


@pytest.mark.parametrize(
    ("files", "named", "frames", "sound", "meta"),
    [
        (["preprocessed/frames/1.jpg", "1.jpg"], "", "preprocessed/frames/1.jpg", None, None),
        (["frames/1.jpg", "audio.npy", "1.jpg"], "", "frames/1.jpg", "audio.npy", None),
        (["1.png", "audio.wav", "audio.npy", "meta.json"], "", "1.png", "audio.wav", "meta.json"),
        (["preprocessed/audio.npy", "audio.npy", "frames/1.jpg"], "", "frames/1.jpg", "preprocessed/audio.npy", None),
        (
            ["preprocessed/frames/1.jpg", "preprocessed/audio.wav", "meta.json"],
            "preprocessed",
            "preprocessed/frames/1.jpg",
            "preprocessed/audio.wav",
            "meta.json",
        ),
        (
            ["preprocessed/frames/1.jpg", "audio.wav", "meta.json"],
            "preprocessed/frames/",
            "preprocessed/frames/1.jpg",
            "audio.wav",
            "meta.json",
        ),
        (["x/1.jpg", "audio.wav", "meta.json"], "x", "x/1.jpg", None, None),
    ],
)
def test_where_frames_sound_and_facts_are_looked_for(
    tmp_path: Path, files: list[str], named: str, frames: str, sound: str | None, meta: str | None
) -> None:
    write(tmp_path, dict.fromkeys(files, b"content"))
    found = find_frames(SYSTEM, f"{tmp_path}/{named}")
    assert [file.path for file in found.frames] == [f"{tmp_path}/{frames}"]
    assert (found.sound and found.sound.path) == (sound and f"{tmp_path}/{sound}")
    assert (found.meta and found.meta.path) == (meta and f"{tmp_path}/{meta}")
    assert all(file.size == len(b"content") for file in found.files)


@pytest.mark.parametrize(
    ("meta", "fps"),
    [
        ({}, Fraction(8)),
        ({"fps": 25}, Fraction(25)),
        ({"fps": 29.97}, Fraction(2997, 100)),
        ({"fps": 0.5}, Fraction(1, 2)),
        ({"fps": 30000 / 1001}, Fraction(30000, 1001)),
        (None, Fraction(8)),
    ],
)
def test_the_frame_rate_is_that_of_the_meta_file(
    tmp_path: Path, config: Config, meta: dict[str, object] | None, fps: Fraction
) -> None:
    files = {} if meta is None else {"meta.json": json.dumps(meta).encode()}
    write(tmp_path, files | {f"{n}.jpg": picture(n) for n in range(40)})
    with av.open(io.BytesIO(pack_folder(SYSTEM, str(tmp_path), config))) as container:
        stream = container.streams.video[0]
        times = [packet.pts * stream.time_base for packet in container.demux(stream) if packet.pts is not None]
    assert times == [n / fps for n in range(40)]


@pytest.mark.parametrize("meta", [b"", b"[]", b"{", b'{"fps": 0}', b'{"fps": "25"}', b'{"fps": true}', b'{"fps": NaN}'])
def test_a_bad_frame_rate_is_refused(tmp_path: Path, config: Config, meta: bytes) -> None:
    write(tmp_path, {"1.jpg": picture(1), "meta.json": meta})
    with pytest.raises(MediaError, match=r"meta\.json .* fps") as caught:
        pack_folder(SYSTEM, str(tmp_path), config)
    assert caught.value.code == "invalid_video"


def test_sound_without_frames_is_a_sound_file(tmp_path: Path, config: Config) -> None:
    tone = np.sin(np.arange(8000) / 10).astype(np.float32) / 2
    packed = pack_folder(SYSTEM, str(write(tmp_path, {"preprocessed/audio.npy": npy(tone)})), config)
    rate, samples = sound_of(packed)
    assert rate == 16000
    assert np.abs(samples - 32768 * tone).max() <= 1


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path, config: Config) -> None:
    write(tmp_path, {f"{n}.jpg": picture(n) for n in range(3)} | {"audio.wav": wav(np.arange(500, dtype=np.int16))})
    packed = pack_folder(SYSTEM, str(tmp_path), config)
    assert packed == pack_folder(SYSTEM, str(tmp_path), config)
    assert b"Lavf" not in packed  # nor does the version of FFmpeg matter


WIDE = picture(9, (80, 48))
CUT = picture(9)[:12]
BAD = {
    "nothing": ({}, "no_video_stream", "neither frames"),
    "other files": ({"a.txt": b"x", "audio.mp3": b"x"}, "no_video_stream", "neither frames"),
    "no picture": ({"1.jpg": picture(1), "2.jpg": b"text"}, "corrupt_video", r"2\.jpg"),
    "empty picture": ({"1.jpg": b""}, "corrupt_video", r"1\.jpg"),
    "no frame header": ({"1.jpg": CUT}, "corrupt_video", r"1\.jpg"),
    "two sizes": (
        {"1.jpg": picture(1), "2.jpg": WIDE},
        "invalid_video",
        r"1\.jpg \(mjpeg 64x48\) and 2\.jpg \(mjpeg 80",
    ),
    "two kinds": ({"1.jpg": picture(1), "2.jpg": picture(1, kind=".png")}, "invalid_video", "png 64x48"),
    "a webp": ({"1.jpg": picture(1, kind=".webp")}, "corrupt_video", r"1\.jpg"),
    "bad wave": ({"1.jpg": picture(1), "audio.wav": b"RIFF"}, "invalid_video", r"audio\.wav"),
    "bad numpy": ({"1.jpg": picture(1), "audio.npy": b"x"}, "invalid_video", r"audio\.npy"),
    "tiny": ({"1.jpg": picture(1, (1, 48))}, "resolution_too_small", "1x48"),
}


@pytest.mark.parametrize(("files", "code", "said"), BAD.values(), ids=list(BAD))
def test_a_bad_folder_is_refused(tmp_path: Path, config: Config, files: dict[str, bytes], code: str, said: str) -> None:
    with pytest.raises(MediaError, match=said) as caught:
        pack_folder(SYSTEM, str(write(tmp_path, files)), config)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("max_frames=3", "too_many_frames"),
        ("max_bytes=5000", "file_too_large"),
        ("max_pixels=3000", "resolution_too_large"),
        ("max_seconds=0.4", "too_long"),
        ("max_frames=4", None),
        ("max_seconds=0.6", None),
    ],
)
def test_the_limits_hold_for_folders_too(
    tmp_path: Path, make_config: Callable[..., Config], limit: str, code: str | None
) -> None:
    files = {f"{n}.jpg": picture(n) for n in range(4)} | {"audio.wav": wav(np.zeros(24000, np.int16))}
    write(tmp_path, files)
    config = make_config(f"limits.{limit}")
    if code is None:
        assert pack_folder(SYSTEM, str(tmp_path), config)
        return
    with pytest.raises(MediaError) as caught:
        pack_folder(SYSTEM, str(tmp_path), config)
    assert caught.value.code == code


@pytest.mark.parametrize("grown", ["1.jpg", "audio.wav"])
def test_a_folder_that_grows_while_it_is_read_is_bounded(
    tmp_path: Path, make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, grown: str
) -> None:
    before = find_frames(SYSTEM, str(write(tmp_path, {"1.jpg": picture(1), "audio.wav": wav(np.zeros(9, np.int16))})))
    write(tmp_path, {grown: (tmp_path / grown).read_bytes() + bytes(5000)})
    monkeypatch.setattr("training.data.frame_folder.find_frames", lambda *_: before)
    with pytest.raises(MediaError) as caught:
        pack_folder(SYSTEM, str(tmp_path), make_config("limits.max_bytes=4000"))
    assert caught.value.code == "file_too_large"
