"""What is left to extract: the videos of the data set that the store lacks, in groups that become a file each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from training.data.errors import DatasetError
from training.data.manifest import Sample
from training.data.splits import SPLITS
from training.store.files import StoreError
from training.store.index import StoredLocation

Group = tuple[Sample, ...]
"""Videos of one split, in one file."""


@dataclass(frozen=True)
class Work:
    """The work of one run."""

    groups: tuple[Group, ...]
    done: int
    """Videos of the data set that are in the store already."""
    foreign: int
    """Videos of the store that the data set does not name."""

    @property
    def total(self) -> int:
        """Videos to extract."""
        return sum(map(len, self.groups))


def plan_work(samples: Sequence[Sample], locations: Iterable[StoredLocation], videos_per_file: int) -> Work:
    """Which groups are left; the groups of a data set do not depend on what is done, so that a file keeps its name.

    Raises:
        DatasetError: no video at all, or a text that cannot be stored.
        StoreError: store_mixed: a video in the store is another one in the data set.
    """
    if not samples:
        raise DatasetError("dataset_missing", "the data set holds no video")
    _refuse_unstorable(samples)
    stored = {location.video.video_id: location for location in locations}
    _refuse_others(samples, stored)
    left = (
        tuple(sample for sample in group if sample.video_id not in stored)
        for group in _groups(samples, videos_per_file)
    )
    done = sum(sample.video_id in stored for sample in samples)
    return Work(tuple(group for group in left if group), done, len(stored) - done)


def _groups(samples: Sequence[Sample], size: int) -> Iterator[Group]:
    for split in SPLITS:
        of_split = [sample for sample in samples if sample.split == split]
        for start in range(0, len(of_split), size):
            yield tuple(of_split[start : start + size])


def _refuse_others(samples: Sequence[Sample], stored: Mapping[str, StoredLocation]) -> None:
    for sample in samples:
        location = stored.get(sample.video_id)
        named = _difference(sample, location.video.sample) if location else None
        if location and named:
            there, here = getattr(location.video.sample, named), getattr(sample, named)
            raise StoreError(
                "store_mixed",
                f"the video {sample.video_id!r} has the {named} {there!r} in the store and {here!r} in the data set; "
                f"use another store, or delete {location.file} there",
            )


def _difference(one: Sample, other: Sample) -> str | None:
    """The name of a field in which they differ."""
    return next(
        (field.name for field in fields(Sample) if getattr(one, field.name) != getattr(other, field.name)), None
    )


def _refuse_unstorable(samples: Sequence[Sample]) -> None:
    for sample in samples:
        try:
            "".join((sample.video_id, sample.path, *sample.columns, *sample.columns.values())).encode()
        except UnicodeEncodeError:
            detail = f"{sample.path!a}: a name or a column of the data set is not Unicode text"
            raise DatasetError("manifest_invalid", detail) from None
