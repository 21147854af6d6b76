"""`python training/redraw.py`: have networks redraw genuine pictures; each becomes a fake beside the picture itself."""

import argparse
import csv
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.markup import escape

from aura_model.atomic import replacing
from aura_model.augment.looks import DOWN_KERNELS
from aura_model.clips import opened
from aura_model.config import Config
from aura_model.errors import MediaError
from aura_model.faces import Image
from aura_model.frames import Converter, FrameReader
from aura_model.media import open_media
from aura_model.seeds import derive_seed
from aura_model.settings import load_config
from aura_model.stills import still_size
from training.command_line import (
    EXIT_FAILED,
    EXIT_REFUSED,
    auto_split_option,
    data_options,
    fail,
    given_overrides,
    run_command,
    set_option,
    warn,
    whole_number,
)
from training.data.manifest import COLUMNS, Sample, read_samples
from training.data.media_source import open_media_source
from training.upscalers import UPSCALERS, Network
from training.watch.video_progress import VideoProgress

MANIFEST = "manifest.csv"
SOURCE = "redrawn"
JPEG_QUALITY = 95
STILLS = frozenset({".jpg", ".jpeg", ".png", ".webp"})
LONGEST = 512
"""Pixels of a redrawn picture's longer side, at most: faces are learnt from far fewer."""


@dataclass(frozen=True)
class Version:
    """One redrawing of one picture."""

    of: Sample
    number: int

    @property
    def video_id(self) -> str:
        """Of the fake."""
        return f"{self.of.video_id}-{SOURCE}-{self.number}"

    def sample(self, folder: Path) -> Sample:
        """The fake, whose partner is the picture itself."""
        path = _file_of(self.video_id, folder)
        columns = {"pair": self.of.video_id, "source": SOURCE, "identity": self.of.identity or self.of.video_id}
        return Sample(self.video_id, 1, self.of.split, str(path), columns)


def named(sample: Sample) -> Sample:
    """The genuine picture with the identity that its fakes bear: both are of one person."""
    return replace(sample, columns={"identity": sample.video_id, **sample.columns})


def _file_of(video_id: str, folder: Path) -> Path:
    return folder / f"{derive_seed(0, 0, video_id):016x}.jpg"  # any video_id makes a good file name


class Redrawer:
    """Redraws pictures; a function of (seed, video_id, number)."""

    def __init__(self, config: Config, threads: int) -> None:
        """Networks are loaded when the first picture needs them."""
        self._config, self._threads = config, threads
        self._networks: dict[str, Network] = {}
        self._weights = np.array([one.weight for one in UPSCALERS.values()])

    def __call__(self, version: Version) -> Image:
        """A version of a picture, of the size of the picture or smaller.

        Raises:
            MediaError, OSError: the picture cannot be read.
            UpscalerError: a network cannot be used.
        """
        rng = np.random.default_rng(derive_seed(self._config.seed, version.number, version.of.video_id))
        name = str(rng.choice(list(UPSCALERS), p=self._weights / self._weights.sum()))
        picture = resized(read_picture(version.of, self._config), LONGEST, cv2.INTER_AREA)
        height, width = picture.shape[:2]
        side = rng.uniform(*UPSCALERS[name].sides) * max(height, width) / min(height, width)
        drawn = self._network(name)(resized(picture, round(side), int(rng.choice(DOWN_KERNELS))))
        return resized(drawn, max(height, width), cv2.INTER_AREA)

    def _network(self, name: str) -> Network:
        if name not in self._networks:
            self._networks[name] = Network(UPSCALERS[name], self._threads)
        return self._networks[name]


def read_picture(sample: Sample, config: Config) -> Image:
    """The picture `[H, W, 3]` of a sample.

    Raises:
        MediaError, OSError: it cannot be read.
    """
    source = open_media_source(sample.path, config)
    with opened(source) as file, open_media(file, config.limits) as media:
        return Converter(1).rgb(FrameReader(media, config.limits, 1).at(0.0))


def resized(picture: Image, longest: int, kernel: int) -> Image:
    """The picture with its longer side of `longest` pixels; left as it is where it is no longer than that."""
    height, width = picture.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=kernel), dtype=np.uint8)


def redraw(versions: Sequence[Version], folder: Path, config: Config, console: Console) -> list[Sample]:
    """Make the versions that are not in `folder` yet.

    Returns:
        The fakes; without those of pictures that cannot be read, which are told.

    Raises:
        UpscalerError: a network cannot be used.
        OSError: `folder` cannot be written.
    """
    redrawer, fakes = Redrawer(config, len(os.sched_getaffinity(0))), list[Sample]()
    with VideoProgress(len(versions), console) as progress:
        for version in versions:
            fake = version.sample(folder)
            error = None if Path(fake.path).exists() else _make(redrawer, version, Path(fake.path))
            if error:
                warn(console, f"  skipped {version.of}: {error}")
            else:
                fakes.append(fake)
            progress.advance(failed=bool(error))
    return fakes


