"""A drawn face with known landmarks: no photo may be kept here, and none is needed."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from aura_model.augment.face_model import FIVE
from aura_model.augment.forgery import Material


def similarity(scale: float, angle: float, x: float, y: float) -> np.ndarray:
    """[2, 3] from face units to pixels."""
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cosine, -sine, x], [sine, cosine, y]], np.float32)


def place(face: np.ndarray, points: np.ndarray) -> np.ndarray:
    return (points @ face[:, :2].T + face[:, 2]).astype(np.float32)


def draw_face(height: int, width: int, face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A head with eyes, nose and mouth on a striped background, with a fine texture all over."""
    columns = np.arange(width)
    picture = np.full((height, width, 3), (90, 120, 150), np.float32)
    picture += 30 * np.sin(columns / 7)[None, :, None]
    scale = float(np.hypot(*face[:, 0]))

    def blob(x: float, y: float, wide: float, high: float, color: tuple[int, int, int]) -> None:
        center = tuple(int(value) for value in place(face, np.array([[x, y]]))[0])
        axes = max(1, round(wide * scale)), max(1, round(high * scale))
        cv2.ellipse(picture, center, axes, 0, 0, 360, color, -1)

    blob(0, 0.4, 1.05, 1.5, (200, 160, 140))
    for side in (-0.5, 0.5):
        blob(side, 0, 0.2, 0.1, (240, 240, 240))
        blob(side, 0, 0.08, 0.08, (40, 30, 20))
        blob(side, -0.3, 0.25, 0.05, (70, 50, 40))
    blob(0, 0.5, 0.12, 0.15, (170, 120, 110))
    blob(0, 1.06, 0.38, 0.12, (160, 60, 60))
    picture += rng.normal(0, 4, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def make_material() -> Callable[..., Material]:
    """A clip of a drawn face, read-only; `moving` lets it wander, `donor` adds another one."""

    def build(
        seed: int = 0,
        frames: int = 3,
        height: int = 96,
        width: int = 96,
        scale: float = 22.0,
        x: float = 48.0,
        y: float = 38.0,
        moving: bool = True,
        wave: bool = True,
        donor: bool = True,
    ) -> Material:
        rng = np.random.default_rng(seed)
        step = 1.5 if moving else 0.0
        faces = [similarity(scale, 0.02 * step * t, x + step * t, y + 0.5 * step * t) for t in range(frames)]
        still = draw_face(height, width, faces[0], rng)
        pictures = [draw_face(height, width, face, rng) if moving else still for face in faces]
        material = Material(
            np.stack(pictures),
            np.stack([place(face, FIVE[:, :2]) for face in faces]),
            (0.2 * np.sin(np.arange(16000) / 9) * rng.uniform(0.2, 1, 16000)).astype(np.float32) if wave else None,
            build(seed + 100, 1, scale=24.0, donor=False, wave=False) if donor else None,
        )
        for array in (material.frames, material.landmarks, material.wave):
            if array is not None:
                array.flags.writeable = False
        return material

    return build
