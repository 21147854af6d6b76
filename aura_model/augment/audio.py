"""Sound augmentation of a mono wave `[S]` in -1..1."""

import numpy as np
import numpy.typing as npt


def add_noise(wave: npt.NDArray[np.float32], deviation: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Add white noise of standard `deviation` (full scale 1) and clip to -1..1."""
    noise = rng.standard_normal(wave.shape, dtype=np.float32) * np.float32(deviation)
    return np.clip(wave + noise, np.float32(-1), np.float32(1))
