"""The folder of one training run: its configuration, and how a later command finds it again."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from aura_model.atomic import replacing
from aura_model.config import Config
from aura_model.errors import AuraError

CONFIG = "config.yaml"
LATEST = "latest"
"""Names the newest run."""


class RunFolderError(AuraError):
    """There is no such run; `code` is run_missing."""


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
            raise RunFolderError("run_missing", f"no run {name!r} in {runs} to go on with{known}")
        return cls(chosen[-1])

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
