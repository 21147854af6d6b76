"""Refuse a data set whose splits share a person or a video: figures on such a validation split would be too good."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from pyarrow.fs import FileInfo, FileSystem, FileType

from aura_model.logging import get_logger
from training.data.errors import DatasetError
from training.data.frame_folder import File, find_frames
from training.data.locations import BLOCK, locate, plain_errors
from training.data.manifest import Sample, is_uri

EDGE = 1 << 16
"""Bytes at the start and at the end of equally large content that are compared before all of it is."""
BATCH = 1000
"""Files whose sizes are asked for at once."""


@dataclass(frozen=True, eq=False, slots=True)
class _Content:
    """What a sample consists of: one file, or frames and sound."""

    sample: Sample
    system: FileSystem
    files: tuple[File, ...]

    @property
    def sizes(self) -> Hashable:
        """Equal for equal content."""
        return tuple(file.size for file in self.files)

    def edges(self) -> Hashable:
        """A hash of the first and the last bytes."""
        first, last = self.files[0], self.files[-1]
        digest = hashlib.blake2b()
        for file, at in ((first, 0), (last, max(0, last.size - EDGE))):
            with self.system.open_input_file(file.path) as opened:
                opened.seek(at)
                digest.update(opened.read(EDGE))
        return digest.digest()

    def whole(self) -> Hashable:
        """A hash of all bytes, frames in their order; names do not count."""
        digest = hashlib.blake2b()
        for file in self.files:
            with self.system.open_input_stream(file.path) as opened:
                while block := opened.read(BLOCK):
                    digest.update(block)
        return digest.digest()


def refuse_leaks(samples: Sequence[Sample]) -> None:
    """Refuse one identity in two splits, the same content in two splits, and the same content with two labels.

    Content is what lies in the files, byte by byte. Sizes are compared first; only files of one size that a leak or a
    conflict could hide in are read, and those in full only where their first and last bytes agree too. What cannot be
    read is left out here; extraction will name it.

    Raises:
        DatasetError: leaked_identity, leaked_video or label_conflict; the text names both samples and their splits.
    """
    _refuse_shared_identity(samples)
    contents = list(_contents(samples))
    if len(contents) < len(samples):
        count = len(samples) - len(contents)
        get_logger(__name__).bind(count=count).warning("some videos cannot be read now and were not compared for leaks")
    groups: Iterable[list[_Content]] = [contents]
    for key in (lambda content: content.sizes, _Content.edges, _Content.whole):
        groups = [part for group in groups for part in _suspects(group, key)]
    for group in groups:
        _refuse(group)


def _refuse_shared_identity(samples: Iterable[Sample]) -> None:
    seen: dict[str, Sample] = {}
    for sample in samples:
        if sample.identity is None:
            continue
        first = seen.setdefault(sample.identity, sample)
        if first.split != sample.split:
            raise DatasetError("leaked_identity", f"the identity {sample.identity!r:.200} is in {first} and {sample}")


def _refuse(group: Sequence[_Content]) -> None:
    """Raise for samples of one content that differ in split or label."""
    first = group[0].sample
    for other in (content.sample for content in group[1:]):
        if other.split != first.split:
            raise DatasetError("leaked_video", f"{first} and {other} have the same content")
    for other in (content.sample for content in group[1:]):
        if other.label != first.label:
            raise DatasetError("label_conflict", f"{first} and {other} have the same content, but not the same label")


def _suspects(group: Iterable[_Content], key: Callable[[_Content], Hashable]) -> Iterator[list[_Content]]:
    """The parts of a group that agree in `key`, but not in split and label."""
    parts: dict[Hashable, list[_Content]] = defaultdict(list)
    for content in group:
        try:
            with plain_errors(content.sample.path):
                parts[key(content)].append(content)
        except OSError:
            continue
    for part in parts.values():
        if len({(content.sample.split, content.sample.label) for content in part}) > 1:
            yield part


def _contents(samples: Iterable[Sample]) -> Iterator[_Content]:
    """The files of each sample that can be reached and is not empty."""
    places: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        places[_system_of(sample.path)].append(sample)
    for group in places.values():
        rest = iter(group)
        while batch := list(islice(rest, BATCH)):
            yield from _listed(batch)


def _system_of(path: str) -> str:
    """Equal for paths on one file system: scheme, host and options of a URI."""
    return "/".join(path.split("/", 3)[:3]) + path.partition("?")[2] if is_uri(path) else ""


def _listed(batch: Sequence[Sample]) -> Iterator[_Content]:
    """The files of samples on one file system."""
    try:
        with plain_errors(batch[0].path):
            system = locate(batch[0].path)[0]
            found = system.get_file_info([locate(sample.path)[1] for sample in batch])
    except OSError:
        return
    for sample, info in zip(batch, found, strict=True):
        files = _files(sample, system, info)
        if any(file.size for file in files):
            yield _Content(sample, system, files)


def _files(sample: Sample, system: FileSystem, info: FileInfo) -> tuple[File, ...]:
    if info.type == FileType.File:
        return (File(info.path, info.size or 0),)
    try:
        with plain_errors(sample.path):
            return find_frames(system, info.path).files if info.type == FileType.Directory else ()
    except OSError:
        return ()
