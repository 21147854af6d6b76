"""Augment a whole clip: which changes, and how strong, drawn from one generator."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from aura_model.augment import audio, compression, video
from aura_model.clips import Clip
from aura_model.config import AugmentationConfig, Change

Step = Callable[[Clip, AugmentationConfig, np.random.Generator], Clip]


def augment_clip(clip: Clip, config: AugmentationConfig, rng: np.random.Generator) -> Clip:
    """Return a changed copy of `clip`; the same generator state gives the same bytes. The input is not touched.

    Pictures: flip, crop, colour, blur, grain, then JPEG and H.264, as a camera comes before a platform. Sound: speed,
    pitch, then noise. Each change draws from a generator of its own, so that one that is switched off, set otherwise
    or has nothing to work on leaves the others as they were.

    `boxes` stay as they are: they are places in the source, not in the crop.
    """
    if not config.enabled:
        return clip
    for step, own in zip(STEPS, rng.spawn(len(STEPS)), strict=True):
        clip = step(clip, config, own)
    return clip


def _flip(clip: Clip, config: AugmentationConfig, rng: np.random.Generator) -> Clip:
    if clip.frames is None or clip.landmarks is None or rng.random() >= config.horizontal_flip:
        return clip
    frames, landmarks = video.flip(clip.frames, clip.landmarks)
    return replace(clip, frames=frames, landmarks=landmarks)


def _crop(clip: Clip, config: AugmentationConfig, rng: np.random.Generator) -> Clip:
    if clip.frames is None or clip.landmarks is None or not _happens(config.crop, rng):
        return clip
    frames, landmarks = video.crop(clip.frames, clip.landmarks, rng.uniform(*config.crop.range), *rng.random(2))
    return replace(clip, frames=frames, landmarks=landmarks)


def _color(clip: Clip, config: AugmentationConfig, rng: np.random.Generator) -> Clip:
    if clip.frames is None or not _happens(config.color_jitter, rng):
        return clip
    signs = rng.choice((-1, 1), 3)
    brightness, contrast, saturation = 1 + signs * rng.uniform(*config.color_jitter.range, 3)
    return replace(clip, frames=video.jitter_color(clip.frames, brightness, contrast, saturation))


def _blur(clip: Clip, config: AugmentationConfig, rng: np.random.Generator) -> Clip:
    if clip.frames is None or not _happens(config.blur, rng):
        return clip
    return replace(clip, frames=video.blur(clip.frames, rng.uniform(*config.blur.range)))


def _noise(clip: Clip, config: AugmentationConfig, rng: np.random.Generator) -> Clip:
    if clip.frames is None or not _happens(config.noise, rng):
        return clip
    return replace(clip, frames=video.add_noise(clip.frames, rng.uniform(*config.noise.range), rng))


def _jpeg(clip: Clip, config: AugmentationConfig, rng: np.random.Generator) -> Clip:
    if clip.frames is None or not _happens(config.jpeg, rng):
        return clip
    return replace(clip, frames=compression.jpeg(clip.frames, round(rng.uniform(*config.jpeg.range))))


def _h264(clip: Clip, config: AugmentationConfig, rng: np.random.Generator) -> Clip:
    if clip.frames is None or not _happens(config.h264, rng):
        return clip
    rate = len(clip.frames) / clip.seconds
    return replace(clip, frames=compression.h264(clip.frames, rng.uniform(*config.h264.range), rate))


def _time_stretch(clip: Clip, config: AugmentationConfig, rng: np.random.Generator) -> Clip:
    if clip.wave is None or not _happens(config.time_stretch, rng):
        return clip
    return replace(clip, wave=audio.stretch_time(clip.wave, rng.uniform(*config.time_stretch.range)))


def _pitch_shift(clip: Clip, config: AugmentationConfig, rng: np.random.Generator) -> Clip:
    if clip.wave is None or not _happens(config.pitch_shift, rng):
        return clip
    return replace(clip, wave=audio.shift_pitch(clip.wave, rng.uniform(*config.pitch_shift.range)))


def _audio_noise(clip: Clip, config: AugmentationConfig, rng: np.random.Generator) -> Clip:
    if clip.wave is None or not _happens(config.audio_noise, rng):
        return clip
    return replace(clip, wave=audio.add_noise(clip.wave, rng.uniform(*config.audio_noise.range), rng))


def _happens(change: Change, rng: np.random.Generator) -> bool:
    return bool(rng.random() < change.probability)


STEPS: tuple[Step, ...] = (
    _flip,
    _crop,
    _color,
    _blur,
    _noise,
    _jpeg,
    _h264,
    _time_stretch,
    _pitch_shift,
    _audio_noise,
)
"""In this order; a new one goes to its place here, which alters the draws of those behind it."""
