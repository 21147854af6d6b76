"""What the command lines of training have in common: options, exit statuses, how a refusal is told."""

import argparse
import os
from collections.abc import Mapping
from errno import EISDIR
from pathlib import Path
from tempfile import TemporaryFile

from rich.console import Console
from rich.markup import escape

from aura_model.errors import ConfigError
from aura_model.settings import override

EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130


def data_options(options: argparse.ArgumentParser) -> "argparse._MutuallyExclusiveGroup":
    """Add the options that name a data set; returns their group, of which one may be given."""
    data = options.add_mutually_exclusive_group()
    data.add_argument(
        "--data-root", type=Path, metavar="DIR", help="folder {train,val,test}/VIDEO/{video.mp4,meta.json}"
    )
    data.add_argument("--manifest", type=Path, metavar="FILE", help="CSV or JSON: video_id,label,split,path")
    return data


def auto_split_option(options: argparse.ArgumentParser) -> None:
    """Add `--auto-split`."""
    options.add_argument(
        "--auto-split",
        nargs="?",
        const="0.8,0.1,0.1",
        metavar="TRAIN,VAL,TEST",
        help="split by a hash of the identity; shares, 0.8,0.1,0.1 where none are given",
    )


def given_overrides(arguments: argparse.Namespace, keys: Mapping[str, str]) -> list[str]:
    """The options that were given as `section.key=value` strings, weakest first and `--set` last.

    Args:
        arguments: parsed.
        keys: the configuration key of each option, by the option's name in `arguments`.
    """
    values = {key: getattr(arguments, option) for option, key in keys.items()}
    given = [override(key, value) for key, value in values.items() if value is not None]
    folder_only = ["dataset.manifest=null"] if getattr(arguments, "data_root", None) else []
    shares = getattr(arguments, "auto_split", None)
    split = [f"dataset.auto_split=[{shares}]"] if shares else []
    return [*folder_only, *given, *split, *arguments.set]


def whole_number(text: str) -> int:
    """A number from 1, as the value of an option.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written once the work is done.

    Raises:
        ConfigError: it is a folder, or its own folder cannot be had or written to.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def fail(status: int, said: str) -> int:
    """Say why there is no result; returns the exit status."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]{escape(said)}[/]")
    return status
