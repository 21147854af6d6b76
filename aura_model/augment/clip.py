"""Augment a whole clip: which changes, and how strong, drawn from one generator."""

from dataclasses import replace

import numpy as np

from aura_model.augment import audio, video
from aura_model.clips import Clip
from aura_model.config import AugmentationConfig


def augment_clip(clip: Clip, config: AugmentationConfig, rng: np.random.Generator) -> Clip:
    """Return a changed copy of `clip`; the same generator state gives the same bytes. The input is not touched.

    `boxes` stay as they are: they are places in the source, not in the crop.
    """
    if not config.enabled:
        return clip
    picture_rng, sound_rng = rng.spawn(2)
    return _augment_sound(_augment_picture(clip, config, picture_rng), config, sound_rng)


def _augment_picture(clip: Clip, config: AugmentationConfig, rng: np.random.Generator) -> Clip:
    if clip.frames is None or clip.landmarks is None:
        return clip
    frames, landmarks = clip.frames, clip.landmarks
    if rng.random() < config.horizontal_flip:
        frames, landmarks = video.flip(frames, landmarks)
    if rng.random() < config.color_jitter.probability:
        most = config.color_jitter.range[1]
        brightness, contrast, saturation = rng.uniform(1 - most, 1 + most, 3)
        frames = video.jitter_color(frames, brightness, contrast, saturation)
    if rng.random() < config.jpeg.probability:
        frames = video.jpeg(frames, round(rng.uniform(*config.jpeg.range)))
    return replace(clip, frames=frames, landmarks=landmarks)


def _augment_sound(clip: Clip, config: AugmentationConfig, rng: np.random.Generator) -> Clip:
    if clip.wave is None or rng.random() >= config.audio_noise.probability:
        return clip
    return replace(clip, wave=audio.add_noise(clip.wave, rng.uniform(*config.audio_noise.range), rng))