def _make(redrawer: Redrawer, version: Version, path: Path) -> str | None:
    """Why there is no picture; None where there is one now."""
    try:
        picture = redrawer(version)
    except MediaError as error:
        return f"{error.code}, {error.detail}"
    except OSError as error:
        return f"unreadable_file, {error}"
    _write(picture, path)
    return None


def _write(picture: Image, path: Path) -> None:
    _, coded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    with replacing(path, ".redrawn-") as file:
        file.write(coded.tobytes())


def bounded(sample: Sample, folder: Path, config: Config) -> Sample:
    """A genuine picture as it stands beside its redrawn ones: no larger than they are, or size would tell them apart.

    Returns:
        The sample; of a large picture one that names a smaller copy, which is made where there is none.

    Raises:
        OSError: `folder` cannot be written.
    """
    copy = _file_of(sample.video_id, folder)
    if not copy.exists():
        try:
            if max(_claimed_size(sample, config)) <= LONGEST:
                return sample
            picture = read_picture(sample, config)
        except (MediaError, OSError):  # told already
            return sample
        _write(resized(picture, LONGEST, cv2.INTER_AREA), copy)
    return replace(sample, path=str(copy))


def _claimed_size(sample: Sample, config: Config) -> tuple[int, int]:
    """Width and height by the head of the file: most pictures are small, and need not be decoded for that."""
    with opened(open_media_source(sample.path, config)) as file:
        return still_size(file.read(config.limits.max_bytes))


def pictures(samples: Sequence[Sample]) -> Iterator[Sample]:
    """The genuine ones among them that are single pictures, by the names of their files."""
    return (one for one in samples if not one.label and Path(one.path).suffix.lower() in STILLS)


def write_manifest(samples: Sequence[Sample], path: Path) -> None:
    """Write samples as a manifest, whole or not at all."""
    further = sorted({name for sample in samples for name in sample.columns})
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow([*COLUMNS, *further])
    for one in samples:
        cells = (one.video_id, ("real", "fake")[one.label], one.split, one.path)
        table.writerow([*cells, *(one.columns.get(name, "") for name in further)])
    with replacing(path, ".manifest-") as file:
        file.write(text.getvalue().encode())


def parser() -> argparse.ArgumentParser:
    """The command line's surface."""
    options = argparse.ArgumentParser(
        prog="python training/redraw.py",
        description="Have networks redraw the genuine pictures of a data set: fakes that differ from their partners by "
        "the network alone. Writes the pictures and a manifest of all. Run it again to go on where it stopped.",
        epilog="Exit status: 0 all is written, 1 too many pictures cannot be read (dataset.max_skipped), "
        "2 refused: the data set, the networks or the folder, 130 interrupted.",
    )
    data_options(options)
    auto_split_option(options)
    options.add_argument("--output", type=Path, required=True, metavar="DIR", help="where pictures and manifest go")
    options.add_argument("--versions", type=whole_number, default=1, metavar="N", help="redrawings of each picture")
    set_option(options)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = parser().parse_args(argv)
    return run_command(
        partial(_redraw, arguments),
        failed=lambda error: fail(EXIT_REFUSED, f"cannot write {arguments.output}: {error.strerror}"),
        interrupted="interrupted; run it again to go on",
    )


def _redraw(arguments: argparse.Namespace, console: Console) -> int:
    config, folder = load_config(overrides=given_overrides(arguments)), arguments.output.absolute()
    samples = read_samples(config.dataset)
    wanted = [Version(one, number) for number in range(arguments.versions) for one in pictures(samples)]
    fakes = redraw(wanted, folder, config, console)
    originals = {one.video_id: named(bounded(one, folder, config)) for one in pictures(samples)}
    write_manifest([*(originals.get(one.video_id, one) for one in samples), *fakes], folder / MANIFEST)
    console.print(f"{escape(str(folder / MANIFEST))}: {len(samples)} videos, and {len(fakes)} redrawn pictures")
    skipped = 1 - len(fakes) / len(wanted) if wanted else 0.0
    if skipped > config.dataset.max_skipped:
        return fail(EXIT_FAILED, f"{100 * skipped:.0f} % of the pictures cannot be used (dataset.max_skipped)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
