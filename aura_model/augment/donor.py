"""Another face in the clip, `Material.donor`: another person's, or one that a network drew.

The families with another person's face are never trained on; they are for the leave-one-family-out test. They have what
self-blending lacks: other features, other light, another camera.
"""

import cv2
import numpy as np
import numpy.typing as npt

from aura_model.augment.blending import BlendSettings, Patch, blend, box_of, draw_slips, rounded
from aura_model.augment.face_model import Floats, apply, fit_similarities, invert
from aura_model.augment.forgery import Forgery, Masks, Material
from aura_model.augment.looks import LookSettings, draw_look, match_statistics
from aura_model.augment.masks import MaskSettings, draw_shape, face_masks
from aura_model.augment.timing import aligned
from aura_model.augment.video import Frames, Landmarks

_MASK = MaskSettings(regions=("face", "brows_to_chin", "core"), level=(0.4, 0.65))
_SWAP = BlendSettings(
    look=LookSettings(offset=5.0, gain=0.05, saturation=0.1, hue=0.03, harmony=0.9, texture=0.3),
    shift=0.03,
    stretch=0.02,
)
"""Nearly the clip's own colours, as tools see to; its texture is the network's more often than not."""
_LEAST_BOX = 3
"""Pixels each way below which there is nothing to solve for."""


def donor_blend(material: Material, rng: np.random.Generator, settings: MaskSettings = _MASK) -> Forgery:
    """The donor's face in the clip's colours (mean and deviation), put in by a soft mask (Face X-ray: Li et al., 2020).

    Raises:
        ValueError: the material has no donor.
    """
    faces = fit_similarities(material.landmarks)
    masks = face_masks(material.landmarks, *material.size, draw_shape(rng, settings))
    triples = zip(_donated(material, faces), material.frames, masks, strict=True)
    recoloured = [_recoloured(donor, frame, mask) for donor, frame, mask in triples]
    return blend("donor_blend", material, Patch(faces, masks, recoloured))


def donor_poisson(material: Material, rng: np.random.Generator, settings: MaskSettings = _MASK) -> Forgery:
    """The donor's gradients on the clip's boundary values (Poisson blending: Pérez et al., 2003).

    Raises:
        ValueError: the material has no donor.
    """
    faces = fit_similarities(material.landmarks)
    masks = face_masks(material.landmarks, *material.size, draw_shape(rng, settings))
    hard = np.stack([_inside(mask) for mask in masks])
    triples = zip(_donated(material, faces), material.frames, hard, strict=True)
    frames = np.stack([_solved(donor, frame, mask) for donor, frame, mask in triples])
    return Forgery.of_video("donor_poisson", material, frames, hard)


def generated_swap(material: Material, rng: np.random.Generator, settings: BlendSettings = _SWAP) -> Forgery:
    """The donor's face, which a network drew, in the clip: its texture beside a camera's.

    Raises:
        ValueError: the material has no donor.
    """
    faces = fit_similarities(material.landmarks)
    patch = Patch(
        faces=faces,
        masks=face_masks(material.landmarks, *material.size, draw_shape(rng, settings.mask)),
        frames=_donated(material, faces),
        look=draw_look(rng, settings.look),
        ratio=float(rng.choice(settings.ratios)),
        warps=draw_slips(rng, settings, len(faces)),
    )
    return blend("generated_swap", material, patch)


def nearest_donors(landmarks: Landmarks, pool: Landmarks) -> npt.NDArray[np.intp]:
    """Order donors by how well their pose fits, the best first.

    Args:
        landmarks: `[5, 2]` of the face to be replaced.
        pool: `[N, 5, 2]` of the donors, each in the pixels of its own picture.
    """
    own = _in_face_units(landmarks[None])
    return np.argsort(np.square(_in_face_units(pool) - own).sum((1, 2)), kind="stable")


def _in_face_units(landmarks: Landmarks) -> Floats:
    inverses = invert(fit_similarities(landmarks))
    return np.stack([apply(inverse[None], points)[0] for inverse, points in zip(inverses, landmarks, strict=True)])


def _donated(material: Material, faces: Floats) -> list[Frames]:
    """The donor's frames, its faces where the clip's are; a shorter donor starts again from its beginning."""
    donor = material.donor
    if donor is None:
        raise ValueError("a donor family needs Material.donor, another person's face")
    order = [time % len(donor.frames) for time in range(len(faces))]
    return aligned(donor.frames, fit_similarities(donor.landmarks), order, onto=faces, size=material.size)


def _recoloured(donor: Frames, frame: Frames, mask: Masks) -> Frames:
    return rounded(match_statistics(donor.astype(np.float32), frame.astype(np.float32), mask, 1.0))


def _inside(mask: Masks) -> Masks:
    """The mask's upper half as 0 and 1, away from the picture's edge, where Poisson's equation has no boundary."""
    hard = (mask > 0.5).astype(np.float32)
    hard[[0, -1], :] = 0
    hard[:, [0, -1]] = 0
    box = box_of(hard)
    if box is None or min(side.stop - side.start for side in box) < _LEAST_BOX:
        hard[:] = 0
    return hard


def _solved(donor: Frames, frame: Frames, mask: Masks) -> Frames:
    box = box_of(mask)
    if box is None:
        return frame
    rows, columns = box
    middle = (columns.start + (columns.stop - columns.start) // 2, rows.start + (rows.stop - rows.start) // 2)
    cloned = cv2.seamlessClone(donor, frame, mask.astype(np.uint8) * 255, middle, cv2.NORMAL_CLONE)
    return np.asarray(np.where(mask[..., None] > 0, cloned, frame), dtype=np.uint8)
