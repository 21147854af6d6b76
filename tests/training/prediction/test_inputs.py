import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from training.data.errors import DatasetError
from training.prediction.inputs import find_inputs


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def ids(source: Path) -> list[str]:
    return [sample.video_id for sample in find_inputs(str(source))]


def test_every_file_below_a_folder_is_a_video_in_order_of_the_paths(tmp_path: Path) -> None:
    make(tmp_path, "b.mp4", "a/z.MOV", "a/b/face.jpg", "c", "sound.wav", "broken.xyz")
    assert ids(tmp_path) == ["a/b/face.jpg", "a/z.MOV", "b.mp4", "broken.xyz", "c", "sound.wav"]
    first = find_inputs(str(tmp_path))[0]
    assert first.path == str(tmp_path / "a/b/face.jpg")
    assert first.columns == {}


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store",
        ".hidden/a.mp4",
        "a/.b.mp4",
        "meta.json",
        "labels.CSV",
        "a.srt",
        "__MACOSX/a.mp4",
        "notes.md",
        "Thumbs.db",
        "desktop.ini",
        "out.jsonl",
        "out.jsonl.partial",
        "out.parquet",
    ],
)
def test_hidden_files_and_sidecars_are_left_out(tmp_path: Path, name: str) -> None:
    assert ids(make(tmp_path, "video.mp4", name)) == ["video.mp4"]


def test_folders_behind_links_are_looked_into_once(tmp_path: Path) -> None:
    for name in ("in/b.mp4", "videos/a.mp4", "videos/more/c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"video")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "videos")
    (tmp_path / "in" / "second").symlink_to(tmp_path / "videos")
    (tmp_path / "videos" / "round").symlink_to(tmp_path / "in")
    found = [one.video_id for one in find_inputs(str(tmp_path / "in"))]
    assert sorted(name.rpartition("/")[2] for name in found) == ["a.mp4", "b.mp4", "c.mp4"]


def test_only_plain_files_are_videos(tmp_path: Path) -> None:
    make(tmp_path, "video.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    (tmp_path / "same.mp4").symlink_to("video.mp4")
    assert ids(tmp_path) == ["same.mp4", "video.mp4"]


def test_a_dataset_folder_works_the_same_way(tmp_path: Path) -> None:
    make(tmp_path, "test/one/video.mp4", "test/one/meta.json", "test/one/preprocessed/frames/0.jpg")
    make(tmp_path, "test/two/preprocessed/frames/0.jpg", "test/two/preprocessed/frames/1.jpg")
    assert ids(tmp_path) == ["test/one/video.mp4", "test/two"]


@pytest.mark.parametrize("source", ["s3://bucket/video.mp4", "gs://bucket/a/b.webm"])
def test_an_address_is_one_video(source: str) -> None:
    (sample,) = find_inputs(source)
    assert (sample.video_id, sample.path) == (source, source)


def test_a_file_is_one_video(tmp_path: Path) -> None:
    (sample,) = find_inputs(str(make(tmp_path, "a.mp4") / "a.mp4"))
    assert (sample.video_id, sample.path) == ("a.mp4", str(tmp_path / "a.mp4"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "path,video_id,label,note\na.mp4,first,fake,good light\nsub/b.mp4,,,\ns3://x/c.mp4,third,real,\n"),
        (
            "m.json",
            '[{"path": "a.mp4", "video_id": "first", "label": "fake", "note": "good light"}, {"path": "sub/b.mp4"},'
            ' {"path": "s3://x/c.mp4", "video_id": "third", "label": "real", "note": null}]',
        ),
    ],
)
def test_a_manifest_needs_paths_alone(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = find_inputs(str(tmp_path / name))
    assert [sample.video_id for sample in found] == ["first", "sub/b.mp4", "third"]
    assert [sample.path for sample in found] == [str(tmp_path / "a.mp4"), str(tmp_path / "sub/b.mp4"), "s3://x/c.mp4"]
    assert [sample.columns for sample in found] == [{"label": "fake", "note": "good light"}, {}, {"label": "real"}]


@pytest.mark.parametrize(
    ("files", "source", "code", "said"),
    [
        ({}, "nowhere", "dataset_missing", "there is no file or folder"),
        ({"notes.txt": "x"}, "", "dataset_missing", "holds no video"),
        ({"m.csv": "path\n"}, "m.csv", "dataset_missing", "holds no video"),
        ({"m.csv": "video_id,label\na,fake\n"}, "m.csv", "manifest_invalid", "the header lacks path"),
        ({"m.csv": "path,video_id\n,a\n"}, "m.csv", "manifest_invalid", "the column path is missing or empty"),
        ({"m.json": "{"}, "m.json", "manifest_invalid", "is not JSON"),
        ({"m.csv": "path,video_id\na.mp4,x\nb.mp4,x\n"}, "m.csv", "video_duplicate", "'x'"),
        ({"m.csv": "path\na.mp4\na.mp4\n"}, "m.csv", "video_duplicate", "'a.mp4'"),
    ],
)
def test_what_is_no_input_is_refused(
    tmp_path: Path, files: Mapping[str, str], source: str, code: str, said: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError) as caught:
        find_inputs(str(tmp_path / source))
    assert caught.value.code == code
    assert said in caught.value.detail


def test_a_name_that_is_not_utf_8_becomes_one_that_no_file_has(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    try:
        (tmp_path / name).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (sample,) = find_inputs(str(tmp_path))
    assert sample.video_id == "caf\\udce9.mp4"
    assert not Path(sample.path).exists()


def test_a_folder_that_cannot_be_read_is_no_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "video.mp4", "locked/a.mp4")
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match=r"cannot read .*locked: Permission denied"):
        find_inputs(str(tmp_path))
