"""Which genuine video a fake is rendered beside. Apart from `training.pairing.pairs`, which needs no data set."""

from functools import cached_property

from aura_model.config import Config
from aura_model.errors import ConfigError
from training.data.manifest import Sample, partners_of, read_samples
from training.pairing.loose import loose
from training.rows import Row, path_row


class Partners:
    """Fakes to their partners; the data set is read when the first one is asked for: most have no fakes."""

    def __init__(self, config: Config) -> None:
        """Take the samples that `config` names."""
        self._config = config

    def __call__(self, video_id: str) -> Row:
        """The path row of a fake's partner.

        Raises:
            DatasetError: as `training_samples` and `partners_of`.
        """
        return path_row(self._partners[video_id])

    @cached_property
    def _partners(self) -> dict[str, Sample]:
        return partners_of(training_samples(self._config))


def training_samples(config: Config) -> list[Sample]:
    """All samples of a run: those of the data set, or of the store of clips where one is to be read.

    Raises:
        ConfigError, DatasetError: a data set or a store that cannot be used.
    """
    if config.dataset.preprocessing.mode == "on_the_fly":
        return read_samples(config.dataset)
    if config.dataset.auto_split:
        raise ConfigError(
            "a store of clips keeps the splits it was made with: leave out --auto-split (dataset.auto_split=null), "
            "or give it to training/preextract.py and another store"
        )
    from training.store.clip_store import ClipStore  # brings Arrow

    return ClipStore(config.dataset.preprocessing.store, loose(config)).samples()
