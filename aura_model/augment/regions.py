"""Parts of a face from another time or with another course: as lip-sync, and as reenactment leaves them."""

from dataclasses import dataclass, replace

import numpy as np

from aura_model.augment.blending import WARP_KERNELS, Patch, blend
from aura_model.augment.expressions import Motion, draw_expressions
from aura_model.augment.face_model import fit_similarities
from aura_model.augment.forgery import Forgery, Material, wander
from aura_model.augment.looks import LookSettings, draw_look
from aura_model.augment.masks import MaskSettings, draw_shape, face_masks
from aura_model.augment.timing import aligned, draw_shifted

_FAINT = LookSettings(offset=2.0, gain=0.02, saturation=0.04, hue=0.02, curve=0.05, shading=0.025)


@dataclass(frozen=True)
class RegionSettings:
    """From what a region's forgery is drawn."""

    mask: MaskSettings
    look: LookSettings
    motion: Motion
    other_time: float = 0.6
    """Probability that the region shows another time of the clip."""
    drift: float = 0.003


LIPS = RegionSettings(
    mask=MaskSettings(regions=("mouth", "lower", "lower"), lumps=0.1, smoothing=(0.05, 0.14)),
    look=replace(_FAINT, texture=1.0, strongest_shrink=3.5),
    motion=Motion(features=("mouth", "chin"), moves=0.02, widths=0.08, heights=0.3, hold=0.5),
)
"""Lip-sync redraws the mouth or the lower face, often from a small picture (Wav2Lip: 96 pixels)."""
EYES = RegionSettings(
    mask=MaskSettings(regions=("eyes",), lumps=0.1, smoothing=(0.04, 0.1)),
    look=_FAINT,
    motion=Motion(features=("left_eye", "right_eye", "left_brow", "right_brow"), moves=0.015, heights=0.15, hold=0.6),
)
FACE = RegionSettings(
    mask=MaskSettings(regions=("face", "brows_to_chin", "core")),
    look=replace(_FAINT, texture=1.0),
    motion=Motion(moves=0.015, widths=0.04, heights=0.15, hold=0.7),
    other_time=0.3,
)
"""Reenactment redraws the face with another course of its features, in its own colours."""


def mouth_swap(material: Material, rng: np.random.Generator, settings: RegionSettings = LIPS) -> Forgery:
    """Another mouth in the same face."""
    return _swap("mouth_swap", material, rng, settings)


def eyes_swap(material: Material, rng: np.random.Generator, settings: RegionSettings = EYES) -> Forgery:
    """Other eyes in the same face."""
    return _swap("eyes_swap", material, rng, settings)


def reenactment(material: Material, rng: np.random.Generator, settings: RegionSettings = FACE) -> Forgery:
    """The same face with another expression."""
    return _swap("reenactment", material, rng, settings)


def _swap(family: str, material: Material, rng: np.random.Generator, settings: RegionSettings) -> Forgery:
    faces = fit_similarities(material.landmarks)
    order = draw_shifted(rng, len(faces)) if rng.random() < settings.other_time else list(range(len(faces)))
    patch = Patch(
        frames=aligned(material.faces, faces, order),
        masks=face_masks(material.landmarks, *material.size, draw_shape(rng, settings.mask)),
        look=draw_look(rng, settings.look),
        ratio=1.0,
        kernel=int(rng.choice(WARP_KERNELS)),
        warps=draw_expressions(rng, len(faces), settings.motion),
        brightness=1 + wander(rng, len(faces), 1, settings.drift)[:, 0],
        faces=faces,
    )
    return blend(family, material, patch)
