"""Where the rows of a video come from: decoded anew, or read from a store of clips that were decoded before."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from aura_model.clips import Clips
from aura_model.config import Config
from aura_model.errors import MediaError
from aura_model.sandbox import Sandbox
from aura_model.seeds import derive_seed
from training.data.media_source import open_media_source
from training.pairing.loose import loose
from training.pairing.pairs import PairSource
from training.pairing.partners import Partners
from training.rows import EVALUATION, ClipShape, Row, RowSource, error_row, rows_of
from training.store.clip_store import ClipStore


class ClipSource(Protocol):
    """What `MediaRows` needs of a `Sandbox`."""

    def load_clips(self, source: Path | bytes, *, seed: int | None = None) -> Clips:
        """See `aura_model.sandbox.Sandbox.load_clips`."""
        ...


class MediaRows:
    """Decodes each video in a child process of its own."""

    def __init__(self, config: Config, open_source: Callable[[Config], ClipSource] = Sandbox) -> None:
        """Start the decode child."""
        self._config = config
        self._shape = ClipShape.of(config)
        self._source = open_source(config)

    def __call__(self, path_row: Mapping[str, Any]) -> list[Row]:
        """The rows of one video; training clips are drawn by (seed, epoch, video)."""
        try:
            media = open_media_source(str(path_row["path"]), self._config)
            clips = self._source.load_clips(media, seed=self._seed(path_row))
        except MediaError as error:
            return [error_row(error.code, error.detail, path_row, self._shape)]
        except OSError as error:
            return [error_row("unreadable_file", str(error), path_row, self._shape)]
        return rows_of(clips, path_row, self._shape)

    def _seed(self, path_row: Mapping[str, Any]) -> int | None:
        epoch = int(path_row["epoch"])
        return None if epoch == EVALUATION else derive_seed(self._config.seed, epoch, str(path_row["video_id"]))


def training_source(config: Config) -> RowSource:
    """The source that `dataset.preprocessing.mode` names, and pairs made of what it gives where they are asked for.

    Raises:
        ConfigError, DatasetError: a store that cannot be used.
    """
    clips = clip_source(loose(config))
    return PairSource(config, clips, Partners(config)) if config.dataset.pseudo_fakes.enabled else clips


def clip_source(config: Config) -> RowSource:
    """The source of clips as they are.

    Raises:
        ConfigError, DatasetError: a store that cannot be used.
    """
    preprocessing = config.dataset.preprocessing
    return MediaRows(config) if preprocessing.mode == "on_the_fly" else ClipStore(preprocessing.store, config).rows
