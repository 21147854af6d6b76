import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aura_model.config import Config
from training.manifest import DATASET_ERRORS, DatasetError, Sample, check_samples, read_samples


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "sub/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.fixture
def read(make_config: Callable[..., Config]) -> Callable[..., list[Sample]]:
    def from_manifest(path: Path) -> list[Sample]:
        return read_samples(make_config(f"dataset.manifest={path}").dataset)

    return from_manifest


@pytest.fixture
def read_root(make_config: Callable[..., Config]) -> Callable[..., list[Sample]]:
    def from_folder(path: Path) -> list[Sample]:
        return read_samples(make_config(f"dataset.data_root={path}").dataset)

    return from_folder


def write_video(root: Path, split: str, name: str, meta: object, video: bool = True) -> Path:
    folder = root / split / name
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(meta if isinstance(meta, str) else json.dumps(meta))
    if video:
        (folder / "video.mp4").write_bytes(b"x")
    return folder


def write_csv(folder: Path, *rows: str, header: str = "video_id,label,split,path") -> Path:
    path = folder / "list.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("text", ["real", "Real ", "0"])
def test_csv_gives_its_rows_with_paths_beside_it(videos: Path, read: Callable[..., list[Sample]], text: str) -> None:
    manifest = write_csv(videos, f"one,{text},train,a.mp4", f"two,fake,val,{videos / 'sub' / 'c.mp4'}")
    assert read(manifest) == [
        Sample("one", 0, "train", str(videos / "a.mp4")),
        Sample("two", 1, "val", str(videos / "sub/c.mp4")),
    ]


def test_csv_may_have_a_byte_order_mark_more_columns_and_another_order(
    videos: Path, read: Callable[..., list[Sample]]
) -> None:
    path = videos / "list.csv"
    path.write_text('path,identity,split,label,video_id\n"a.mp4",x,test,1,"id, one"\n', encoding="utf-8-sig")
    assert read(path) == [Sample("id, one", 1, "test", str(videos / "a.mp4"))]


def test_json_gives_its_entries(videos: Path, read: Callable[..., list[Sample]]) -> None:
    path = videos / "list.json"
    entries: list[dict[str, Any]] = [
        {"video_id": 7, "label": 1, "split": "train", "path": "a.mp4", "group": None},
        {"video_id": "8", "label": "real", "split": "val", "path": "sub/c.mp4"},
    ]
    path.write_text(json.dumps(entries))
    assert [(one.video_id, one.label, one.split) for one in read(path)] == [("7", 1, "train"), ("8", 0, "val")]


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        (["one,maybe,train,a.mp4"], "label_unknown", "line 2: label 'maybe'"),
        (["one,2,train,a.mp4"], "label_unknown", "'2'"),
        (["one,real,validation,a.mp4"], "split_unknown", "line 2: split 'validation'"),
        (["one,real,train,a.mp4", "two,real,train,gone.mp4"], "file_missing", "line 3"),
        (["one,real,train,sub"], "file_missing", "sub is not a file"),
        (["one,real,train,a.mp4", "one,fake,val,b.mp4"], "video_duplicate", "b.mp4 (val)"),
        ([",real,train,a.mp4"], "manifest_invalid", "column video_id"),
        (["one,real,train"], "manifest_invalid", "column path"),
        (['one,real,train,"a.mp4'], "manifest_invalid", "line"),
    ],
)
def test_a_bad_row_is_named(
    videos: Path, read: Callable[..., list[Sample]], rows: list[str], code: str, said: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        read(write_csv(videos, *rows))
    assert caught.value.code == code
    assert said in caught.value.detail


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("list.csv", b"video_id,label\n", "manifest_invalid"),
        ("list.csv", b"", "manifest_invalid"),
        ("list.csv", b"video_id,label,split,path\n\xff\xfe", "manifest_invalid"),
        ("list.json", b"{", "manifest_invalid"),
        ("list.json", b"[" * 100_000, "manifest_invalid"),
        ("list.json", b"{}", "manifest_invalid"),
        ("list.json", b"[1]", "manifest_invalid"),
        ("list.json", b'[{"video_id": true, "label": 0, "split": "train", "path": "a.mp4"}]', "manifest_invalid"),
        ("list.json", b'[{"video_id": "a", "label": {}, "split": "train", "path": "a.mp4"}]', "manifest_invalid"),
        ("list.txt", b"", "manifest_invalid"),
        ("gone.csv", None, "dataset_missing"),
    ],
)
def test_a_bad_manifest_is_refused(
    videos: Path, read: Callable[..., list[Sample]], name: str, content: bytes | None, code: str
) -> None:
    path = videos / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        read(path)
    assert caught.value.code == code
    assert name in caught.value.detail


