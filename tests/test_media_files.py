"""The files of tests/media are what their README says, so that other tests may rely on them."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from retinaface import detect_faces
from silero_vad import get_speech_timestamps, load_silero_vad

MEDIA = Path(__file__).parent / "media"
NOT_MEDIA = {"README.md", "LICENSES.md", "make.py", "self_made_fake.json"}
MAX_BYTES = 3_000_000
VAD_RATE = 16_000
H264 = ("h264", 400, 300)

# name -> (video codec, width, height), frames, sound codec, seconds (None: the container does not say)
DECODABLE = {
    "talking_face.mp4": (H264, 100, "aac", 4.0),
    "self_made_fake.mp4": (H264, 100, "aac", 4.0),
    "talking_face_b.mp4": (H264, 100, "aac", 4.0),
    "two_faces.mp4": (("h264", 800, 300), 75, None, 3.0),
    "no_face.mp4": (H264, 50, None, 2.0),
    "no_face_speech.mp4": (H264, 75, "aac", 3.0),
    "video_only.mp4": (H264, 75, None, 3.0),
    "audio_only.m4a": (None, 0, "aac", 4.0),
    "audio_only.wav": (None, 0, "pcm_s16le", 4.0),
    "music_only.m4a": (None, 0, "aac", 3.0),
    "rotated.mp4": (("h264", 300, 400), 50, "aac", 2.0),
    "vfr.mp4": (H264, 41, "aac", 3.3),
    "hevc10.mp4": (("hevc", 400, 300), 50, "aac", 2.0),
    "vp9.webm": (("vp9", 400, 300), 50, "opus", 2.0),
    "no_duration.webm": (("vp9", 400, 300), 50, "opus", None),
    "mpeg4.avi": (("mpeg4", 400, 300), 50, "pcm_s16le", 2.0),
    "fragmented.mp4": (H264, 50, "aac", 2.0),
    "long_gop.mp4": (("h264", 160, 120), 500, None, 20.0),
    "one_frame.mp4": (H264, 1, None, 0.04),
    "one_pixel.webm": (("vp9", 1, 1), 10, None, 0.4),
    "ten_hours.mp4": (H264, 50, None, 36_000.0),
    "unsupported_codec.avi": (("ffv1", 64, 48), 5, None, 0.2),
}
STILLS = {"face.jpg": 256, "face.png": 256, "face.webp": 256, "face_exif_rotated.jpg": 256, "one_pixel.png": 1}
BROKEN = {
    "truncated.mp4",
    "not_a_video.mp4",
    "empty.mp4",
    "huge_header.mp4",
    "huge_frame.mp4",
    "huge_header.png",
    "unknown_codec.mp4",
}

ONE_FACE = [
    "talking_face.mp4",
    "self_made_fake.mp4",
    "talking_face_b.mp4",
    "video_only.mp4",
    "rotated.mp4",
    "vfr.mp4",
    "hevc10.mp4",
    "vp9.webm",
    "no_duration.webm",
    "mpeg4.avi",
    "fragmented.mp4",
    "long_gop.mp4",
    "one_frame.mp4",
    "ten_hours.mp4",
]
SPEECH = [
    "talking_face.mp4",
    "self_made_fake.mp4",
    "talking_face_b.mp4",
    "no_face_speech.mp4",
    "audio_only.m4a",
    "audio_only.wav",
    "rotated.mp4",
    "vfr.mp4",
    "hevc10.mp4",
    "vp9.webm",
    "no_duration.webm",
    "mpeg4.avi",
    "fragmented.mp4",
]

Pixels = npt.NDArray[np.uint8]


def media_files() -> set[str]:
    return {path.name for path in MEDIA.iterdir() if path.is_file()} - NOT_MEDIA


def listed_files() -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", (MEDIA / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def frames_of(name: str) -> list[av.VideoFrame]:
    with av.open(str(MEDIA / name)) as container:
        return list(container.decode(video=0))


def picture(name: str, flags: int = cv2.IMREAD_COLOR_RGB) -> Pixels:
    return np.asarray(cv2.imread(str(MEDIA / name), flags), np.uint8)


def upright(frame: av.VideoFrame) -> Pixels:
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90), dtype=np.uint8)


def sound_of(name: str) -> npt.NDArray[np.float32]:
    resampler = av.AudioResampler("flt", "mono", VAD_RATE)
    with av.open(str(MEDIA / name)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in [*frames, *resampler.resample(None)]]).astype(np.float32)


def faces_in_some_frames(name: str) -> list[int]:
    """How many faces the detector sees in the first, the middle and the last frame."""
    frames = frames_of(name)
    return [len(detect_faces(upright(frames[index]))) for index in (0, len(frames) // 2, -1)]


@pytest.fixture(scope="module")
def speech_seconds() -> Callable[[str], float]:
    model = load_silero_vad(onnx=True)

    def measure(name: str) -> float:
        spans = get_speech_timestamps(torch.from_numpy(sound_of(name)), model, sampling_rate=VAD_RATE)
        return float(sum(span["end"] - span["start"] for span in spans)) / VAD_RATE

    return measure


def test_readme_lists_each_file_once() -> None:
    assert sorted(listed_files()) == sorted(media_files())


def test_each_file_is_examined_here() -> None:
    assert {*DECODABLE, *STILLS, *BROKEN} == media_files()


def test_files_stay_small() -> None:
    assert sum((MEDIA / name).stat().st_size for name in media_files()) < MAX_BYTES


@pytest.mark.parametrize("holder", ["Audun Mathias Øygard", "Carnegie Mellon University", "NASA", "Rachel Michetti"])
def test_every_author_is_named_in_the_licences(holder: str) -> None:
    assert holder in (MEDIA / "LICENSES.md").read_text(encoding="utf-8")
    assert holder in (MEDIA / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DECODABLE)
def test_streams_and_duration(name: str) -> None:
    video, _, sound, duration = DECODABLE[name]
    with av.open(str(MEDIA / name)) as container:
        contexts = [stream.codec_context for stream in container.streams.video]
        assert [(c.name, c.width, c.height) for c in contexts] == ([video] if video else [])
        assert [stream.codec_context.name for stream in container.streams.audio] == ([sound] if sound else [])
        assert (container.duration is None) == (duration is None)
        assert (container.duration or 0) / av.time_base == pytest.approx(duration or 0, abs=0.1)


@pytest.mark.parametrize("name", [name for name, facts in DECODABLE.items() if facts[0]])
def test_every_frame_decodes_in_order(name: str) -> None:
    frames = frames_of(name)
    times = [frame.time for frame in frames]
    assert len(frames) == DECODABLE[name][1]
    assert times == sorted(set(times))
    assert not any(frame.is_corrupt for frame in frames)


@pytest.mark.parametrize("name", STILLS)
def test_still(name: str) -> None:
    assert picture(name).shape == (STILLS[name], STILLS[name], 3)


def test_exif_orientation_turns_the_stored_picture_upright() -> None:
    plain, turned = (picture(name).astype(int) for name in ("face.jpg", "face_exif_rotated.jpg"))
    stored = picture("face_exif_rotated.jpg", cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    assert np.abs(np.rot90(plain) - stored).mean() < 2
    assert np.abs(plain - turned).mean() < 2
    assert np.abs(plain - stored).mean() > 20


def test_display_matrix_turns_a_quarter_clockwise() -> None:
    assert {frame.rotation for frame in frames_of("rotated.mp4")} == {-90}


def test_hevc_has_ten_bits() -> None:
    assert frames_of("hevc10.mp4")[0].format.name == "yuv420p10le"


def test_frame_times_are_irregular_with_one_gap() -> None:
    steps = np.diff([frame.time for frame in frames_of("vfr.mp4")])
    assert steps.max() == pytest.approx(1.2)
    assert len({round(float(step), 3) for step in steps}) == 6
    assert (steps > 0.11).sum() == 1


def test_long_gop_has_one_key_frame() -> None:
    with av.open(str(MEDIA / "long_gop.mp4")) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size) == 1


def test_fragments_carry_the_index() -> None:
    data = (MEDIA / "fragmented.mp4").read_bytes()
    assert data.count(b"moof") >= 2
    assert data.index(b"moov") < data.index(b"moof")


@pytest.mark.parametrize(("name", "in_front"), [("talking_face.mp4", True), ("talking_face_b.mp4", False)])
def test_place_of_the_index(name: str, in_front: bool) -> None:
    data = (MEDIA / name).read_bytes()
    assert (data.index(b"moov") < data.index(b"mdat")) == in_front


def test_no_duration_has_neither_duration_nor_cues() -> None:
    cues = b"\x1c\x53\xbb\x6b"
    assert cues in (MEDIA / "vp9.webm").read_bytes()
    assert cues not in (MEDIA / "no_duration.webm").read_bytes()


def test_the_self_made_fake_is_forged_where_its_truth_says() -> None:
    """Elsewhere it is the talking face, coded likewise: what differs there is the codec's rounding."""
    truth = json.loads((MEDIA / "self_made_fake.json").read_text())
    real, fake = (
        np.stack([frame.to_ndarray(format="rgb24") for frame in frames_of(name)]).astype(int)
        for name in ("talking_face.mp4", "self_made_fake.mp4")
    )
    change = np.abs(real - fake).mean(-1)
    first = round(truth["start"] * 25)
    assert (truth["end"], len(truth["regions"])) == (4.0, len(fake) - first)
    assert change[:first].max() < 60
    assert change[:first].mean() < 1.5
    for region, found in zip(truth["regions"], change[first:], strict=True):
        inside = np.zeros(found.shape, np.uint8)
        cv2.fillPoly(inside, [np.array(region["polygon"], np.int32)], 1)
        assert 5_000 < inside.sum() < 12_000
        assert found[inside == 1].mean() > 5 * found[inside == 0].mean()


