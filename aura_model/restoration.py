"""Pictures unlike those that a model learned from are brought closer to them before they are scored.

Bars of black, dim light, pale colours and noise say nothing about forgery, but hide it from a network that met little
of them. Each step leaves alone what is as usual; its bounds are what most of the training's pictures keep to.
"""

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from aura_model.clips import Clip
from aura_model.config import RestorationConfig
from aura_model.denoising import Frames, denoised

BRIGHT = 98
"""The percentile of a clip's brightness that stands for its light: lamps and captions are brighter, and few."""
MOST_GAIN = 6.0
"""By which light and colour are multiplied: beyond it there is little but rounding."""
GREY = 1.0
"""A mean distance from grey, in levels of 255, below which a picture has no colours that could be restored."""
LEAST_SEEN = 0.5
"""Share of a side that must be left between two bars; more is a dark picture."""
_NEUTRAL = 128


def seen(clip: Clip, settings: RestorationConfig) -> Clip:
    """A clip as a model should see it; itself where nothing has to be restored."""
    if clip.frames is None:
        return clip
    frames = restored(clip.frames, settings)
    return clip if frames is clip.frames else replace(clip, frames=frames)


def restored(frames: Frames, settings: RestorationConfig) -> Frames:
    """The frames without what hides a forgery; themselves where they are as usual.

    Args:
        frames: uint8 [T, H, W, 3], RGB, of one clip, which is changed alike throughout.
        settings: the bounds of each step; None leaves it out.
    """
    steps = (
        (without_bars, settings.bars_below),
        (lit, settings.least_light),
        (coloured, settings.least_colour),
        (denoised, settings.most_noise),
    )
    for step, bound in steps:
        if bound is not None:
            frames = step(frames, bound)
    return frames


def without_bars(frames: Frames, below: float) -> Frames:
    """Frames whose black edges repeat the picture beside them, as a crop does beyond its image.

    Args:
        frames: of one clip.
        below: rows and columns at the edge are part of a bar where no pixel of any frame is as bright.
    """
    brightness = _brightness(frames)
    rows, columns = (_inside(brightness.max(axis=axes) >= below) for axes in ((0, 2), (0, 1)))
    if all(np.array_equal(places, np.arange(len(places))) for places in (rows, columns)):
        return frames
    return np.ascontiguousarray(frames[:, rows][:, :, columns])


def lit(frames: Frames, least: float) -> Frames:
    """Frames multiplied so that their bright parts are as bright as `least`, where they are not."""
    bright = float(np.percentile(_brightness(frames), BRIGHT))
    if not 0 < bright < least:
        return frames
    gain = min(least / bright, MOST_GAIN)
    return np.asarray(cv2.convertScaleAbs(_tall(frames), alpha=gain), np.uint8).reshape(frames.shape)


def coloured(frames: Frames, least: float) -> Frames:
    """Frames whose colours are `least` from grey in the mean, where they are less; grey pictures stay grey."""
    planes = cv2.cvtColor(_tall(frames), cv2.COLOR_RGB2YCrCb)
    distance = float(np.abs(planes[..., 1:].astype(np.int16) - _NEUTRAL).mean())
    if not GREY <= distance < least:
        return frames
    gain = min(least / distance, MOST_GAIN)
    stronger = _NEUTRAL + (np.arange(256) - _NEUTRAL) * gain
    planes[..., 1:] = stronger.round().clip(0, 255).astype(np.uint8)[planes[..., 1:]]
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB), np.uint8).reshape(frames.shape)


def _inside(seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """For each row, or column, the nearest one between the bars; itself where there are none."""
    all_places, places = np.arange(len(seen)), np.flatnonzero(seen)
    if len(places) < LEAST_SEEN * len(seen):
        return all_places
    first, last = places[0], places[-1]
    smeared = int(first > 0), int(last < len(seen) - 1)  # by codecs, beside a bar
    return all_places.clip(first + smeared[0], last - smeared[1])


def _brightness(frames: Frames) -> Frames:
    """Luma [T, H, W]."""
    return np.asarray(cv2.cvtColor(_tall(frames), cv2.COLOR_RGB2GRAY), np.uint8).reshape(frames.shape[:3])


def _tall(frames: Frames) -> Frames:
    """All frames of a clip as one picture [T * H, W, 3]."""
    return frames.reshape(-1, *frames.shape[2:])
