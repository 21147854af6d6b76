"""People of the honest report, drawn: loose crops in the shape of a configuration whose pairs take milliseconds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from scrutiny.studio import Studio

from aura_model.augment.face_model import FIVE
from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.media import MediaInfo
from aura_model.scores import ClipScore
from aura_model.settings import load_config
from training.data.manifest import Sample
from training.pairing.loose import loose
from training.rows import ClipShape, Row, error_row, path_row, rows_of

FRAMES, LOOSE, SIZE = 3, 96, 64
PARTNERS = {"of_nobody": "nobody"}
"""The genuine partners of fakes; anna is that of all others."""
SETTINGS = (
    "model.video.backbone=test_efficientnet",
    "model.video.pretrained=false",
    "model.fusion.hidden_dim=16",
    f"dataset.face.size={SIZE}",
    f"dataset.video.temporal_window={FRAMES}",
    "dataset.pseudo_fakes.enabled=true",
    f"dataset.pseudo_fakes.size={LOOSE}",
    "inference.device=cpu",
)
STILL = MediaInfo(
    sha256="0" * 64,
    bytes=5,
    container="jpeg",
    duration=0.0,
    width=LOOSE,
    height=LOOSE,
    fps=0.0,
    rotation=0,
    video_codec="mjpeg",
    audio_codec=None,
)


@pytest.fixture(scope="session")
def pair_config() -> Config:
    return load_config(env={}, overrides=SETTINGS)


@pytest.fixture(scope="session")
def make_person() -> Callable[..., Sample]:
    def build(name: str, label: int = 0, split: Any = "test", **columns: str) -> Sample:
        return Sample(name, label, split, f"/faces/{name}.jpg", columns)

    return build


def draw_face(seed: int, turned: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A picture [LOOSE, LOOSE, 3] with a face of its own colours, and its landmarks [5, 2]; it may look aside."""
    rng = np.random.default_rng(seed)
    scale, middle = 16.0 + rng.uniform(0, 3), np.array([48.0, 40.0])
    picture = np.empty((LOOSE, LOOSE, 3), np.float32)
    picture[:] = rng.uniform(60, 180, 3)
    picture += 25 * np.sin(np.arange(LOOSE) / rng.uniform(3, 9))[None, :, None]
    landmarks = (middle + scale * FIVE[:, :2]).astype(np.float32)
    landmarks[2, 0] += 9 * turned
    skin = tuple(float(value) for value in rng.uniform(120, 220, 3))
    cv2.ellipse(picture, (48, 47), (round(scale), round(1.5 * scale)), 0, 0, 360, skin, -1)
    for x, y in landmarks:
        cv2.circle(picture, (round(float(x)), round(float(y))), 3, tuple(rng.uniform(20, 90, 3).tolist()), -1)
    noisy = picture + rng.normal(0, 5, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), landmarks


class People:
    """A source of loose crops: each name has a face of its own, `turned` ones look aside, `nobody` shows none,
    `broken` cannot be read."""

    def __init__(self, config: Config) -> None:
        self._shape = ClipShape.of(loose(config))
        self.opened: list[str] = []

    def __call__(self, path_row: Mapping[str, Any]) -> list[Row]:
        name = str(path_row["video_id"])
        self.opened.append(name)
        if name == "broken":
            return [error_row("invalid_video", "no picture", path_row, self._shape)]
        clips = () if name == "nobody" else (self._clip(name),)
        return rows_of(Clips(clips, STILL, (), {}), path_row, self._shape)

    def _clip(self, name: str) -> Clip:
        picture, landmarks = draw_face(sum(name.encode()), name.startswith("turned"))
        boxes = np.tile(np.array([30, 20, 66, 74], np.float32), (FRAMES, 1))
        return Clip(
            times=np.arange(FRAMES) / 8.0,
            seconds=FRAMES / 8.0,
            frames=np.repeat(picture[None], FRAMES, 0),
            boxes=boxes,
            landmarks=np.repeat(landmarks[None], FRAMES, 0),
            track_id=0,
            wave=None,
        )


@pytest.fixture
def people(pair_config: Config) -> People:
    return People(pair_config)


@pytest.fixture
def studio(pair_config: Config, people: People, make_person: Callable[..., Sample]) -> Studio:
    donors = [make_person(name) for name in ("anna", "bert", "cleo", "dora")]
    return Studio(pair_config, people, donors, lambda fake: path_row(make_person(PARTNERS.get(fake, "anna"))))


class Brightness:
    """Scores the mean brightness, and sees forgery in the upper half; remembers the clips."""

    def __init__(self) -> None:
        self.clips: list[Clip] = []

    def score(self, clips: Sequence[Clip]) -> list[ClipScore]:
        self.clips += clips
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> ClipScore:
        assert clip.frames is not None
        heat = np.zeros((len(clip.frames), 4, 4), np.float32)
        heat[:, :2] = 1
        return ClipScore(float(clip.frames.mean()) / 32 - 4, None, None, heat)


@pytest.fixture
def brightness() -> Brightness:
    return Brightness()
