import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aura_model.config import Config
from training.data.errors import DATASET_ERRORS, DatasetError
from training.data.manifest import Sample, check_samples, is_uri, partners_of, read_samples, samples_of, warnings


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "sub/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.fixture
def read(make_config: Callable[..., Config]) -> Callable[..., list[Sample]]:
    def from_manifest(path: Path, *overrides: str) -> list[Sample]:
        return read_samples(make_config(f"dataset.manifest={path}", *overrides).dataset)

    return from_manifest


@pytest.fixture
def read_root(make_config: Callable[..., Config]) -> Callable[..., list[Sample]]:
    def from_folder(path: Path, *overrides: str) -> list[Sample]:
        return read_samples(make_config(f"dataset.data_root={path}", *overrides).dataset)

    return from_folder


AUTO = "dataset.auto_split=[0.5, 0.25, 0.25]"


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
    assert read(path) == [Sample("id, one", 1, "test", str(videos / "a.mp4"), {"identity": "x"})]


@pytest.mark.parametrize("name", ["Identity", "IDENTITY", "Pair"])
def test_a_column_that_is_nearly_one_with_a_meaning_is_refused(
    videos: Path, read: Callable[..., list[Sample]], name: str
) -> None:
    """A person in two splits would not be seen."""
    path = videos / "list.csv"
    path.write_text(f"video_id,label,split,path,{name}\none,1,test,a.mp4,x\n")
    with pytest.raises(DatasetError, match="rename it") as refused:
        read(path)
    assert refused.value.code == "manifest_invalid"


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
        (["one,real,train,pipe"], "file_missing", "pipe is neither a file nor a folder"),
        (["one,real,train,a.mp4,left over"], "manifest_invalid", "line 2 has 5 cells, the header 4"),
        (["one,real,train,a.mp4", "one,fake,val,b.mp4"], "video_duplicate", "b.mp4 (val)"),
        ([",real,train,a.mp4"], "manifest_invalid", "column video_id"),
        (["one,real,train"], "manifest_invalid", "column path"),
        (['one,real,train,"a.mp4'], "manifest_invalid", "line"),
    ],
)
def test_a_bad_row_is_named(
    videos: Path, read: Callable[..., list[Sample]], rows: list[str], code: str, said: str
) -> None:
    os.mkfifo(videos / "pipe")
    with pytest.raises(DatasetError) as caught:
        read(write_csv(videos, *rows))
    assert caught.value.code == code
    assert said in caught.value.detail


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("list.csv", b"video_id,label\n", "manifest_invalid"),
        ("list.csv", b"", "manifest_invalid"),
        ("list.csv", b"video_id,label,split,path,group,group\n", "manifest_invalid"),
        ("list.csv", b"video_id,label,split,path\n\xff\xfe", "manifest_invalid"),
        ("list.json", b"{", "manifest_invalid"),
        ("list.json", b"[" * 100_000, "manifest_invalid"),
        ("list.json", b"{}", "manifest_invalid"),
        ("list.json", b"[1]", "manifest_invalid"),
        ("list.json", b'[{"video_id": true, "label": 0, "split": "train", "path": "a.mp4"}]', "manifest_invalid"),
        ("list.json", b'[{"video_id": "a", "label": {}, "split": "train", "path": "a.mp4"}]', "manifest_invalid"),
        ("list.json", b'[{"video_id": 1, "label": 0, "split": "train", "path": "\\u0000"}]', "file_missing"),
        ("list.json", b'[{"video_id": "\\ud800", "label": 0, "split": "train", "path": "a.mp4"}]', "manifest_invalid"),
        (
            "list.json",
            b'[{"video_id": 1, "label": 0, "split": "train", "path": "a.mp4", "group": []}]',
            "manifest_invalid",
        ),
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
    monkeypatch.setattr("training.data.tables.MAX_MANIFEST_BYTES", 30)
    with pytest.raises(DatasetError, match="larger than 30 bytes"):
        read(write_csv(videos, "one,real,train,a.mp4"))


