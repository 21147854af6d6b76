"""Sound and picture of different moments: a cue of its own (`mismatch`), for both are genuine."""

from dataclasses import dataclass

import numpy as np

from aura_model.augment.audio import Wave
from aura_model.augment.forgery import Forgery, Material
from aura_model.config import SAMPLE_RATE

_FADE = 320
"""Samples over which the wave's end passes into its beginning: 20 ms."""


@dataclass(frozen=True)
class DesyncSettings:
    """From what an offset is drawn."""

    seconds: tuple[float, float] = (0.2, 2.0)
    """The offset, late or early. Below 0.2 s viewers hardly notice it (ITU-R BT.1359)."""


def desync(material: Material, rng: np.random.Generator, settings: DesyncSettings = DesyncSettings()) -> Forgery:
    """Move the sound against the picture; what leaves at one end comes in at the other, with a short cross-fade.

    The offset is at most half of the wave, which is as far as a turn of the whole can go. A wave shorter than twice
    the least offset, or none, is left.
    """
    wave, least = material.wave, round(settings.seconds[0] * SAMPLE_RATE)
    most = 0 if wave is None else min(round(settings.seconds[1] * SAMPLE_RATE), len(wave) // 2)
    if wave is None or most < least:
        return Forgery.of_audio("desync", material, wave)
    offset = int(rng.integers(least, most + 1)) * int(rng.choice((-1, 1)))
    moved = np.roll(_closed(wave), offset)
    return Forgery.of_audio("desync", material, moved, mismatch=True)


def _closed(wave: Wave) -> Wave:
    """The wave with its last samples faded into those before its first, so that a turn of it has no click."""
    fade = min(_FADE, len(wave) // 4)
    share = np.linspace(0, 1, fade, endpoint=False, dtype=np.float32)
    closed = wave.copy()
    closed[-fade:] = wave[-fade:] * (1 - share) + wave[:fade][::-1] * share
    return closed
