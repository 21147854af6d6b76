"""What the command lines of training have in common: options, exit statuses, how a failure is told."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from errno import EISDIR
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType

from rich.console import Console
from rich.markup import escape

from aura_model.errors import AuraError, ConfigError
from aura_model.settings import override

EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130
DATA_KEYS = MappingProxyType({"data_root": "dataset.data_root", "manifest": "dataset.manifest"})
"""The configuration keys of `data_options`."""


def settings_options(options: argparse.ArgumentParser) -> None:
    """Add `--config` and `--set`."""
    options.add_argument("--config", type=Path, metavar="FILE", help="YAML file laid over the defaults")
    set_option(options)


def set_option(options: argparse.ArgumentParser) -> None:
    """Add `--set`."""
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any configuration key")


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


def given_overrides(arguments: argparse.Namespace, keys: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """The options that were given as `section.key=value` strings, weakest first and `--set` last.

    Args:
        arguments: parsed; options that are added here may be among them or not.
        keys: the configuration keys of the command's own options, by the option's name in `arguments`.
    """
    values = {key: getattr(arguments, option, None) for option, key in {**DATA_KEYS, **keys}.items()}
    given = [override(key, value) for key, value in values.items() if value is not None]
    folder_only = ["dataset.manifest=null"] if getattr(arguments, "data_root", None) else []
    shares = getattr(arguments, "auto_split", None)
    split = [f"dataset.auto_split=[{shares}]"] if shares else []
    return [*folder_only, *given, *split, *arguments.set]


def refuse_beside_table(arguments: argparse.Namespace, options: Sequence[str]) -> None:
    """Refuse those of the options, as named in `arguments`, that were given beside `--from-csv`.

    Raises:
        ConfigError: one was.
    """
    given = [name for name in options if getattr(arguments, name) is not None]
    if given:
        raise ConfigError(f"--{given[0].replace('_', '-')} does not go with --from-csv: the scores are there already")


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


def run_command(
    work: Callable[[Console], int], *, failed: Callable[[OSError], int], interrupted: str = "interrupted"
) -> int:
    """Do a command's work; whatever ends it is told in a sentence.

    Args:
        work: prints its results on the console that it is handed, and returns the exit status. What else is printed
            meanwhile, such as log records, goes to the error stream.
        failed: tells what the operating system refused, and returns the exit status.
        interrupted: what is said after Ctrl-C.
    """
    console = make_console()
    try:
        with redirect_stdout(sys.stderr):
            return work(console)
    except AuraError as error:
        return fail(EXIT_REFUSED, error.detail)
    except OSError as error:
        return failed(error)
    except KeyboardInterrupt:
        return fail(EXIT_INTERRUPTED, interrupted)


def make_console(*, stderr: bool = False) -> Console:
    """A console that prints on the output stream of now, or on the error stream: text as it is, in whole lines."""
    return Console(file=None if stderr else sys.stdout, stderr=stderr, highlight=False, soft_wrap=True)


def warn(console: Console, said: str) -> None:
    """Say what is amiss, though the work goes on."""
    console.print(f"[yellow]{escape(said)}[/]")


def fail(status: int, said: str) -> int:
    """Say why there is no result; returns the exit status."""
    make_console(stderr=True).print(f"[red]{escape(said)}[/]")
    return status