def test_further_columns_are_kept_as_text_and_empty_ones_left_out(
    videos: Path, read: Callable[..., list[Sample]]
) -> None:
    header = "video_id,label,split,path,identity,,group, quality "
    first, second = read(write_csv(videos, "1,0,val,a.mp4, Ada ,7,,3", "2,0,val,b.mp4", header=header))
    assert first.columns == {"identity": "Ada", "quality": "3"}
    assert (first.identity, second.identity, second.columns) == ("Ada", None, {})


def test_numbers_of_a_json_manifest_become_text(videos: Path, read: Callable[..., list[Sample]]) -> None:
    entry = {"video_id": 7, "label": 1, "split": "train", "path": "a.mp4"}
    path = videos / "list.json"
    path.write_text(json.dumps([entry | {"identity": 12, "fps": 29.97, "old": True, "group": None, "note": ""}]))
    assert read(path)[0].columns == {"identity": "12", "fps": "29.97", "old": "true"}


def test_a_sample_can_be_sent_to_another_process() -> None:
    sample = Sample("a", 1, "train", "/a.mp4", {"identity": "x"})
    assert pickle.loads(pickle.dumps(sample)) == sample


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/a.mp4", True),
        ("fsspec+memory://a", True),
        ("/data/a.mp4", False),
        ("x/a://b", False),
        ("C:\\a.mp4", False),
    ],
)
def test_a_uri_has_a_scheme(path: str, expected: bool) -> None:
    assert is_uri(path) is expected


def test_a_manifest_may_name_folders_and_uris(videos: Path, read: Callable[..., list[Sample]]) -> None:
    folder, remote = read(write_csv(videos, "1,0,val,sub", "2,1,val,s3://no-such-bucket/a b.mp4"))
    assert (folder.path, remote.path) == (str(videos / "sub"), "s3://no-such-bucket/a b.mp4")


def test_what_is_secret_in_a_uri_is_not_told(videos: Path, read: Callable[..., list[Sample]]) -> None:
    rows = ["1,0,val,s3://key:hidden1@b/a.mp4?secret_key=hidden2", "1,0,val,a.mp4"]
    with pytest.raises(DatasetError, match=r"b/a.mp4") as caught:
        read(write_csv(videos, *rows))
    assert "hidden" not in caught.value.detail


def test_auto_split_needs_no_split_column_and_keeps_an_identity_together(
    videos: Path, read: Callable[..., list[Sample]]
) -> None:
    rows = [f"{n},0,a.mp4,person {n // 4}" for n in range(400)]
    samples = read(write_csv(videos, *rows, header="video_id,label,path,identity"), AUTO)
    by_person = {sample.identity: set[str]() for sample in samples}
    for sample in samples:
        by_person[sample.identity].add(sample.split)
    assert all(len(splits) == 1 for splits in by_person.values())
    counts = {split: sum(splits == {split} for splits in by_person.values()) for split in ("train", "val", "test")}
    assert counts["train"] > counts["val"] > 10 < counts["test"]


def test_auto_split_ignores_the_split_column_and_falls_back_to_the_video_id(
    videos: Path, read: Callable[..., list[Sample]]
) -> None:
    with_column = read(write_csv(videos, *(f"{n},0,nonsense,a.mp4" for n in range(50))), AUTO)
    mixed = [f"{n},0,a.mp4,{'Ada' if n % 2 else ''}" for n in range(50)]
    without = read(write_csv(videos, *mixed, header="video_id,label,path,identity"), AUTO)
    assert [one.split for one in with_column][::2] == [one.split for one in without][::2]
    assert len({one.split for one in without[1::2]}) == 1 < len({one.split for one in with_column})


def test_large_manifests_are_read_once_and_in_order(videos: Path, read: Callable[..., list[Sample]]) -> None:
    samples = read(write_csv(videos, *(f"v{n},{n % 2},train,a.mp4" for n in range(20_000))))
    assert [sample.video_id for sample in samples] == [f"v{n}" for n in range(20_000)]


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


