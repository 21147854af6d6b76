"""The settings that made the clips of a store, and the refusal to mix them with others."""

from collections.abc import Iterable, Mapping
from typing import Any

from aura_model.config import Config
from aura_model.errors import ConfigError

Settings = Mapping[str, Any]
"""Configuration keys such as `dataset.face.size`, and their values as plain JSON types."""

_SECTIONS = ("dataset.face", "dataset.audio")
_CLIP_KEYS = ("dataset.video.frame_rate", "dataset.video.temporal_window", "model.audio.sample_rate")
_CHOICE_KEYS = (
    "dataset.video.clips_per_video.eval",
    "dataset.video.max_clips",
    "dataset.preprocessing.train_clips",
    "dataset.preprocessing.jpeg_quality",
)
START_AT = "dataset.video.start_at"


def clip_settings(config: Config) -> dict[str, Any]:
    """What a clip is: a model that was made for other settings cannot use it."""
    tree = config.plain()
    whole = {f"{section}.{key}": value for section in _SECTIONS for key, value in _at(tree, section).items()}
    return whole | {key: _at(tree, key) for key in _CLIP_KEYS}


def store_settings(config: Config) -> dict[str, Any]:
    """What a clip is, which clips of a video are stored, and how they are coded: one store holds one kind."""
    tree, video = config.plain(), config.dataset.video
    fixed = video.start_at if video.clip_sampling_strategy == "start_at" else None
    return clip_settings(config) | {key: _at(tree, key) for key in _CHOICE_KEYS} | {START_AT: fixed}


def refuse_other_settings(stored: Settings, wanted: Settings, location: str) -> None:
    """Refuse a store that was made with other values than `wanted`, whose keys alone are compared.

    Raises:
        ConfigError: the text names the keys.
    """
    others = list(_differences(stored, wanted))
    if others:
        raise ConfigError(f"the store {location} was made with other settings: {'; '.join(others)}")


def _differences(stored: Settings, wanted: Settings) -> Iterable[str]:
    for key, value in wanted.items():
        if key not in stored:
            yield f"{key} is not known of the store"
        elif stored[key] != value:
            yield f"{key} is {stored[key]!r:.80} there and {value!r} here"


def _at(tree: Mapping[str, Any], key: str) -> Any:
    value: Any = tree
    for part in key.split("."):
        value = value[part]
    return value
