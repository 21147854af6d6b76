"""How the inner face differs from its surroundings: colour, light, resolution. Drawn once, replayed on each frame.

Pictures here are float32 `[H, W, 3]` in 0..255, so that a chain of changes rounds once, at its end.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from aura_model.augment.compression import jpeg
from aura_model.augment.face_model import Floats
from aura_model.augment.video import LUMA, unsharp

Texture = Callable[[Floats], Floats]

UP_KERNELS = (
    cv2.INTER_NEAREST,
    cv2.INTER_LINEAR,
    cv2.INTER_LINEAR,
    cv2.INTER_CUBIC,
    cv2.INTER_CUBIC,
    cv2.INTER_LANCZOS4,
)
DOWN_KERNELS = (cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
UNEVEN_GRID = 6
"""Rows and columns of the field that says where a picture is of another quality."""
DETAIL = 2.0
"""What is finer than a Gaussian of this deviation in pixels is detail."""


@dataclass(frozen=True)
class LookSettings:
    """The strengths from which a look is drawn; 0 leaves a property as it is."""

    offset: float = 10.0
    """Deviation of each channel's shift, levels of 255."""
    gain: float = 0.1
    """Deviation of the contrast, and of each channel's gain."""
    saturation: float = 0.18
    hue: float = 0.06
    """Deviation of the turn about the grey axis, radians."""
    curve: float = 0.16
    """Deviation of the tone curve's bend: 0.1 lifts middle grey by 2.5 %."""
    shading: float = 0.07
    """Deviation of the gain from place to place: other light on the face."""
    harmony: float = 0.4
    """Probability that the colours are then brought back towards the original's statistics, as swapping tools do."""
    texture: float = 0.85
    """Probability of another resolution or sharpness."""
    strongest_shrink: float = 4.0
    """The face is redrawn from a picture that is up to this much smaller."""
    sharpness: float | None = 0.5
    """Deviation of the logarithm of its sharpness, compared with the original's; None leaves it as it comes out.

    Nearly all that is done to a picture blurs it. Without this a detector takes blurred faces for fake ones, and the
    swaps of the wild are often crisper than the made-up faces that they replace.
    """
    matched: float = 0.6
    """Probability of that."""


@dataclass(frozen=True, eq=False)
class Look:
    """One drawn look."""

    mixing: Floats
    """[3, 4] affine map of (red, green, blue)."""
    curve: float
    shading: Floats
    """[4, 4] gains over the picture, 1 is none."""
    harmony: float
    """Share of the way back to the original's mean and deviation."""
    sharpness: float | None
    """Of what the blend gives, as a ratio to the original's; None leaves it."""
    textures: tuple[Texture, ...]

    def textured(self, *textures: Texture) -> "Look":
        """The same colours and light with other textures."""
        return replace(self, textures=textures)

    def paint(self, picture: Floats, original: Floats, weight: Floats, brightness: float) -> Floats:
        """Give the picture this look.

        Args:
            picture: what is painted.
            original: what it will lie over, `[H, W, 3]` too: the model of colours.
            weight: where their statistics are taken, `[H, W]`.
            brightness: one more gain.
        """
        painted = picture
        for texture in self.textures:
            painted = texture(painted)
        painted = np.asarray(cv2.transform(painted, self.mixing), dtype=np.float32)
        if self.curve:
            painted += self.curve * painted * (1 - painted * np.float32(1 / 255))
        if self.harmony:
            painted = match_statistics(painted, original, weight, self.harmony)
        return painted * (_enlarge(self.shading, picture) * np.float32(brightness))


def plain_look(*textures: Texture) -> Look:
    """A look with the original's colours and light."""
    return Look(np.eye(3, 4, dtype=np.float32), 0.0, np.ones((4, 4), np.float32), 0.0, None, textures)


def draw_look(rng: np.random.Generator, settings: LookSettings) -> Look:
    """Draw a look."""
    chance, strength = rng.random(2), rng.random()
    grid = rng.standard_normal((4, 4)) * settings.shading
    return Look(
        mixing=_draw_mixing(rng, settings),
        curve=float(rng.standard_normal() * settings.curve),
        shading=np.exp(grid).astype(np.float32),
        harmony=float(0.4 + 0.6 * strength) if chance[0] < settings.harmony else 0.0,
        sharpness=draw_sharpness(rng, settings.sharpness) if rng.random() < settings.matched else None,
        textures=_draw_textures(rng, settings) if chance[1] < settings.texture else (),
    )


