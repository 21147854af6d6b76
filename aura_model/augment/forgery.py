"""What every pseudo-fake is made of and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from aura_model.augment.audio import Wave
from aura_model.augment.video import Frames, Landmarks

Masks = npt.NDArray[np.float32]
"""[T, H, W], 0..1."""


@dataclass(frozen=True, eq=False)
class Material:
    """A genuine loose crop: one face with the context around it, and the sound of the same span.

    Raises:
        ValueError: frames, landmarks and their shapes do not belong together. Landmarks may lie outside the frames.
    """

    frames: Frames
    """[T, H, W, 3] RGB."""
    landmarks: Landmarks
    """[T, 5, 2] eyes, nose, mouth corners in crop pixels, each pair from the picture's left to its right."""
    wave: Wave | None = None
    """[S] mono 16 kHz, -1..1."""
    donor: "Material | None" = None
    """Another person's face, which only the donor families look at."""
    crisp: Frames | None = None
    """The same frames as they were before a dull lens, for families that paint the clip's own face; None: `frames`."""

    def __post_init__(self) -> None:
        shape = getattr(self.frames, "shape", None)
        if shape is None or len(shape) != 4 or shape[3] != 3 or self.frames.dtype != np.uint8 or 0 in shape:
            raise ValueError(f"a forgery needs frames uint8 [T, H, W, 3], not {shape}")
        landmarks: Landmarks | None = self.landmarks
        if landmarks is None or landmarks.shape != (shape[0], 5, 2) or not np.isfinite(landmarks).all():
            raise ValueError("a forgery needs five finite landmarks for each frame, [T, 5, 2]")
        if self.crisp is not None and self.crisp.shape != shape:
            raise ValueError(f"crisp frames must have the shape of the others, {shape}, not {self.crisp.shape}")

    @property
    def faces(self) -> Frames:
        """The frames from which the clip's own face is taken."""
        return self.frames if self.crisp is None else self.crisp

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames, pixels."""
        return self.frames.shape[1], self.frames.shape[2]


@dataclass(frozen=True, eq=False)
class Forgery:
    """A material after a family's change. Where `mask` is 0 the pixels are the material's own, bit for bit."""

    family: str
    frames: Frames
    """[T, H, W, 3]"""
    wave: Wave | None
    mask: Masks
    """[T, H, W] how much of each pixel was put there by the forgery: the truth of a heat-map."""
    audio: bool = False
    """The sound is synthetic."""
    mismatch: bool = False
    """Picture and sound are genuine each, but not of the same moment."""

    @classmethod
    def of_video(cls, family: str, material: Material, frames: Frames, mask: Masks) -> Self:
        """A forgery of the picture alone."""
        return cls(family, frames, material.wave, mask)

    @classmethod
    def of_audio(cls, family: str, material: Material, wave: Wave | None, *, mismatch: bool = False) -> Self:
        """A forgery of the sound alone, or of its place in time."""
        changed = wave is not None and wave is not material.wave
        return cls(
            family,
            material.frames,
            wave,
            nowhere(material),
            audio=changed and not mismatch,
            mismatch=changed and mismatch,
        )

    @property
    def video(self) -> bool:
        """The picture is forged. A change that found nothing to change (one frame has no other time) is none."""
        return bool(self.mask.any())

    @property
    def label(self) -> int:
        """1 is fake. A mismatch of two genuine parts is none."""
        return int(self.video or self.audio)


Forge = Callable[[Material, np.random.Generator], Forgery]
"""A family: a pure function. The same generator state gives the same bytes; the material is not written to."""


def null_blend(material: Material, rng: np.random.Generator) -> Forgery:  # noqa: ARG001 - a family draws, this one does not
    """Blend the clip with itself unchanged: a probe for shortcuts, and labelled real."""
    return Forgery.of_video("null_blend", material, material.frames, nowhere(material))


def nowhere(material: Material) -> Masks:
    """A truth mask of nothing, [T, H, W]."""
    return np.zeros(material.frames.shape[:3], np.float32)


def wander(
    rng: np.random.Generator, steps: int, values: int, amplitude: float, hold: float = 0.9
) -> npt.NDArray[np.float32]:
    """`values` slow random curves over `steps` frames, [steps, values], of standard deviation `amplitude`.

    An Ornstein-Uhlenbeck process: each step keeps `hold` of the last value.
    """
    fresh = rng.standard_normal((steps, values)) * amplitude
    curves = np.empty_like(fresh)
    value = fresh[0]
    for step, new in enumerate(fresh):
        value = new if step == 0 else hold * value + np.sqrt(1 - hold * hold) * new
        curves[step] = value
    return curves.astype(np.float32)
