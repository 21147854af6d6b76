"""The round trip through a generator: what networks that draw pictures leave behind, without any network.

Such networks draw at a resolution of their own, forget faint detail and sensor noise, and enlarge in steps whose
kernels cover neighbouring pixels unevenly, which shows as a fine periodic pattern (Odena et al., 2016) and as peaks in
the spectrum (Zhang et al., 2019).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from aura_model.augment.blending import Patch, blend, rounded
from aura_model.augment.face_model import Floats, fit_similarities
from aura_model.augment.forgery import Forgery, Material
from aura_model.augment.looks import (
    DOWN_KERNELS,
    UP_KERNELS,
    LookSettings,
    draw_look,
    draw_sharpness,
    match_sharpness,
    soften,
)
from aura_model.augment.masks import MaskSettings, draw_shape, face_masks


@dataclass(frozen=True)
class RoundTripSettings:
    """From what a round trip is drawn."""

    side: tuple[float, float] = (0.5, 1.5)
    """The generator's resolution as a share of the picture's."""
    latent: tuple[float, float] = (1.5, 4.0)
    """How much smaller its inner picture is."""
    detail: tuple[float, float] = (0.5, 0.95)
    """Share of the detail finer than the inner picture that is drawn anew."""
    forget: tuple[float, float] = (1.0, 8.0)
    """Threshold of faint detail that is forgotten, levels of 255."""
    unevenness: tuple[float, float] = (0.002, 0.02)
    """Deviation of the enlarging kernel's gains from pixel to pixel."""
    sharpness: float | None = 0.35
    """Deviation of the logarithm of the sharpness, compared with the picture's own; None leaves it as it comes out."""


@dataclass(frozen=True, eq=False)
class RoundTrip:
    """One drawn generator; called with a picture float32 `[H, W, 3]`, it gives the picture that it would draw."""

    side: float
    latent: float
    detail: float
    forget: float
    tile: Floats
    """[n, n, 3] gains of the enlarging kernel's phases; n is 2, 4 or 8."""
    kernels: tuple[int, int, int]
    """OpenCV's interpolations: into the generator, inside of it, and out of it."""
    sharpness: float | None

    def __call__(self, picture: Floats) -> Floats:
        """Draw the picture anew."""
        height, width = picture.shape[:2]
        rows, columns = (max(8, round(side * self.side)) for side in (height, width))
        drawn = _resized(picture, rows, columns, self.kernels[0])
        drawn = soften(drawn, (self.forget, self.forget * 0.6))
        inner = _resized(drawn, max(4, round(rows / self.latent)), max(4, round(columns / self.latent)), cv2.INTER_AREA)
        coarse = _resized(inner, rows, columns, self.kernels[1])
        drawn = coarse + np.float32(self.detail) * (drawn - coarse)
        repeats = -(-rows // len(self.tile)), -(-columns // len(self.tile)), 1
        drawn = drawn * np.tile(self.tile, repeats)[:rows, :columns]
        drawn = _resized(drawn, height, width, self.kernels[2])
        return drawn if self.sharpness is None else match_sharpness(drawn, picture, None, self.sharpness)


def draw_round_trip(rng: np.random.Generator, settings: RoundTripSettings) -> RoundTrip:
    """Draw a generator."""
    period = int(rng.choice((2, 2, 4, 8)))
    gains = rng.standard_normal((period, period, 1)) + 0.3 * rng.standard_normal((period, period, 3))
    gains = (gains - gains.mean((0, 1))) * rng.uniform(*settings.unevenness)
    return RoundTrip(
        side=rng.uniform(*settings.side),
        latent=rng.uniform(*settings.latent),
        detail=rng.uniform(*settings.detail),
        forget=rng.uniform(*settings.forget),
        tile=(1 + gains).astype(np.float32),
        kernels=(int(rng.choice(DOWN_KERNELS)), int(rng.choice(UP_KERNELS)), int(rng.choice(UP_KERNELS[1:]))),
        sharpness=draw_sharpness(rng, settings.sharpness),
    )


def generated_face(
    material: Material, rng: np.random.Generator, settings: RoundTripSettings = RoundTripSettings()
) -> Forgery:
    """The face alone went through a generator, and was blended back in faintly other colours."""
    look = draw_look(rng, LookSettings(offset=2.0, gain=0.02, saturation=0.03, hue=0.02, curve=0.04, texture=0.0))
    patch = Patch(
        faces=fit_similarities(material.landmarks),
        masks=face_masks(material.landmarks, *material.size, draw_shape(rng, MaskSettings())),
        frames=material.faces,
        look=look.textured(draw_round_trip(rng, settings)),
    )
    return blend("generated_face", material, patch)


def generated_picture(
    material: Material, rng: np.random.Generator, settings: RoundTripSettings = RoundTripSettings()
) -> Forgery:
    """The whole picture went through a generator, as that of a talking head does."""
    drawn = draw_round_trip(rng, settings)
    everywhere = np.ones(material.frames.shape[:3], np.float32)
    frames = np.stack([rounded(drawn(frame.astype(np.float32))) for frame in material.frames])
    return Forgery.of_video("generated_picture", material, frames, everywhere)


def _resized(picture: Floats, rows: int, columns: int, kernel: int) -> Floats:
    return np.asarray(cv2.resize(picture, (columns, rows), interpolation=kernel), dtype=np.float32)