def draw_sharpness(rng: np.random.Generator, deviation: float | None) -> float | None:
    """Draw a ratio as often above 1 as below; None where there is no deviation to draw from."""
    return None if deviation is None else float(np.exp(rng.standard_normal() * deviation))


def match_sharpness(picture: Floats, model: Floats, weight: Floats | None, ratio: float) -> Floats:
    """Bring the deviation of fine detail, weighted by `weight` `[H, W]`, to `ratio` times that of `model`.

    Detail is what a Gaussian of 2 pixels takes away; it is enlarged or reduced by 4 at most.
    """
    detail = picture - cv2.GaussianBlur(picture, (0, 0), DETAIL)
    green = np.ascontiguousarray(model[..., 1])
    wanted = ratio * _deviation(green - cv2.GaussianBlur(green, (0, 0), DETAIL), weight)
    gain = np.clip(wanted / max(_deviation(detail[..., 1], weight), 1e-3), 0.25, 4)
    return np.asarray(picture + np.float32(gain - 1) * detail, dtype=np.float32)


def _deviation(values: Floats, weight: Floats | None) -> float:
    """The root of the weighted mean square of `[H, W]`."""
    squares = np.square(values)
    return float(np.sqrt(np.mean(squares) if weight is None else (squares * weight).sum() / max(weight.sum(), 1e-6)))


def match_statistics(picture: Floats, model: Floats, weight: Floats, share: float) -> Floats:
    """Bring mean and deviation of each channel, weighted by `weight` `[H, W]`, towards those of `model`.

    Colour transfer (Reinhard et al., 2001) in RGB; `share` 1 goes the whole way.
    """
    mean, deviation = _statistics(picture, weight)
    target_mean, target_deviation = _statistics(model, weight)
    gain = 1 + share * (np.clip(target_deviation / np.maximum(deviation, 1e-3), 0.5, 2) - 1)
    offset = mean + share * (target_mean - mean) - gain * mean
    matrix = np.hstack([np.diag(gain), offset[:, None]])
    return np.asarray(cv2.transform(picture, matrix), dtype=np.float32)


