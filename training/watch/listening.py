"""Everyone who is told how a training run goes: the console, the files in its folder, and trackers."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from rich.console import Console

from aura_model.config import Config
from aura_model.logging import get_logger
from training.run_folder import RunFolder
from training.watch.listeners import Guarded, Listener
from training.watch.progress import make_view
from training.watch.run_files import EpochsFile, SkipsFile
from training.watch.tracking import make_trackers, parameters


@contextmanager
def listening(config: Config, folder: RunFolder, console: Console) -> Iterator[Sequence[Listener]]:
    """The listeners of a run, closed when the block ends.

    Raises:
        ConfigError: a tracker's package is not installed.
    """
    with ExitStack() as stack:
        trackers = make_trackers(config.training.tracking, folder.path, folder.name, parameters(config))
        epochs, skips = EpochsFile(folder.epochs), SkipsFile(folder.skips)
        view, warn = make_view(console, folder.skips, epochs.epochs), get_logger(__name__).warning
        own: dict[str, Listener] = {folder.epochs.name: epochs, folder.skips.name: skips, "the console": view}
        listeners = [*trackers, *(Guarded(listener, name, warn) for name, listener in own.items())]
        for listener in listeners:
            stack.callback(listener.close)
        yield listeners
