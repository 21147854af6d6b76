"""Clips, rows and samples in the shape of a configuration whose model runs in milliseconds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.media import MediaInfo
from aura_model.settings import load_config
from training.data.manifest import Sample
from training.rows import EVALUATION, ClipShape, error_row, rows_of

TINY = (
    "model.video.backbone=test_efficientnet",
    "model.video.pretrained=false",
    "model.fusion.hidden_dim=16",
    "model.fusion.dropout=0",
    "dataset.face.size=64",
    "dataset.video.temporal_window=2",
)
FRAMES, SIDE, SAMPLES = 2, 64, 4000

MEDIA = MediaInfo(
    sha256="0" * 64,
    bytes=5,
    container="mp4",
    duration=2.0,
    width=64,
    height=48,
    fps=8.0,
    rotation=0,
    video_codec="h264",
    audio_codec="aac",
)


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Config]:
    """A tiny configuration; further overrides as `section.key=value`."""
    return lambda *overrides: load_config(env={}, overrides=(*TINY, *overrides))


@pytest.fixture(scope="session")
def config(make_config: Callable[..., Config]) -> Config:
    return make_config()


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Clip]:
    def build(seed: int = 0, video: bool = True, audio: bool = True, track_id: int = 0) -> Clip:
        rng = np.random.default_rng(seed)
        return Clip(
            times=seed + np.arange(FRAMES) / 8.0,
            seconds=FRAMES / 8.0,
            frames=rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8) if video else None,
            boxes=rng.random((FRAMES, 4), dtype=np.float32) if video else None,
            landmarks=SIDE * rng.random((FRAMES, 5, 2), dtype=np.float32) if video else None,
            track_id=track_id if video else None,
            wave=(0.1 * rng.standard_normal(SAMPLES)).astype(np.float32) if audio else None,
        )

    return build


@pytest.fixture(scope="session")
def make_clips() -> Callable[..., Clips]:
    def build(*clips: Clip, notes: tuple[str, ...] = ()) -> Clips:
        return Clips(clips, MEDIA, notes, {"open": 0.1})

    return build


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., Sample]:
    def build(video_id: str, label: int = 0, split: Any = "train", path: str = "", **columns: str) -> Sample:
        return Sample(video_id, label, split, path or f"/videos/{video_id}.mp4", columns)

    return build


@pytest.fixture(scope="session")
def make_row(
    config: Config, make_clip: Callable[..., Clip], make_clips: Callable[..., Clips]
) -> Callable[..., dict[str, Any]]:
    """One row of the stream of a run: with `error` that of an unusable video; the further arguments make the clip."""

    def build(
        video_id: str, label: int = 0, split: str = "train", turn: int = 1, slot: int = 0, error: str = "", **clip: Any
    ) -> dict[str, Any]:
        source = {"video_id": video_id, "path": f"/videos/{video_id}.mp4", "label": label, "split": split}
        source |= {"epoch": turn if split == "train" else EVALUATION, "slot": slot}
        shape = ClipShape.of(config)
        if error:
            return error_row(error, "why", source, shape) | {"turn": turn}
        return rows_of(make_clips(make_clip(**clip)), source, shape)[0] | {"turn": turn}

    return build