def test_rows_of_nothing_but_commas_are_passed_over(videos: Path, read: Callable[..., list[Sample]]) -> None:
    path = videos / "list.csv"
    path.write_text("video_id,label,split,path\none,real,train,a.mp4\n,,,\n  , ,,\ntwo,fake,val,b.mp4\n")
    assert [sample.video_id for sample in read(path)] == ["one", "two"]


def labelled(videos: Path, label: object) -> Path:
    path = videos / "list.json"
    path.write_text(json.dumps([{"video_id": "one", "label": label, "split": "train", "path": "a.mp4"}]))
    return path


@pytest.mark.parametrize("label", [1.0, "1.0", 1, "fake"])
def test_a_label_may_be_a_whole_number_as_pandas_writes_it(
    videos: Path, read: Callable[..., list[Sample]], label: object
) -> None:
    assert [sample.label for sample in read(labelled(videos, label))] == [1]


@pytest.mark.parametrize("label", [True, 0.5, [1]])
def test_a_label_of_another_type_is_said_to_be_one(
    videos: Path, read: Callable[..., list[Sample]], label: object
) -> None:
    with pytest.raises(DatasetError, match="label is neither a text nor a whole number"):
        read(labelled(videos, label))


@pytest.mark.parametrize(
    ("meta", "code"),
    [
        ({"label": "deepfake"}, "label_unknown"),
        ({"label": True}, "label_unknown"),
        ({"label": 0.5}, "label_unknown"),
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


def test_scalars_of_the_meta_file_become_columns(tmp_path: Path, read_root: Callable[..., list[Sample]]) -> None:
    meta = {"label": 1, "identity": "Ada", "fps": 25, "boxes": [1], "more": {}, "none": None, "split": "x", "path": "y"}
    write_video(tmp_path, "train", "a", meta)
    assert read_root(tmp_path)[0].columns == {"identity": "Ada", "fps": "25"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["video.mp4"], "video.mp4"),
        (["video.WEBM", "video.json", "video.mp4.part"], "video.WEBM"),
        (["video.png"], "video.png"),
        (["video.mp4", "preprocessed/frames/1.jpg"], ""),
        (["preprocessed/frames/1.jpg"], ""),
        (["preprocessed/audio.wav"], ""),
        (["video.mp4", "preprocessed/audio.wav"], "video.mp4"),
    ],
)
def test_the_media_of_a_video_folder(
    tmp_path: Path, read_root: Callable[..., list[Sample]], files: list[str], expected: str
) -> None:
    folder = write_video(tmp_path, "train", "a", {"label": 0}, video=False)
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert read_root(tmp_path)[0].path == str(folder / expected)


def test_two_videos_in_one_folder_are_refused(tmp_path: Path, read_root: Callable[..., list[Sample]]) -> None:
    (write_video(tmp_path, "train", "a", {"label": 0}) / "video.mov").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"both video.mov and video.mp4") as caught:
        read_root(tmp_path)
    assert caught.value.code == "manifest_invalid"


def test_a_folder_without_splits_is_refused_unless_they_are_drawn(
    tmp_path: Path, read_root: Callable[..., list[Sample]]
) -> None:
    write_video(tmp_path, "", "a", {"label": 0})
    with pytest.raises(DatasetError, match="auto_split") as caught:
        read_root(tmp_path)
    assert caught.value.code == "dataset_missing"
    assert [one.video_id for one in read_root(tmp_path, AUTO)] == ["a"]


