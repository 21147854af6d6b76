import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from pyarrow.fs import LocalFileSystem

from training.data import leakage
from training.data.errors import DatasetError
from training.data.leakage import EDGE, refuse_leaks
from training.data.manifest import Sample

Make = Callable[..., Sample]


@pytest.fixture
def make(tmp_path: Path, make_sample: Make) -> Make:
    """A sample with content: of a file, or of a folder where the content names several."""

    def build(name: str, split: str, content: bytes | dict[str, bytes], label: int = 0, **columns: str) -> Sample:
        files = {name: content} if isinstance(content, bytes) else {f"{name}/{one}": content[one] for one in content}
        for file, data in files.items():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_bytes(data)
        return make_sample(name, label, split, str(tmp_path / name), **columns)

    return build


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was compared by content: `edges NAME` and `whole NAME`."""
    seen: list[str] = []
    for kind in ("edges", "whole"):
        genuine = getattr(leakage._Content, kind)

        def spy(content: "leakage._Content", kind: str = kind, genuine: Callable[..., object] = genuine) -> object:
            seen.append(f"{kind} {content.sample.video_id}")
            return genuine(content)

        monkeypatch.setattr(leakage._Content, kind, spy)
    return seen


def refused(*samples: Sample) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        refuse_leaks(samples)
    return caught.value


def test_an_identity_in_two_splits_is_refused_with_both_places(make: Make) -> None:
    error = refused(
        make("a", "train", b"1", identity="Ada"),
        make("b", "train", b"12", identity="Grace"),
        make("c", "test", b"123", identity="Ada"),
    )
    assert error.code == "leaked_identity"
    assert "'Ada'" in error.detail
    assert "/a (train)" in error.detail
    assert "/c (test)" in error.detail


def test_an_identity_may_come_often_in_one_split_and_be_unknown_in_all(make: Make) -> None:
    refuse_leaks(
        [
            make("a", "train", b"1", identity="Ada"),
            make("b", "train", b"12", label=1, identity="Ada"),
            make("c", "val", b"123"),
            make("d", "test", b"1234"),
        ]
    )


LONG = bytes(3 * EDGE)
FOLDER = {"1.jpg": b"one", "2.jpg": b"two"}
SAME: dict[str, tuple[bytes | dict[str, bytes], bytes | dict[str, bytes]]] = {
    "files": (b"content", b"content"),
    "long files": (LONG, LONG),
    "folders": (FOLDER, FOLDER),
    "renamed frames": (FOLDER, {"frames/7.jpeg": b"one", "frames/10.jpg": b"two"}),
    "folders with sound": (FOLDER | {"audio.wav": b"x"}, FOLDER | {"preprocessed/audio.wav": b"x", "other.txt": b"y"}),
}


@pytest.mark.parametrize(("first", "second"), SAME.values(), ids=list(SAME))
def test_the_same_content_in_two_splits_is_refused_with_both_places(
    make: Make, first: bytes | dict[str, bytes], second: bytes | dict[str, bytes]
) -> None:
    others = [make("c", "train", b"content!"), make("d", "val", b"contest")]
    error = refused(*others, make("a", "train", first), make("b", "val", second))
    assert error.code == "leaked_video"
    assert "/a (train) and " in error.detail
    assert "/b (val) " in error.detail


DIFFERENT: dict[str, tuple[bytes | dict[str, bytes], bytes | dict[str, bytes]]] = {
    "size": (b"content", b"contents"),
    "start": (b"content", b"Content"),
    "end": (LONG, LONG[:-1] + b"x"),
    "middle": (LONG, LONG[:EDGE] + b"x" + LONG[EDGE + 1 :]),
    "frame": (FOLDER, FOLDER | {"2.jpg": b"six"}),
    "middle frame": (FOLDER | {"3.jpg": b"tri"}, FOLDER | {"2.jpg": b"six", "3.jpg": b"tri"}),
    "order of frames": (FOLDER, {"1.jpg": b"two", "2.jpg": b"one"}),
    "number of frames": (FOLDER, {"1.jpg": b"onetwo"}),
    "sound": (FOLDER | {"audio.wav": b"x"}, FOLDER | {"audio.wav": b"y"}),
    "empty files": (b"", b""),
    "empty folders": ({"a.txt": b"x"}, {"a.txt": b"x"}),
}


@pytest.mark.parametrize(("first", "second"), DIFFERENT.values(), ids=list(DIFFERENT))
def test_different_content_is_no_leak(
    make: Make, first: bytes | dict[str, bytes], second: bytes | dict[str, bytes]
) -> None:
    refuse_leaks([make("a", "train", first), make("b", "val", second)])


def test_a_link_to_a_training_video_is_a_leak(make: Make, make_sample: Make, tmp_path: Path) -> None:
    sample = make("a", "train", b"content")
    (tmp_path / "b").symlink_to(sample.path)
    assert refused(sample, make_sample("b", 0, "test", str(tmp_path / "b"))).code == "leaked_video"


def test_the_same_content_twice_in_a_split_needs_one_label(make: Make) -> None:
    refuse_leaks([make("a", "train", b"content"), make("b", "train", b"content")])
    error = refused(make("a", "train", b"content"), make("b", "train", b"content", label=1))
    assert error.code == "label_conflict"
    assert "/a (train) and " in error.detail
    assert "/b (train) " in error.detail


def test_a_leak_is_named_before_a_conflict(make: Make) -> None:
    error = refused(make("a", "train", b"x"), make("b", "train", b"x", label=1), make("c", "val", b"x"))
    assert error.code == "leaked_video"


def test_files_are_read_only_where_a_leak_could_hide(make: Make, reads: list[str]) -> None:
    refuse_leaks(
        [
            make("alone", "train", b"1"),
            make("twin", "train", b"22"),
            make("other twin", "train", b"23"),
            make("suspect", "train", b"333"),
            make("cleared", "val", b"334"),
            make("long", "train", LONG),
            make("longer look", "val", LONG[:EDGE] + b"x" + LONG[EDGE + 1 :]),
            make("far", "val", LONG[:-1] + b"y"),
        ]
    )
    assert sorted(reads) == sorted(
        [
            *("edges suspect", "edges cleared"),
            *("edges long", "edges longer look", "edges far"),
            *("whole long", "whole longer look"),
        ]
    )


@pytest.fixture
def remote() -> Iterator[str]:
    system, root = fsspec.filesystem("memory"), f"/{uuid4().hex}"
    system.pipe({f"{root}/a.mp4": b"content", f"{root}/b/1.jpg": b"one", f"{root}/b/2.jpg": b"two"})
    yield f"memory:/{root}"
    system.rm(root, recursive=True)


@pytest.mark.parametrize(("name", "content"), [("a.mp4", b"content"), ("b", FOLDER)])
def test_remote_content_is_compared_with_local(
    make: Make, make_sample: Make, remote: str, name: str, content: bytes | dict[str, bytes]
) -> None:
    local, far = make("local", "train", content), make_sample("far", 0, "val", f"{remote}/{name}")
    assert refused(local, far).code == "leaked_video"


@pytest.mark.parametrize(
    "path",
    ["nope://bucket/a.mp4", "memory://gone/a.mp4", "/gone/a.mp4", "s3://[bad/a"],
    ids=["nope", "far", "near", "bad"],
)
def test_what_cannot_be_reached_is_left_to_extraction(make: Make, make_sample: Make, path: str) -> None:
    away = [make_sample("x", 0, "train", path), make_sample("y", 0, "val", path)]
    refuse_leaks(away)
    assert refused(*away, make("a", "train", b"content"), make("b", "val", b"content")).code == "leaked_video"


def test_a_file_that_goes_away_while_it_is_compared_is_passed_over(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [make("a", "train", b"content"), make("b", "val", b"content"), make("c", "test", b"content")]

    def edges(content: "leakage._Content") -> bytes:
        if content.sample.video_id == "b":
            raise FileNotFoundError("gone")
        return b""

    monkeypatch.setattr(leakage._Content, "edges", edges)
    assert "/c (test)" in refused(*samples).detail


def test_secrets_of_a_uri_are_not_told(make_sample: Make) -> None:
    uris = [f"nope://key:hidden@b/{name}?sig=hidden" for name in "ab"]
    first, second = (
        make_sample("a", 0, "train", uris[0], identity="A"),
        make_sample("b", 0, "val", uris[1], identity="A"),
    )
    error = refused(first, second)
    assert "hidden" not in error.detail
    assert "b/a?" in error.detail


def test_sizes_are_asked_for_in_batches_once_for_each_file(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Counting(LocalFileSystem):  # type: ignore[misc]
        def get_file_info(self, paths: list[str]) -> list[object]:
            asked.append(len(paths))
            return list(super().get_file_info(paths))

    monkeypatch.setattr("training.data.leakage.locate", lambda path: (Counting(), path))
    monkeypatch.setattr("training.data.leakage.BATCH", 10)
    refuse_leaks([make(f"v{n}", "val" if n % 2 else "train", os.urandom(n + 1)) for n in range(25)])
    assert asked == [10, 10, 5]