def _statistics(picture: Floats, weight: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weighted mean and deviation of each channel, from every second pixel each way."""
    pixels = picture[::2, ::2].reshape(-1, 3)
    shares = weight[::2, ::2].ravel()
    total = max(float(shares.sum()), 1e-6)
    mean = shares @ pixels / total
    variance = shares @ np.square(pixels - mean) / total
    return mean.astype(np.float64), np.sqrt(variance).astype(np.float64)


def _draw_mixing(rng: np.random.Generator, settings: LookSettings) -> Floats:
    """Gains about middle grey, then saturation, then a turn about the grey axis, then a shift."""
    gains = 1 + rng.standard_normal() * settings.gain + rng.standard_normal(3) * settings.gain / 2
    saturation = 1 + rng.standard_normal() * settings.saturation
    linear = (saturation * np.eye(3) + (1 - saturation) * np.tile(LUMA, (3, 1))) @ np.diag(gains)
    turn, _ = cv2.Rodrigues(np.full(3, rng.standard_normal() * settings.hue / np.sqrt(3)))
    linear = turn @ linear
    offset = 128 - linear @ np.full(3, 128.0) + rng.standard_normal(3) * settings.offset
    return np.hstack([linear, offset[:, None]]).astype(np.float32)


def _draw_textures(rng: np.random.Generator, settings: LookSettings) -> tuple[Texture, ...]:
    """A redrawing at another resolution, sharpening, smoothing or JPEG, or two of them one after the other."""
    first = (_draw_shrink(rng, settings), _draw_blur(rng), _draw_smooth(rng), _draw_sharpen(rng), _draw_jpeg(rng))
    second = (_draw_sharpen(rng), _draw_jpeg(rng), _draw_grain(rng), _draw_pale(rng))
    chosen = first[int(rng.choice(5, p=(0.4, 0.1, 0.25, 0.15, 0.1)))]
    return (chosen, second[int(rng.integers(4))]) if rng.random() < 0.5 else (chosen,)


def draw_lens(rng: np.random.Generator) -> Texture:
    """Draw what softens a whole picture: a lower resolution, a lens out of focus, or a beauty filter."""
    softenings = (_draw_shrink(rng, LookSettings(strongest_shrink=2.5)), _draw_blur(rng), _draw_smooth(rng))
    return softenings[int(rng.choice(3, p=(0.5, 0.25, 0.25)))]


def draw_uneven(rng: np.random.Generator) -> Texture:
    """Draw what gives a part of a picture another quality: a lens's depth of field, a codec that spares still parts.

    The part is the middle, or what is around it, or lies anywhere; it has a soft edge, which no mask of a face follows.
    """
    textures = _draw_textures(rng, LookSettings(strongest_shrink=3.0))
    across = np.linspace(-1, 1, UNEVEN_GRID)
    middle = rng.uniform(0.3, 0.9) - np.hypot(*np.meshgrid(across, across))
    hills = rng.standard_normal((UNEVEN_GRID, UNEVEN_GRID)) * rng.uniform(0.1, 0.5)
    levels = (rng.choice((-1, 0, 1)) * middle + hills) * rng.uniform(2, 10)
    shares = (1 / (1 + np.exp(-levels))).astype(np.float32)

    def change(picture: Floats) -> Floats:
        other = picture
        for texture in textures:
            other = texture(other)
        share = np.clip(_enlarge(shares, picture), 0, 1)
        return np.asarray(picture + (other - picture) * share, dtype=np.float32)

    return change


def _draw_shrink(rng: np.random.Generator, settings: LookSettings) -> Texture:
    factor = rng.uniform(1.2, settings.strongest_shrink)
    return shrink_and_enlarge(factor, int(rng.choice(DOWN_KERNELS)), int(rng.choice(UP_KERNELS)))


def shrink_and_enlarge(factor: float, down: int, up: int) -> Texture:
    """Resize down by `factor` and up again, with OpenCV's interpolations `down` and `up`."""

    def change(picture: Floats) -> Floats:
        height, width = picture.shape[:2]
        small = cv2.resize(picture, (max(1, round(width / factor)), max(1, round(height / factor))), interpolation=down)
        return np.asarray(cv2.resize(small, (width, height), interpolation=up), dtype=np.float32)

    return change


def _draw_blur(rng: np.random.Generator) -> Texture:
    deviation = rng.uniform(0.4, 1.2)
    return lambda picture: np.asarray(cv2.GaussianBlur(picture, (0, 0), deviation), dtype=np.float32)


def _draw_sharpen(rng: np.random.Generator) -> Texture:
    """Unsharp masking."""
    amount, deviation = rng.uniform(0.2, 0.9), rng.uniform(0.7, 2.0)
    return lambda picture: unsharp(picture, amount, deviation)


def _draw_smooth(rng: np.random.Generator) -> Texture:
    thresholds = tuple(rng.uniform(1.5, 6.0) * share for share in (1.0, 0.7))
    return lambda picture: soften(picture, thresholds)


def soften(picture: Floats, thresholds: tuple[float, ...]) -> Floats:
    """Take away faint detail and keep edges, as autoencoders and beauty filters do.

    The picture is split into bands of detail (differences of Gaussians, each twice as coarse as the one before), and
    each band is shrunk towards 0 by its threshold in levels of 255 (soft thresholding: Donoho, 1995).
    """
    found, rest, deviation = picture.copy(), picture, 0.8
    for threshold in thresholds:
        coarse = cv2.GaussianBlur(rest, (0, 0), deviation)
        found -= np.clip(rest - coarse, -threshold, threshold)
        rest, deviation = np.asarray(coarse, dtype=np.float32), deviation * 2
    return found


def _draw_jpeg(rng: np.random.Generator) -> Texture:
    quality = int(rng.integers(35, 90))

    def change(picture: Floats) -> Floats:
        rounded = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        return np.asarray(jpeg(rounded[None], quality)[0], dtype=np.float32)

    return change


def _draw_pale(rng: np.random.Generator) -> Texture:
    """Colour at a lower resolution than light: networks draw little of it, and their training pictures had little."""
    deviation = rng.uniform(0.8, 3.0)

    def change(picture: Floats) -> Floats:
        light = picture @ LUMA
        colour = cv2.GaussianBlur(picture - light[..., None], (0, 0), deviation)
        return np.asarray(light[..., None] + colour, dtype=np.float32)

    return change


def _draw_grain(rng: np.random.Generator) -> Texture:
    """A film of grain that is the same on each frame: a decoder's fixed noise."""
    deviation, seed = rng.uniform(0.5, 3.0), int(rng.integers(2**63))

    def change(picture: Floats) -> Floats:
        noise = np.random.default_rng(seed).standard_normal(picture.shape[:2], dtype=np.float32)
        return np.asarray(picture + noise[..., None] * np.float32(deviation), dtype=np.float32)

    return change


def _enlarge(grid: Floats, picture: Floats) -> Floats:
    """A small grid of values stretched over the picture, `[H, W, 1]`."""
    height, width = picture.shape[:2]
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)[..., None]
