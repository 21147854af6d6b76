"""Self-blended clips: a face put back into its own frames with another look and out of place by a little.

After self-blended images (Shiohara and Yamasaki, 2022) and their clip-consistent form (Nguyen et al., FakeSTormer,
2025), written from the papers. All draws are made once for a clip and replayed over its frames; only a slow drift tells
the frames apart, as it does in real swaps. The published method changes the look of the face or of its surroundings;
here a forgery changes the face alone, so that the truth mask holds all that was changed, and a dull lens may have
changed the surroundings of both clips of a pair before (see `aura_model.augment.pairs`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from aura_model.augment.face_model import Floats, fit_similarities
from aura_model.augment.forgery import Forgery, Masks, Material, wander
from aura_model.augment.looks import Look, LookSettings, draw_look, match_sharpness, plain_look
from aura_model.augment.masks import MaskSettings, draw_shape, face_masks
from aura_model.augment.video import Frames
from aura_model.augment.warps import Warp, warp_picture

WARP_KERNELS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)


@dataclass(frozen=True)
class BlendSettings:
    """From what a blend is drawn. Lengths are in distances between the eyes."""

    mask: MaskSettings = field(default_factory=MaskSettings)
    look: LookSettings = field(default_factory=LookSettings)
    ratios: tuple[float, ...] = (0.75, 1.0, 1.0, 1.0)
    """What the mask is multiplied with."""
    shift: float = 0.045
    """Deviation of the face's place."""
    stretch: float = 0.03
    """Deviation of its width and of its height."""
    turn: float = 0.015
    """Deviation of its turn, radians."""
    bumps: float = 0.02
    """Deviation of eight local displacements: other proportions."""
    drift: float = 0.004
    """Deviation of the place over time; the brightness drifts by as much."""


@dataclass(frozen=True, eq=False)
class Patch:
    """What a family puts into one clip of T frames."""

    faces: Floats
    """[T, 2, 3] similarities from face units to pixels."""
    masks: Masks
    """[T, H, W]"""
    frames: Frames | Sequence[Frames]
    """T pictures `[H, W, 3]` whose faces lie where the clip's do."""
    warps: Sequence[Warp] | None = None
    """T warps of these pictures; None leaves them."""
    kernel: int = cv2.INTER_CUBIC
    """The warps' interpolation."""
    look: Look = field(default_factory=plain_look)
    brightness: Floats | None = None
    """[T] gains"""
    ratio: float = 1.0
    """What the masks are multiplied with."""


def self_blend(material: Material, rng: np.random.Generator, settings: BlendSettings = BlendSettings()) -> Forgery:
    """A face swap that never was: the clip's own face, blended back."""
    faces = fit_similarities(material.landmarks)
    patch = Patch(
        frames=material.faces,
        masks=face_masks(material.landmarks, *material.size, draw_shape(rng, settings.mask)),
        look=draw_look(rng, settings.look),
        ratio=float(rng.choice(settings.ratios)),
        kernel=int(rng.choice(WARP_KERNELS)),
        warps=draw_slips(rng, settings, len(faces)),
        brightness=1 + wander(rng, len(faces), 1, settings.drift)[:, 0],
        faces=faces,
    )
    return blend("self_blend", material, patch)


def draw_slips(rng: np.random.Generator, settings: BlendSettings, count: int) -> list[Warp]:
    """Draw by how much the inner face is out of place: one warp for `count` frames, with a slow drift."""
    turn = rng.standard_normal() * settings.turn
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = rotation @ np.diag(1 + rng.standard_normal(2) * settings.stretch)
    middle = np.array([0.0, 0.5])
    shift = middle - linear @ middle + rng.standard_normal(2) * settings.shift
    centers = np.stack([rng.uniform(-0.8, 0.8, 8), rng.uniform(-0.6, 1.6, 8)], -1).astype(np.float32)
    radii = np.repeat(rng.uniform(0.25, 0.6, (8, 1)), 2, 1).astype(np.float32)
    moves = (rng.standard_normal((8, 2)) * settings.bumps).astype(np.float32)
    drifts = wander(rng, count, 2, settings.drift)
    still = np.zeros_like(moves)
    return [
        Warp(linear.astype(np.float32), (shift + drift).astype(np.float32), centers, radii, moves, still)
        for drift in drifts
    ]


def blend(family: str, material: Material, patch: Patch) -> Forgery:
    """Put a patch into the clip. Each frame is worked on within its mask's box; the rest is the material's own."""
    frames = material.frames.copy()
    for index, mask in enumerate(patch.masks):
        box = box_of(mask)
        if box is not None:
            frames[index][box] = _blended(frames[index][box], patch, index, box)
    return Forgery.of_video(family, material, frames, patch.masks)


def _blended(outer: Frames, patch: Patch, index: int, box: tuple[slice, slice]) -> Frames:
    weight = patch.masks[index][box]
    face = patch.faces[index].copy()
    face[:, 2] -= (box[1].start, box[0].start)
    inner: Floats = patch.frames[index][box].astype(np.float32)
    if patch.warps is not None:
        inner = warp_picture(inner, face, patch.warps[index], patch.kernel)
    below, brightness = outer.astype(np.float32), 1.0 if patch.brightness is None else float(patch.brightness[index])
    painted = patch.look.paint(inner, below, weight, brightness)
    mixed = mix(below, painted, weight * np.float32(patch.ratio))
    if patch.look.sharpness is not None:
        # After the mixing, which blurs, too: two pictures that are out of place average each other's detail away.
        mixed = mix(mixed, match_sharpness(mixed, below, weight, patch.look.sharpness), weight)
    return rounded(mixed)


def mix(below: Floats, above: Floats, weight: Floats) -> Floats:
    """`above` `[H, W, 3]` over `below` by `weight` `[H, W]`; where the weight is 0 it is `below` exactly."""
    return np.asarray(below + (above - below) * weight[..., None], dtype=np.float32)


def rounded(picture: Floats) -> Frames:
    """Floats in 0..255, or somewhat beyond, as bytes."""
    return np.asarray(np.clip(np.rint(picture), 0, 255), dtype=np.uint8)


def box_of(mask: Masks) -> tuple[slice, slice] | None:
    """The rows and columns in which a mask is not 0."""
    x, y, width, height = cv2.boundingRect((mask > 0).view(np.uint8))
    return (slice(y, y + height), slice(x, x + width)) if width else None
