"""Small pictures of the videos on which a model is surest and wrong, kept while scores stream by."""

import hashlib
from collections.abc import Iterable, Sequence
from heapq import heappush, heappushpop
from pathlib import Path

from aura_model.atomic import replacing
from training.evaluation.evaluation import WORST, VideoScore

FOLDER = "worst"
"""Beside the table of scores."""
MAX_BYTES = 64 * 1024
JPEG_MAGIC = b"\xff\xd8\xff"


class Thumbnails:
    """The pictures of the `count` worst errors so far; memory does not grow with the number of videos."""

    def __init__(self, count: int = WORST) -> None:
        self._count = count
        self._heap: list[tuple[float, str, bytes]] = []

    def add(self, score: VideoScore, pictures: Sequence[bytes]) -> None:
        """Take in one video with the JPEG of each of its clips, empty where a clip has none."""
        if not score.wrong:
            return
        entry = (abs(score.logit), score.video.video_id, _most_misleading(score, pictures))
        if len(self._heap) < self._count:
            heappush(self._heap, entry)
        else:
            heappushpop(self._heap, entry)

    def save(self, folder: Path) -> None:
        """Write one file for each video that has a picture, and remove those of an earlier evaluation.

        Raises:
            OSError: a file cannot be written.
        """
        pictures = {folder / file_name(video_id): jpeg for _, video_id, jpeg in self._heap if jpeg}
        for path, jpeg in pictures.items():
            with replacing(path, ".worst-") as file:
                file.write(jpeg)
        for path in folder.glob(f"{'[0-9a-f]' * 16}.jpg"):
            if path not in pictures:
                path.unlink()


def read_thumbnails(folders: Iterable[Path], video_ids: Iterable[str]) -> dict[str, bytes]:
    """The picture of each of these videos that one of the folders holds."""
    places = list(folders)
    found = {video_id: _first(folder / file_name(video_id) for folder in places) for video_id in video_ids}
    return {video_id: jpeg for video_id, jpeg in found.items() if jpeg}


def file_name(video_id: str) -> str:
    """A safe name for any id."""
    return f"{hashlib.sha256(video_id.encode(errors='backslashreplace')).hexdigest()[:16]}.jpg"


def _most_misleading(score: VideoScore, pictures: Sequence[bytes]) -> bytes:
    """Of the clip that speaks most for the wrong side."""
    side = -1 if score.video.label else 1
    clips = [(side * clip.logit, jpeg) for clip, jpeg in zip(score.video.clips, pictures, strict=True) if jpeg]
    return max(clips, default=(0.0, b""))[1]


def _first(paths: Iterable[Path]) -> bytes:
    for path in paths:
        if path.is_file() and path.stat().st_size <= MAX_BYTES and (jpeg := path.read_bytes()).startswith(JPEG_MAGIC):
            return jpeg
    return b""
