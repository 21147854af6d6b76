"""From a media file to clips: which moments are sampled, what a clip is, and `load_clips`, the one path."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from aura_model.config import AudioConfig, Config, VideoConfig
from aura_model.errors import MediaError
from aura_model.faces import make_detector
from aura_model.media import Media, MediaInfo, open_media
from aura_model.picture import Crops, Picture, PictureReader, Window
from aura_model.sound import SoundReader
from aura_model.stopwatch import Stopwatch
from aura_model.streams import CONTAINER_NAMES

if TYPE_CHECKING:
    from aura_model.speech import SpeechGate

ROUNDED = 0.01
"""Clips by which a duration may be short of a whole number of them, as containers round it."""

Wave = npt.NDArray[np.float32]
"""[S] mono 16 kHz, -1..1."""


@dataclass(frozen=True, eq=False)
class Clip:
    """`T` frames of one face track and the sound of the same span.

    A clip without a face (speech only) has `frames`, `boxes`, `landmarks` and `track_id` None.
    """

    times: npt.NDArray[np.float64]
    """[T] seconds from the start of the media; frame i is the one displayed at times[i]."""
    seconds: float
    """The span: from times[0] to times[0] + seconds."""
    frames: npt.NDArray[np.uint8] | None
    """[T, H, W, 3] RGB crops, H = W = dataset.face.size."""
    boxes: npt.NDArray[np.float32] | None
    """[T, 4] face box x1, y1, x2, y2 in source pixels as displayed, without margin."""
    landmarks: npt.NDArray[np.float32] | None
    """[T, 5, 2] eyes, nose, mouth corners in crop pixels."""
    track_id: int | None
    wave: npt.NDArray[np.float32] | None
    """[S] mono 16 kHz in -1..1 where the span holds speech, else None."""


@dataclass(frozen=True, eq=False)
class Clips:
    """What `load_clips` returns for one media file."""

    clips: tuple[Clip, ...]
    """By track, the most prominent first, then by time."""
    media: MediaInfo
    notes: tuple[str, ...]
    """Codes of what was met on the way: truncated, corrupt_frames, no_video, no_face, faces_left_out, no_audio,
    no_speech, sound_not_judged."""
    timings: Mapping[str, float]
    """Seconds per stage: open, decode, faces, sound."""

    def without_samples(self) -> "Clips":
        """The same clips without pixels and sound: small enough to pass around."""
        return replace(self, clips=tuple(replace(clip, frames=None, wave=None) for clip in self.clips))


def blank_clip(config: Config) -> Clip:
    """A black and silent clip with both modalities, of the shapes that `config` gives: to run a model on nothing."""
    video, side = config.dataset.video, config.dataset.face.size
    count = video.temporal_window
    return Clip(
        times=np.arange(count) / video.frame_rate,
        seconds=video.clip_seconds,
        frames=np.zeros((count, side, side, 3), np.uint8),
        boxes=np.zeros((count, 4), np.float32),
        landmarks=np.zeros((count, 5, 2), np.float32),
        track_id=0,
        wave=np.zeros(video.clip_samples, np.float32),
    )


def sample_starts(duration: float, config: VideoConfig, rng: np.random.Generator | None) -> list[float]:
    """Clip starts in seconds, rising.

    Evaluation (`rng` None) spreads `clips_per_video.eval` clips evenly, fewer where they would overlap. Training draws
    `clips_per_video.train` at random, or evenly, as `clip_sampling_strategy` says. `start_at` gives one clip in both.
    """
    latest = max(0.0, duration - config.clip_seconds)
    if config.clip_sampling_strategy == "start_at":
        return [min(config.start_at, latest)]
    if rng is not None and config.clip_sampling_strategy == "random":
        return sorted(float(start) for start in rng.uniform(0, latest, config.clips_per_video.train))
    most = config.clips_per_video.eval if rng is None else config.clips_per_video.train
    count = min(most, max(1, int(duration / config.clip_seconds + ROUNDED)))
    middles = [duration * (index + 0.5) / count for index in range(count)]
    return [min(max(0.0, middle - config.clip_seconds / 2), latest) for middle in middles]


def load_clips(source: BinaryIO | Path | bytes, config: Config, rng: np.random.Generator | None = None) -> Clips:
    """Decode a media file once and return its clips: the one path from bytes to model input.

    Runs in this very process: untrusted media goes through `aura_model.sandbox.Sandbox`, which calls this.

    Args:
        source: an open file, a path, or the bytes themselves.
        config: `dataset` says what is cut out, `limits` what is refused.
        rng: draws the clip starts in training; None means evaluation, which is deterministic.

    Raises:
        MediaError: the media cannot be used; the code says why.
    """
    return ClipLoader(config).load(source, rng)


class ClipLoader:
    """`load_clips` with its networks kept between calls."""

    def __init__(self, config: Config, threads: int = 1) -> None:
        """Load the face detector and the speech gate; `threads` bounds the threads of each.

        Raises:
            ConfigError: a network is not installed.
        """
        dataset = config.dataset
        self._config = config
        detector = make_detector(dataset.face, threads)
        self._pictures = PictureReader(detector, dataset.face, config.limits, threads)
        self._speech = _speech_gate(dataset.audio, threads)

    def load(self, source: BinaryIO | Path | bytes, rng: np.random.Generator | None) -> Clips:
        """See `load_clips`."""
        watch, video = Stopwatch(), self._config.dataset.video
        with opened(source) as file, open_media(file, self._config.limits) as media:
            starts = sample_starts(media.duration, video, rng)
            windows = [start + np.arange(video.temporal_window) / video.frame_rate for start in starts]
            watch.lap("open")
            picture = self._pictures.read(media, windows, watch) if media.video else None
            waves = self._waves(media, starts)
            watch.lap("sound")
        clips = _join(windows, video.clip_seconds, picture.crops if picture else [], waves)
        kept = _thinned(clips, video.max_clips)
        left_out = bool(picture and picture.faces_left_out) or _faces(kept) < _faces(clips)
        return Clips(
            clips=tuple(kept),
            media=_info(media, picture),
            notes=tuple(self._notes(media, picture, waves, left_out=left_out)),
            timings=watch.seconds,
        )

    def _waves(self, media: Media, starts: Sequence[float]) -> list[Wave | None]:
        """The sound of each span that holds speech."""
        if self._speech is None or media.audio is None:
            return [None] * len(starts)
        reader, seconds = SoundReader(media), self._config.dataset.video.clip_seconds
        waves = [reader.span(start, seconds) for start in starts]
        if media.video is None and not any(wave is not None for wave in waves):
            raise MediaError("no_video_stream", "There is no video, and the sound cannot be decoded.")
        least = self._config.dataset.audio.min_speech
        return [wave if wave is not None and self._speech.share(wave) >= least else None for wave in waves]

    def _notes(
        self, media: Media, picture: Picture | None, waves: Sequence[Wave | None], *, left_out: bool
    ) -> Iterator[str]:
        if media.truncated:
            yield "truncated"
        if picture and picture.damaged:
            yield "corrupt_frames"
        if picture is None:
            yield "no_video"
        elif not picture.crops:
            yield "no_face"
        elif left_out:
            yield "faces_left_out"
        if media.audio is None:
            yield "no_audio"
        elif self._speech is None:
            yield "sound_not_judged"
        elif not any(wave is not None for wave in waves):
            yield "no_speech"


def _speech_gate(config: AudioConfig, threads: int) -> "SpeechGate | None":
    if not config.enabled:
        return None
    from aura_model.speech import SpeechGate  # brings ONNX Runtime

    return SpeechGate(config.speech_threshold, threads)


@contextmanager
def opened(source: BinaryIO | Path | bytes) -> Iterator[BinaryIO]:
    """A media file to read from; what was opened here is closed when the block ends, what was given open is not."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, Path):
        with source.open("rb") as file:
            yield file
    else:
        yield source