def test_a_manifest_is_read_only_up_to_a_bound(
    videos: Path, read: Callable[..., list[Sample]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.manifest.MAX_MANIFEST_BYTES", 30)
    with pytest.raises(DatasetError, match="larger than 30 bytes"):
        read(write_csv(videos, "one,real,train,a.mp4"))


def test_a_folder_gives_its_videos(tmp_path: Path, read_root: Callable[..., list[Sample]]) -> None:
    write_video(tmp_path, "val", "c", {"label": 1})
    write_video(tmp_path, "train", "b", {"label": "FAKE", "source": "x"})
    write_video(tmp_path, "train", "a", {"label": 0})
    write_video(tmp_path, "train", ".cache", {"label": 0})
    (tmp_path / "train" / "readme.txt").write_text("not a video")
    (tmp_path / "other").mkdir()
    assert [(one.video_id, one.label, one.split) for one in read_root(tmp_path)] == [
        ("a", 0, "train"),
        ("b", 1, "train"),
        ("c", 1, "val"),
    ]


@pytest.mark.parametrize(
    ("meta", "code"),
    [
        ({"label": "deepfake"}, "label_unknown"),
        ({"label": True}, "label_unknown"),
        ({"label": 0.0}, "label_unknown"),
        ({"label": None}, "label_unknown"),
        ({}, "manifest_invalid"),
        ([1], "manifest_invalid"),
        ("{", "manifest_invalid"),
    ],
)
def test_a_bad_meta_file_is_named(
    tmp_path: Path, read_root: Callable[..., list[Sample]], meta: object, code: str
) -> None:
    write_video(tmp_path, "train", "a", meta)
    with pytest.raises(DatasetError) as caught:
        read_root(tmp_path)
    assert caught.value.code == code
    assert str(tmp_path / "train" / "a" / "meta.json") in caught.value.detail


@pytest.mark.parametrize("missing", ["meta.json", "video.mp4"])
def test_a_missing_file_of_a_folder_is_named(
    tmp_path: Path, read_root: Callable[..., list[Sample]], missing: str
) -> None:
    folder = write_video(tmp_path, "train", "a", {"label": 0})
    (folder / missing).unlink()
    with pytest.raises(DatasetError) as caught:
        read_root(tmp_path)
    assert caught.value.code == "file_missing"
    assert str(folder / missing) in caught.value.detail


def test_one_video_id_in_two_splits_is_refused_with_both_places(
    tmp_path: Path, read_root: Callable[..., list[Sample]]
) -> None:
    write_video(tmp_path, "train", "a", {"label": 0})
    write_video(tmp_path, "test", "a", {"label": 0})
    with pytest.raises(DatasetError, match=r"train/a/video.mp4 \(train\) and .*test/a/video.mp4 \(test\)") as caught:
        read_root(tmp_path)
    assert caught.value.code == "video_duplicate"


def test_a_missing_folder_is_refused(tmp_path: Path, read_root: Callable[..., list[Sample]]) -> None:
    with pytest.raises(DatasetError) as caught:
        read_root(tmp_path / "gone")
    assert caught.value.code == "dataset_missing"


@pytest.mark.parametrize(
    ("samples", "code", "said"),
    [
        ([], "split_empty", "train"),
        ([("a", 0, "train"), ("b", 1, "train"), ("c", 0, "test")], "split_empty", "split val .*train 2, val 0, test 1"),
        ([("a", 1, "train"), ("b", 1, "train"), ("c", 0, "val")], "one_class", "all 2 training videos are fake"),
        ([("a", 0, "train"), ("c", 1, "val")], "one_class", "are real"),
    ],
)
def test_a_set_that_cannot_train_is_refused(
    make_sample: Callable[..., Sample], samples: list[tuple[str, int, str]], code: str, said: str
) -> None:
    with pytest.raises(DatasetError, match=said) as caught:
        check_samples([make_sample(*sample) for sample in samples])
    assert caught.value.code == code


def test_a_sound_set_passes_also_with_one_class_in_validation(make_sample: Callable[..., Sample]) -> None:
    check_samples([make_sample("a", 0), make_sample("b", 1), make_sample("c", 0, "val")])


def test_the_codes_in_use_are_the_listed_ones() -> None:
    source = Path(__file__).parents[2] / "training" / "manifest.py"
    text = source.read_text(encoding="utf-8")
    assert all(text.count(f'"{code}"') > 1 for code in DATASET_ERRORS)
