"""The last look at a store: what was skipped and why, whether that is too much, and files that are in two splits."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from training.data.splits import SPLITS
from training.store.files import StoreFiles
from training.store.index import StoredVideo
from training.watch.run_files import SkipsFile

SKIPPED = "skipped.csv"
SHOWN = 20
"""Skipped videos named on the console; the table has them all."""


def write_skipped(files: StoreFiles, videos: Iterable[StoredVideo]) -> None:
    """Write `skipped.csv` of the store anew: video_id, path, split, code, detail of each video without a clip."""
    with TemporaryDirectory(prefix="aura-") as folder:
        path = Path(folder) / SKIPPED
        table = SkipsFile(path)
        for video in _skipped(videos):
            table.hear({"kind": "skip", **video.model_dump(include={"video_id", "path", "split", "code", "detail"})})
        table.close()
        with files.writing(SKIPPED) as target:
            target.write(path.read_bytes())


def skip_summary(videos: Iterable[StoredVideo]) -> list[str]:
    """A line for each code, the most frequent first."""
    counts = Counter(video.code for video in _skipped(videos))
    return [f"{count} skipped: {code}" for code, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def too_many_skipped(videos: Sequence[StoredVideo], most: float) -> Iterator[str]:
    """A line for each split of which a share above `most` is unusable, followed by one for each of these videos."""
    for split in SPLITS:
        of_split = [video for video in videos if video.split == split]
        skipped = list(_skipped(of_split))
        if len(skipped) > most * len(of_split):
            share = f"{len(skipped)} of {len(of_split)} videos of the split {split} cannot be used"
            yield f"{share}, more than dataset.max_skipped = {most:g} allows:"
            yield from (f"  {video.path}: {video.code}, {video.detail}" for video in skipped[:SHOWN])
            if len(skipped) > SHOWN:
                yield f"  and {len(skipped) - SHOWN} more, see {SKIPPED}"


def same_media(videos: Iterable[StoredVideo]) -> Iterator[str]:
    """A line for each media file, by the hash of its bytes, that is in two splits; it names two of its videos."""
    by_content: dict[str, list[StoredVideo]] = defaultdict(list)
    for video in videos:
        if video.sha256:
            by_content[video.sha256].append(video)
    for same in by_content.values():
        first = same[0]
        other = next((video for video in same if video.split != first.split), None)
        if other:
            names = " and ".join(f"{one.video_id!r} ({one.split}, {one.path})" for one in (first, other))
            yield f"the same file is in two splits: {names}"


def _skipped(videos: Iterable[StoredVideo]) -> Iterator[StoredVideo]:
    return (video for video in videos if video.code)
