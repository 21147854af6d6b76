"""What happens to a picture after all codecs, to real and fake alike: noise, other light and colours, bars, words.

None of it makes a picture a fake, and none may hide that it is one. Each draws its strength and gives a function of a
clip `[T, H, W, 3]`; the same clip comes out the same each time. Blocks, pixelation and compression are not among them:
they tell in `perturbations` how a detector bears what it was not trained with.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np

from aura_model.augment.perturbations import blur, contrast, noise, saturation
from aura_model.augment.video import Frames, each

Disturbance = Callable[[Frames], Frames]

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz    ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_TRIPLEX)
BLACK, WHITE, YELLOW = (0, 0, 0), (255, 255, 255), (255, 230, 60)


def draw_disturbances(rng: np.random.Generator, share: float) -> tuple[Disturbance, ...]:
    """Draw those that happen, in the order in which they do.

    Args:
        rng: gives all draws.
        share: how many times as probable as in `CHANCES` each is; 0 is none.
    """
    drawn = zip(CHANCES.items(), rng.spawn(len(CHANCES)), strict=True)
    return tuple(draw(one) for (draw, chance), one in drawn if one.random() < share * chance)


def draw_softness(rng: np.random.Generator) -> Disturbance:
    """A Gaussian of 5 to 17 pixels of width."""
    kernel = 2 * int(rng.integers(2, 9)) + 1
    return lambda frames: blur(frames, kernel, rng)


def draw_noise(rng: np.random.Generator) -> Disturbance:
    """Noise of 1.5 to 25 levels of 255, another in each frame: of a dark scene, of high sensitivity."""
    variance = (np.exp(rng.uniform(np.log(1.5), np.log(25))) / 255) ** 2
    seed = int(rng.integers(2**63))
    return lambda frames: noise(frames, variance, np.random.default_rng(seed))


def draw_paleness(rng: np.random.Generator) -> Disturbance:
    """Less colour, a third of the time none."""
    factor = max(0.0, rng.uniform(-0.5, 1))
    return lambda frames: saturation(frames, factor, rng)


def draw_light(rng: np.random.Generator) -> Disturbance:
    """Values of 0.35 to 1.3 times what they were: darker and flatter, or brighter."""
    factor = rng.uniform(0.35, 1.3)
    return lambda frames: contrast(frames, factor, rng)


def draw_bars(rng: np.random.Generator) -> Disturbance:
    """Black bars over two edges that face each other, or over one: a letterbox, or a face at the rim of the picture."""
    widths = rng.uniform(0.02, 0.2) * np.array([(1, 1), (1, 0), (0, 1)][rng.integers(3)])
    axis = 1 if rng.random() < 0.7 else 2

    def change(frames: Frames) -> Frames:
        side = frames.shape[axis]
        first, last = (round(width * side) for width in widths)
        barred = np.zeros_like(frames)
        seen = (slice(None),) * axis + (slice(first, side - last),)
        barred[seen] = frames[seen]
        return barred

    return change


def draw_words(rng: np.random.Generator) -> Disturbance:
    """A line of letters with a dark rim, low in the picture or, less often, anywhere: subtitles, a station's name."""
    text = "".join(LETTERS[place] for place in rng.integers(len(LETTERS), size=rng.integers(4, 24)))
    font, colour = FONTS[rng.integers(len(FONTS))], (WHITE, WHITE, YELLOW, BLACK)[rng.integers(4)]
    scale, left = rng.uniform(0.3, 1.0), rng.uniform(-0.2, 0.3)
    bottom = rng.uniform(0.85, 1.0) if rng.random() < 0.7 else rng.uniform(0.1, 1.0)

    def change(frame: Frames) -> Frames:
        height, width = frame.shape[:2]
        written, place = frame.copy(), (round(left * width), round(bottom * height))
        for shade, thickness in ((WHITE if colour is BLACK else BLACK, 3), (colour, 1)):
            cv2.putText(written, text, place, font, scale * height / 224, shade, thickness, cv2.LINE_AA)
        return written

    return lambda frames: each(frames, change)


CHANCES: Mapping[Callable[[np.random.Generator], Disturbance], float] = MappingProxyType(
    {
        draw_softness: 0.1,
        draw_noise: 0.25,
        draw_paleness: 0.15,
        draw_light: 0.2,
        draw_bars: 0.12,
        draw_words: 0.12,
    }
)
"""How probable each is; six clips in ten have one or more."""
