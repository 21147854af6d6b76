"""The folder of one training run: its configuration, and how a later command finds it again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path

import yaml

from aura_model.atomic import replacing
from aura_model.config import Config
from aura_model.errors import AuraError, ConfigError
from aura_model.settings import load_config
from training.data.manifest import is_uri
from training.locking import hold_alone

CONFIG = "config.yaml"
LOCK = ".lock"
"""Is locked while the run is under way."""
LATEST = "latest"
"""Names the newest run."""
KEPT = (
    ("learning_rate",),
    ("weight_decay",),
    ("scheduler",),
    ("monitor", "metric"),  # figures of two kinds cannot be compared
    ("monitor", "mode"),
)
"""Keys below `training` whose meaning the checkpoints of a run hold: its optimiser, and which of them is the best."""


class RunFolderError(AuraError):
    """The run cannot be had; `code` is run_missing or run_taken."""


def anchored(config: Config) -> Config:
    """The configuration with absolute paths of what a run reads: Ray gives each worker a folder of its own."""
    dataset, training = config.dataset, config.training
    store = {"store": _whole(dataset.preprocessing.store)}
    places = {
        "data_root": dataset.data_root.absolute(),
        "manifest": dataset.manifest and dataset.manifest.absolute(),
        "preprocessing": dataset.preprocessing.model_copy(update=store),
    }
    start = {
        "start_from": training.start_from and training.start_from.absolute(),
        "storage": training.storage and _whole(training.storage),
    }
    return config.model_copy(
        update={"dataset": dataset.model_copy(update=places), "training": training.model_copy(update=start)}
    )


def _whole(place: str) -> str:
    """An absolute path; a URI as it is."""
    return place if is_uri(place) else str(Path(place).expanduser().absolute())


@dataclass(frozen=True)
class RunFolder:
    """A run's place on the machine that started it; its name sorts by the time of the start."""

    path: Path

    @classmethod
    def new(cls, runs: Path, config: Config) -> "RunFolder":
        """Make the folder of a new run below `runs`, and keep its configuration there."""
        folder = cls(runs.resolve() / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}")
        folder.path.mkdir(parents=True)
        with replacing(folder.config, ".config-") as file:
            file.write(yaml.safe_dump(config.plain(), sort_keys=False).encode())
        return folder

    @classmethod
    def find(cls, runs: Path, name: str) -> "RunFolder":
        """The run `name` below `runs`, or the newest one for `latest`.

        Raises:
            RunFolderError: there is none.
        """
        found = sorted(config.parent for config in runs.resolve().glob(f"*/{CONFIG}"))
        chosen = [path for path in found if name in (LATEST, path.name)]
        if not chosen:
            known = f"; there are {', '.join(path.name for path in found[-3:])}" if found else ""
            elsewhere = "look elsewhere with --set training.output=DIR"
            raise RunFolderError("run_missing", f"no run {name!r} in {runs} to go on with{known}; {elsewhere}")
        return cls(chosen[-1])

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the run to this process until the block ends.

        Raises:
            RunFolderError: another process goes on with it.
        """
        taken = f"the run {self.name} is under way in another process: wait for its end, or interrupt it there"
        with (self.path / LOCK).open("ab") as file:
            hold_alone(file, RunFolderError("run_taken", taken))
            yield

    def refuse_another_course(self, config: Config) -> None:
        """Refuse settings that would have no effect on a run that goes on, or a wrong one.

        Raises:
            ConfigError: `config` has another learning rate, weight decay or schedule than the run, or chooses the best
                checkpoint by another figure; the text names the key.
        """
        earlier = load_config(self.config, env={})
        for path in KEPT:
            if reduce(getattr, path, config.training) != reduce(getattr, path, earlier.training):
                raise ConfigError(
                    f"training.{'.'.join(path)}: a resumed run keeps what its checkpoints depend on; "
                    "start a new one with --set training.start_from=CHECKPOINT"
                )

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def config(self) -> Path:
        """The configuration that the run was started with."""
        return self.path / CONFIG

    @property
    def epochs(self) -> Path:
        """A line of JSON for each epoch."""
        return self.path / "epochs.jsonl"

    @property
    def skips(self) -> Path:
        """The videos that could not be used."""
        return self.path / "skipped.csv"