def test_auto_split_reads_both_layouts_and_draws_all_splits(
    tmp_path: Path, read_root: Callable[..., list[Sample]]
) -> None:
    for number in range(20):
        write_video(tmp_path, "train", f"in-{number}", {"label": 0})
        write_video(tmp_path, "", f"flat-{number}", {"label": 0})
    write_video(tmp_path, "", "val", {"label": 0})  # a video of that name, no split
    samples = read_root(tmp_path, AUTO)
    assert len(samples) == 41
    assert {one.split for one in samples if one.video_id.startswith("in")} == {"train", "val", "test"}
    assert "val" in {one.video_id for one in samples}


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path, read_root: Callable[..., list[Sample]]) -> None:
    write_video(tmp_path, "train", os.fsdecode(b"caf\xe9"), {"label": 0})
    with pytest.raises(DatasetError, match="not UTF-8") as caught:
        read_root(tmp_path)
    assert caught.value.code == "manifest_invalid"


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


def test_an_empty_split_is_refused() -> None:
    samples = [Sample("a", 0, "train", "/a.mp4"), Sample("b", 1, "val", "/b.mp4")]
    assert samples_of(samples, "val") == samples[1:]
    with pytest.raises(DatasetError, match=r"split test has no video \(found: train 1, val 1, test 0\)"):
        samples_of(samples, "test")


def test_a_sound_set_passes_also_with_one_class_in_validation(make_sample: Callable[..., Sample]) -> None:
    check_samples([make_sample("a", 0), make_sample("b", 1), make_sample("c", 0, "val")])


def test_genuine_videos_alone_will_do_where_fakes_are_made_of_them(make_sample: Callable[..., Sample]) -> None:
    genuine = [make_sample("a"), make_sample("b"), make_sample("c", 0, "val")]
    check_samples(genuine, pseudo_fakes=True)
    with pytest.raises(DatasetError) as caught:
        check_samples(genuine[:2], pseudo_fakes=True)
    assert caught.value.code == "split_empty"


@pytest.mark.parametrize("pair", ["", "b", "f", "nobody"], ids=["none", "of another split", "a fake", "nobody"])
def test_a_fake_without_a_genuine_partner_is_refused_where_fakes_are_made_of_genuine_videos(
    make_sample: Callable[..., Sample], pair: str
) -> None:
    fake = make_sample("f", 1, **({"pair": pair} if pair else {}))
    samples = [make_sample("a"), make_sample("b", 0, "val"), fake]
    with pytest.raises(DatasetError, match=r"f.* is fake: its column pair must name") as caught:
        check_samples(samples, pseudo_fakes=True)
    assert caught.value.code == "partner_unknown"
    check_samples(samples)


def test_each_fake_gets_the_genuine_sample_that_it_names(make_sample: Callable[..., Sample]) -> None:
    fakes = [make_sample(f"f{n}", 1, pair=name) for n, name in enumerate("aba")]
    genuine = [make_sample("a"), make_sample("b"), make_sample("c", 0, "val")]
    assert partners_of([*fakes, *genuine]) == {"f0": genuine[0], "f1": genuine[1], "f2": genuine[0]}
    assert partners_of(genuine) == {}
    check_samples([*fakes, *genuine], pseudo_fakes=True)


@pytest.mark.parametrize(("labels", "expected"), [([0, 1], []), ([], []), ([1, 1], ["fake"]), ([0], ["real"])], ids=str)
def test_validation_videos_of_one_class_are_warned_of(
    make_sample: Callable[..., Sample], labels: list[int], expected: list[str]
) -> None:
    samples = [make_sample("a", 0), make_sample("b", 1)]
    said = warnings([*samples, *(make_sample(f"v{n}", label, "val") for n, label in enumerate(labels))])
    assert [name for sentence in said for name in ("real", "fake") if f"are {name}" in sentence] == expected


def test_the_codes_in_use_are_the_listed_ones() -> None:
    folder = Path(__file__).parents[3] / "training" / "data"
    sources = [folder / name for name in ("manifest.py", "tables.py", "leakage.py")]
    text = "".join(source.read_text(encoding="utf-8") for source in sources)
    used = set(re.findall(r'DatasetError\(\s*"(\w+)"', text)) | set(re.findall(r'code(?:: str)? ?= ?"(\w+)"', text))
    assert used == set(DATASET_ERRORS)
