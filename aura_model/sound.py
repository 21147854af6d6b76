"""The sound of given spans of time: mono, 16 kHz, float32, aligned with the frames by the container's clock."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler

from aura_model.config import SAMPLE_RATE
from aura_model.elementary import ElementaryStream
from aura_model.media import Media
from aura_model.streams import AUDIO_CODECS

PREROLL = 0.2
"""Seconds decoded before a span, for codecs whose packets overlap."""
JITTER = 0.015
"""Seconds by which a timestamp may miss the end of the sound before it; more is a gap. Containers round to 1 ms and
worse, and a packet lasts 20 ms or more."""
NEAR = 1.0
"""Seconds around a span from which frames are kept: where few packets have timestamps, many more are decoded."""
RATES = range(4_000, 768_001)
"""Sampling rates, Hz, that sound may have; to resample from hundreds of megahertz takes seconds and gigabytes."""
SILENCE = 1e-4
"""What is not louder is nothing: three steps of 16 bits."""
MIX = {"rematrix_maxval": "1.0"}
"""Channels are averaged; without this, the same sound in both would come out 3 dB louder and clip."""


class SoundReader:
    """Decodes only the packets that a span needs."""

    def __init__(self, media: Media) -> None:
        if media.audio is None:
            raise ValueError("the media holds no sound")
        self._stream: ElementaryStream[AudioCodecContext] = media.audio
        self._start = media.start
        self._context = media.audio.context
        self._context.options = {"codec_whitelist": ",".join(sorted(AUDIO_CODECS))}
        self._times = _packet_times(self._stream, self._start, media.duration)

    def span(self, start: float, seconds: float) -> npt.NDArray[np.float32] | None:
        """[S] samples in -1..1 from `start` s on, silence where the stream has none; None if nothing decodes."""
        wave = np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32)
        runs = _runs(self._frames(start - PREROLL, start + seconds))
        found = [_overlay(wave, run.samples(), round((run.start - start) * SAMPLE_RATE)) for run in runs]
        return wave if any(found) else None

    def _frames(self, start: float, end: float) -> Iterator[tuple[float, AudioFrame]]:
        """Decoded frames and their times, from a little before `start` to a little after `end`.

        A frame without a timestamp follows the one before it: a packet may hold several frames (ADPCM in WAV), and one
        timestamp may stand for several packets (AAC in transport streams).
        """
        follows = -np.inf
        for time, packet in self._needed(start, end):
            for frame in self._decode(packet):
                if frame.sample_rate not in RATES:
                    continue
                at = max(time, follows) if frame.pts is None else self._time(frame.pts)
                follows = at + frame.samples / frame.sample_rate
                if follows > start - NEAR and at < end + NEAR:
                    yield at, frame

    def _needed(self, start: float, end: float) -> "Iterator[tuple[float, av.Packet[Any] | None]]":
        """The packets of a span and their times, from one with a timestamp on; None lets the decoder end."""
        if not len(self._times):
            return
        first, last = np.searchsorted(self._times, [start, end])
        stamped = np.searchsorted(self._times, self._times[max(0, first - 1)])  # the first of those with the same time
        needed = slice(int(stamped), int(last) + 1)
        self._context.flush_buffers()
        yield from zip(self._times[needed].tolist(), self._stream.packets[needed], strict=True)
        yield end, None

    def _time(self, stamp: int) -> float:
        return float(stamp * self._stream.time_base) - self._start

    def _decode(self, packet: "av.Packet[Any] | None") -> list[AudioFrame]:
        try:
            return self._context.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError:
            return []


class _Run:
    """Decoded frames of one kind, one after the other without a gap."""

    def __init__(self, start: float, frame: AudioFrame) -> None:
        self.start = self.end = start
        self.frames: list[AudioFrame] = []
        self.append(frame)

    def append(self, frame: AudioFrame) -> None:
        """Add the frame that begins where this run ends."""
        self.frames.append(frame)
        self.end += frame.samples / frame.sample_rate

    def goes_on(self, time: float, frame: AudioFrame) -> bool:
        """Whether `frame`, at `time`, continues this run."""
        return abs(time - self.end) < JITTER and _kind(frame) == _kind(self.frames[-1])

    def samples(self) -> npt.NDArray[np.float32]:
        """[n] mono at 16 kHz, resampled as one piece: frame by frame, each seam would click.

        Where the channels cancel out (a microphone whose two wires were swapped on one side), it is the loudest.
        """
        with suppress(av.FFmpegError):  # channels that nobody knows how to mix
            mixed: npt.NDArray[np.float32] = self._resampled("mono")[0]
            if len(self.frames[0].layout.channels) == 1 or np.abs(mixed).max(initial=0) > SILENCE:
                return mixed
        try:
            channels = self._resampled(self.frames[0].layout)
        except av.FFmpegError:
            return np.zeros(0, dtype=np.float32)
        mean: npt.NDArray[np.float32] = channels.mean(0, dtype=np.float32)
        loudest = int(np.square(channels).sum(1).argmax())
        return mean if np.abs(mean).max(initial=0) > SILENCE else channels[loudest]

    def _resampled(self, layout: AudioLayout | str) -> npt.NDArray[np.float32]:
        """[channels, n] at 16 kHz."""
        resampler = AudioResampler(format="fltp", layout=layout, rate=SAMPLE_RATE, options=MIX)
        pieces = [piece.to_ndarray() for frame in [*self.frames, None] for piece in resampler.resample(frame)]
        return np.concatenate(pieces, axis=1) if pieces else np.zeros((1, 0), np.float32)


def _kind(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _runs(frames: Iterable[tuple[float, AudioFrame]]) -> Iterator[_Run]:
    """Join frames until the clock jumps or their kind changes."""
    run: _Run | None = None
    for time, frame in frames:
        if run and run.goes_on(time, frame):
            run.append(frame)
            continue
        if run:
            yield run
        run = _Run(time, frame)
    if run:
        yield run


def _overlay(wave: npt.NDArray[np.float32], samples: npt.NDArray[np.float32], at: int) -> bool:
    """Write samples where they belong in the span; whether any fell inside."""
    begin, end = max(0, at), min(len(wave), at + len(samples))
    if begin >= end:
        return False
    wave[begin:end] = np.clip(np.nan_to_num(samples[begin - at : end - at]), -1, 1)
    return True


def _packet_times(
    stream: ElementaryStream[AudioCodecContext], start: float, duration: float
) -> npt.NDArray[np.float64]:
    """[n] rising times of the packets, seconds: one without a timestamp takes its predecessor's; evenly without any."""
    times = [stream.time(packet) for packet in stream.packets]
    known = np.array([np.nan if time is None else time - start for time in times], dtype=np.float64)
    if np.all(np.isnan(known)):
        return np.linspace(0, duration, len(known), endpoint=False)
    return np.maximum.accumulate(np.nan_to_num(known, nan=-np.inf))