def test_truncated_file_is_the_first_part_of_a_whole_one() -> None:
    whole, part = ((MEDIA / name).read_bytes() for name in ("talking_face.mp4", "truncated.mp4"))
    assert whole.startswith(part)
    assert len(part) == int(len(whole) * 0.6)


def test_truncated_file_decodes_in_part() -> None:
    times: list[float | None] = []
    with av.open(str(MEDIA / "truncated.mp4")) as container, pytest.raises(av.error.InvalidDataError):
        times.extend(frame.time for frame in container.decode(video=0))
    assert 40 < len(times) < 60


@pytest.mark.parametrize("name", ["not_a_video.mp4", "empty.mp4"])
def test_no_container_at_all(name: str) -> None:
    with pytest.raises(av.error.InvalidDataError):
        av.open(str(MEDIA / name))


def test_empty_file_has_no_bytes() -> None:
    assert (MEDIA / "empty.mp4").stat().st_size == 0


def test_unknown_codec_has_no_decoder() -> None:
    with av.open(str(MEDIA / "unknown_codec.mp4")) as container:
        assert container.streams.video[0].codec_context is None


@pytest.mark.parametrize(("name", "pixels"), [("huge_header.mp4", 20_000), ("huge_frame.mp4", 16_000)])
def test_headers_claim_a_huge_frame(name: str, pixels: int) -> None:
    data = (MEDIA / name).read_bytes()
    assert struct.unpack_from(">HH", data, data.index(b"avc1", data.index(b"stsd")) + 28) == (pixels, pixels)
    assert struct.unpack_from(">II", data, data.index(b"tkhd") + 80) == (pixels << 16, pixels << 16)
    assert len(data) < 5_000


