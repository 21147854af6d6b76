"""The sound of given spans of time: mono, 16 kHz, float32, aligned with the frames by the container's clock."""

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

from aura_model.media import AUDIO_CODECS, Media, Track

SAMPLE_RATE = 16000
PREROLL = 0.2
"""Seconds decoded before a span, for codecs whose packets overlap."""


class SoundReader:
    """Decodes only the packets that a span needs."""

    def __init__(self, media: Media) -> None:
        if media.audio is None:
            raise ValueError("the media holds no sound")
        self._track: Track[AudioStream] = media.audio
        self._start = media.start
        self._context = media.audio.stream.codec_context
        self._context.options = {"codec_whitelist": ",".join(sorted(AUDIO_CODECS))}
        self._times = _packet_times(self._track, self._start)

    def span(self, start: float, seconds: float) -> npt.NDArray[np.float32] | None:
        """[S] samples in -1..1 from `start` s on, silence where the stream has none; None if nothing decodes."""
        wave = np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32)
        first, last = np.searchsorted(self._times, [start - PREROLL, start + seconds])
        resampler = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        found = False
        self._context.flush_buffers()
        for packet in [*self._track.packets[max(0, first - 1) : last + 1], None]:
            for frame in self._decode(packet):
                found |= self._place(wave, start, frame, resampler)
        return wave if found else None

    def _decode(self, packet: "av.Packet[AudioStream] | None") -> list[AudioFrame]:
        try:
            return self._context.decode(packet)
        except av.FFmpegError:
            return []

    def _place(self, wave: npt.NDArray[np.float32], start: float, frame: AudioFrame, resampler: AudioResampler) -> bool:
        """Write a decoded frame where it belongs in the span; whether any sample fell inside."""
        if frame.pts is None:
            return False
        offset = float(frame.pts * self._track.time_base) - self._start - start
        try:
            pieces = resampler.resample(frame)
        except av.FFmpegError:
            return False
        inside = False
        for piece in pieces:
            samples = piece.to_ndarray()[0]
            inside |= _overlay(wave, samples, round(offset * SAMPLE_RATE))
            offset += len(samples) / SAMPLE_RATE
        return inside


def _overlay(wave: npt.NDArray[np.float32], samples: npt.NDArray[np.float32], at: int) -> bool:
    begin, end = max(0, at), min(len(wave), at + len(samples))
    if begin >= end:
        return False
    wave[begin:end] = np.clip(np.nan_to_num(samples[begin - at : end - at]), -1, 1)
    return True


def _packet_times(track: Track[AudioStream], start: float) -> npt.NDArray[np.float64]:
    """[n] rising times of the packets; a packet without a timestamp takes its predecessor's."""
    times = [track.time(packet) for packet in track.packets]
    known = np.array([np.nan if time is None else time - start for time in times], dtype=np.float64)
    return np.maximum.accumulate(np.nan_to_num(known, nan=-np.inf)) if len(known) else known
