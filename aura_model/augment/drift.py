"""Faults in time alone: features that tremble, and a face that stumbles while its surroundings run on.

After feature drift (Wang et al., "video blending", 2024) and the in-mask drops and repeats of AltFreezing (2023).
Neither changes colour or resolution, so that a single frame shows next to nothing.
"""

from dataclasses import dataclass, replace

import numpy as np

from aura_model.augment.blending import Patch, blend
from aura_model.augment.expressions import Motion, draw_expressions
from aura_model.augment.face_model import fit_similarities
from aura_model.augment.forgery import Forgery, Material
from aura_model.augment.masks import MaskSettings, draw_shape, face_masks
from aura_model.augment.timing import aligned, draw_stumbling

_STEADY_MASK = MaskSettings(regions=("face", "core"))
_TREMOR = Motion(moves=0.02, widths=0.02, heights=0.05, hold=0.2)


@dataclass(frozen=True)
class DriftSettings:
    """From what a tremor is drawn."""

    mask: MaskSettings = _STEADY_MASK
    motion: Motion = _TREMOR
    weakest: float = 0.5
    """The tremor's strength is drawn from this share to the whole."""


def feature_drift(material: Material, rng: np.random.Generator, settings: DriftSettings = DriftSettings()) -> Forgery:
    """Eyes, nose and mouth tremble against each other from frame to frame."""
    strength, motion = rng.uniform(settings.weakest, 1), settings.motion
    moved = replace(
        motion, moves=motion.moves * strength, widths=motion.widths * strength, heights=motion.heights * strength
    )
    masks = face_masks(material.landmarks, *material.size, draw_shape(rng, settings.mask))
    warps = draw_expressions(rng, len(masks), moved)
    patch = Patch(fit_similarities(material.landmarks), masks, material.frames, warps)
    return blend("feature_drift", material, patch)


def frame_stumble(material: Material, rng: np.random.Generator, settings: MaskSettings = _STEADY_MASK) -> Forgery:
    """Some frames of the face are shown again, left out or swapped, in place. One frame alone cannot stumble."""
    order, faces = draw_stumbling(rng, len(material.frames)), fit_similarities(material.landmarks)
    masks = face_masks(material.landmarks, *material.size, draw_shape(rng, settings))
    masks[[time for time, shown in enumerate(order) if time == shown]] = 0
    return blend("frame_stumble", material, Patch(faces, masks, aligned(material.frames, faces, order)))