@pytest.mark.parametrize(("name", "width"), [("huge_header.mp4", 0), ("huge_frame.mp4", 16_000)])
def test_sequence_parameters_claim_it_too(name: str, width: int) -> None:
    with av.open(str(MEDIA / name), options={"max_pixels": "1000000"}) as container:
        assert container.streams.video[0].codec_context.width == width


def test_still_header_claims_a_huge_picture() -> None:
    data = (MEDIA / "huge_header.png").read_bytes()
    assert struct.unpack_from(">II", data, 16) == (20_000, 20_000)
    assert len(data) < 100


@pytest.mark.parametrize("name", ONE_FACE)
def test_one_face_is_found(name: str) -> None:
    assert faces_in_some_frames(name) == [1, 1, 1]


def test_two_faces_are_found() -> None:
    assert faces_in_some_frames("two_faces.mp4") == [2, 2, 2]


@pytest.mark.parametrize("name", ["no_face.mp4", "no_face_speech.mp4"])
def test_no_face_is_found(name: str) -> None:
    assert faces_in_some_frames(name) == [0, 0, 0]


@pytest.mark.parametrize("name", [name for name, size in STILLS.items() if size > 1])
def test_stills_show_one_face(name: str) -> None:
    assert len(detect_faces(picture(name))) == 1


@pytest.mark.parametrize("name", SPEECH)
def test_speech_is_heard(name: str, speech_seconds: Callable[[str], float]) -> None:
    assert speech_seconds(name) > 1.5


def test_music_is_no_speech(speech_seconds: Callable[[str], float]) -> None:
    assert np.abs(sound_of("music_only.m4a")).max() > 0.1
    assert speech_seconds("music_only.m4a") == 0