def _join(
    windows: Sequence[Window], seconds: float, crops: Sequence[Crops], waves: Sequence[Wave | None]
) -> list[Clip]:
    """A clip for each face in each window; with no face at all, one for each window with speech."""
    if crops:
        return [
            Clip(windows[c.window], seconds, c.frames, c.boxes, c.landmarks, c.track_id, waves[c.window]) for c in crops
        ]
    spoken = zip(windows, waves, strict=True)
    return [Clip(window, seconds, None, None, None, None, wave) for window, wave in spoken if wave is not None]


def _thinned(clips: Sequence[Clip], most: int) -> list[Clip]:
    """At most so many of the clips, evenly: of each face about the same share, spread over the video."""
    if len(clips) <= most:
        return list(clips)
    return [clips[i] for i in np.linspace(0, len(clips) - 1, most).round().astype(int)]


def _faces(clips: Iterable[Clip]) -> set[int | None]:
    return {clip.track_id for clip in clips}


def _info(media: Media, picture: Picture | None) -> MediaInfo:
    return MediaInfo(
        sha256=media.sha256,
        bytes=media.bytes,
        container=CONTAINER_NAMES.get(media.container, media.container),
        duration=round(media.duration, 3),
        width=picture.width if picture else 0,
        height=picture.height if picture else 0,
        fps=round(media.fps, 3),
        rotation=picture.rotation if picture else 0,
        video_codec=media.video.codec if media.video else None,
        audio_codec=media.audio.codec if media.audio else None,
    )
