from collections.abc import Callable

import numpy as np
import pytest

from aura_model.clips import Clip
from aura_model.config import Config, load_config

TINY = (
    "model.video.backbone=test_efficientnet",
    "model.video.pretrained=false",
    "model.fusion.hidden_dim=16",
    "model.audio.n_mels=32",
    "dataset.face.size=64",
    "dataset.video.temporal_window=3",
)


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., Config]:
    """A configuration of a model that runs in milliseconds; further overrides as `section.key=value`."""
    return lambda *overrides: load_config(env={}, overrides=(*TINY, *overrides))


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Clip]:
    """A random clip of the tiny configuration's shape, with pictures, sound or both."""

    def build(seed: int, video: bool = True, audio: bool = True, frames: int = 3, size: int = 64) -> Clip:
        rng = np.random.default_rng(seed)
        return Clip(
            times=np.arange(frames) / 8.0,
            seconds=frames / 8.0,
            frames=rng.integers(0, 256, (frames, size, size, 3), dtype=np.uint8) if video else None,
            boxes=None,
            landmarks=None,
            track_id=0 if video else None,
            wave=(0.1 * rng.standard_normal(frames * 2000)).astype(np.float32) if audio else None,
        )

    return build
