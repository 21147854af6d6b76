"""From a media file to clips: which moments are sampled, what a clip is, and `load_clips`, the one path."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from aura_model.media import MediaInfo


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
    media: MediaInfo
    notes: tuple[str, ...]
    """Codes of what was met on the way: truncated, no_video, no_audio, no_face, no_speech."""
    timings: Mapping[str, float]
    """Seconds per stage: open, decode, faces, speech."""

    def without_samples(self) -> "Clips":
        """The same clips without pixels and sound: small enough to pass around."""
        return replace(self, clips=tuple(replace(clip, frames=None, wave=None) for clip in self.clips))
