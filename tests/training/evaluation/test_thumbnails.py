import random
from pathlib import Path

import pytest

from training.evaluation.evaluation import VideoScore
from training.evaluation.score_table import ClipLine, VideoLines
from training.evaluation.thumbnails import JPEG_MAGIC, MAX_BYTES, Thumbnails, file_name, read_thumbnails


def jpeg(name: str) -> bytes:
    return JPEG_MAGIC + name.encode()


def score(video_id: str, label: int, *logits: float) -> VideoScore:
    clips = tuple(ClipLine(clip=n, start=0, end=1, logit=logit) for n, logit in enumerate(logits))
    return VideoScore(VideoLines(video_id, label, "test", "p", {}, clips), sum(logits) / len(logits))


def kept(folder: Path, *video_ids: str) -> dict[str, bytes]:
    return read_thumbnails([folder], video_ids)


def test_the_worst_errors_are_kept_in_any_order(tmp_path: Path) -> None:
    names = [f"v{n}" for n in range(20)]
    pictures = Thumbnails(count=3)
    for number in random.Random(0).sample(range(20), 20):
        pictures.add(score(names[number], 0, float(number)), [jpeg(names[number])])
    pictures.save(tmp_path)
    assert kept(tmp_path, *names) == {name: jpeg(name) for name in ("v17", "v18", "v19")}
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(("label", "logit"), [(0, -9.0), (1, 9.0)])
def test_what_was_judged_rightly_is_not_kept(tmp_path: Path, label: int, logit: float) -> None:
    pictures = Thumbnails()
    pictures.add(score("a", label, logit), [jpeg("a")])
    pictures.save(tmp_path)
    assert kept(tmp_path, "a") == {}


@pytest.mark.parametrize(
    ("label", "logits", "pictures", "chosen"),
    [
        (0, (1.0, 5.0, 2.0), ("a", "b", "c"), "b"),
        (1, (-1.0, -5.0, 2.0), ("a", "b", "c"), "b"),
        (0, (1.0, 5.0, 2.0), ("a", "", "c"), "c"),
    ],
)
def test_the_picture_is_of_the_most_misleading_clip_that_has_one(
    tmp_path: Path, label: int, logits: tuple[float, ...], pictures: tuple[str, ...], chosen: str
) -> None:
    thumbnails = Thumbnails()
    thumbnails.add(score("v", label, *logits), [jpeg(name) if name else b"" for name in pictures])
    thumbnails.save(tmp_path)
    assert kept(tmp_path, "v") == {"v": jpeg(chosen)}


def test_an_error_without_a_face_takes_its_place_without_a_picture(tmp_path: Path) -> None:
    pictures = Thumbnails(count=1)
    pictures.add(score("seen", 0, 1.0), [jpeg("seen")])
    pictures.add(score("heard", 0, 2.0), [b""])
    pictures.save(tmp_path / "worst")
    assert kept(tmp_path / "worst", "seen", "heard") == {}


def test_pictures_of_an_earlier_evaluation_go_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    first = Thumbnails()
    first.add(score("old", 0, 1.0), [jpeg("old")])
    first.save(tmp_path)
    second = Thumbnails()
    second.add(score("new", 0, 1.0), [jpeg("new")])
    second.save(tmp_path)
    assert kept(tmp_path, "old", "new") == {"new": jpeg("new")}
    assert (tmp_path / "holiday.jpg").exists()


@pytest.mark.parametrize("video_id", ["../../etc/passwd", "/abs", "a\0b", "\udcff", "x" * 5000, "*"])
def test_any_id_makes_a_safe_name(tmp_path: Path, video_id: str) -> None:
    assert Path(file_name(video_id)).name == file_name(video_id)
    assert len(file_name(video_id)) == 20
    pictures = Thumbnails()
    pictures.add(score(video_id, 0, 1.0), [jpeg("x")])
    pictures.save(tmp_path)
    assert kept(tmp_path, video_id) == {video_id: jpeg("x")}


def test_the_first_folder_that_has_a_picture_counts(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / file_name("v")).write_bytes(jpeg(name))
    assert read_thumbnails([tmp_path / "gone", tmp_path / "b", tmp_path / "a"], ["v", "w"]) == {"v": jpeg("b")}


@pytest.mark.parametrize("content", [b"<svg onload=alert(1)>", b"", JPEG_MAGIC + bytes(MAX_BYTES)])
def test_a_file_that_is_no_small_jpeg_is_not_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / file_name("v")).write_bytes(content)
    assert kept(tmp_path, "v") == {}
