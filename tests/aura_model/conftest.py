import io
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
import pytest

from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.settings import load_config

TINY = (
    "model.video.backbone=test_efficientnet",
    "model.video.pretrained=false",
    "model.fusion.hidden_dim=16",
    "model.audio.n_mels=32",
    "dataset.face.size=64",
    "dataset.video.temporal_window=3",
)


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., Config]:
    """A configuration of a model that runs in milliseconds; further overrides as `section.key=value`."""
    return lambda *overrides: load_config(env={}, overrides=(*TINY, *overrides))


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Clip]:
    """A random clip of the tiny configuration's shape, with pictures, sound or both."""

    def build(seed: int, video: bool = True, audio: bool = True, frames: int = 3, size: int = 64) -> Clip:
        rng = np.random.default_rng(seed)
        return Clip(
            times=np.arange(frames) / 8.0,
            seconds=frames / 8.0,
            frames=rng.integers(0, 256, (frames, size, size, 3), dtype=np.uint8) if video else None,
            boxes=None,
            landmarks=None,
            track_id=0 if video else None,
            wave=(0.1 * rng.standard_normal(frames * 2000)).astype(np.float32) if audio else None,
        )

    return build


@dataclass(frozen=True)
class Pictures:
    """A video stream to encode: `images` [H, W, 3], or pictures that show their numbers (0..255) as eight bars."""

    numbers: range = range(50)
    images: list[np.ndarray] | None = None
    codec: str = "libx264"
    rate: int = 25
    times_ms: list[int] | None = None
    size: tuple[int, int] = (128, 64)
    pixels: str = "yuv420p"
    options: dict[str, str] = field(
        default_factory=lambda: {
            "preset": "veryfast",
            "x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=2:b-adapt=0:threads=1",
        }
    )
    flags: int = 0

    def packets(self, container) -> list[av.Packet]:
        stream = container.add_stream(self.codec, self.rate, options=self.options)
        images = self.images or [number_picture(number, self.size) for number in self.numbers]
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = self.pixels
        base = Fraction(1, 1000 if self.times_ms else self.rate)
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= self.flags
        found = []
        for pts, image in zip(self.times_ms or range(len(images)), images, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image)).reformat(format=self.pixels)
            frame.pts, frame.time_base = pts, base
            found += stream.encode(frame)
        return found + stream.encode(None)


@dataclass(frozen=True)
class Sound:
    """A sound stream to encode: samples [channels, n] in -1..1, the first one at `start` s."""

    samples: np.ndarray
    codec: str = "aac"
    rate: int = 48000
    layout: str = "mono"
    start: float = 0.0

    def packets(self, container) -> list[av.Packet]:
        stream = container.add_stream(self.codec, self.rate, layout=self.layout)
        stream.bit_rate = 128_000
        stream.codec_context.open()
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.codec_context.format, self.layout, self.rate, frame_size=size)
        samples = np.atleast_2d(self.samples).astype(np.float32)
        source = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self.layout)
        source.sample_rate, source.time_base = self.rate, Fraction(1, self.rate)
        source.pts = round(self.start * self.rate)
        frames = [*resampler.resample(source), *resampler.resample(None)]
        return [packet for frame in frames for packet in stream.encode(frame)] + stream.encode(None)


@dataclass(frozen=True)
class Telemetry:
    """A data stream, as action cameras write for their sensors: one packet every 100 ms."""

    seconds: float

    def packets(self, container) -> list[av.Packet]:
        stream = container.add_data_stream("bin_data")
        found = []
        for index in range(round(self.seconds * 10)):
            packet = av.Packet(b"DEVC" + bytes(60))
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = 100 * index
            found.append(packet)
        return found


def number_picture(number: int, size: tuple[int, int] = (128, 64)) -> np.ndarray:
    """[H, W, 3]: bar k is bright where bit k of the number is set."""
    bits = np.array([number >> bit & 1 for bit in range(8)], dtype=bool)
    row = np.where(np.repeat(bits, size[0] // 8), 220, 40).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (size[1], row.size, 3)))


class Films:
    """Small media, encoded in memory."""

    Pictures = Pictures
    Sound = Sound
    Telemetry = Telemetry

    def film(self, kind: str, *streams: Pictures | Sound | Telemetry, **muxer: str) -> bytes:
        """A file of FFmpeg's format `kind` with these streams; `muxer` holds its options."""
        file = io.BytesIO()
        with av.open(file, "w", format=kind, options=muxer) as container:
            packets = [packet for stream in streams for packet in stream.packets(container)]
            container.mux(sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base))
        return file.getvalue()

    def number(self, image: np.ndarray) -> int:
        """The number that a picture [H, W, 3] shows."""
        bars = np.array_split(image[image.shape[0] // 4 : -image.shape[0] // 4].mean(axis=(0, 2)), 8)
        return sum(1 << bit for bit, bar in enumerate(bars) if bar[len(bar) // 4 : -len(bar) // 4].mean() > 128)


@pytest.fixture(scope="session")
def films() -> Films:
    """Makes small media whose frames can be told apart."""
    return Films()
