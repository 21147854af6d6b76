import io
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from pyarrow.fs import LocalFileSystem

from aura_model.errors import MediaError
from training.data.locations import BLOCK, list_files, locate, plain_errors, read_bounded


@pytest.fixture
def remote() -> Iterator[str]:
    """A place in the memory of this process, which is no local file."""
    system, root = fsspec.filesystem("memory"), f"/{uuid4().hex}"
    system.pipe({f"{root}/a b.bin": b"0123456789", f"{root}/sub/c.bin": b"c"})
    yield f"memory:/{root}"
    system.rm(root, recursive=True)


@pytest.mark.parametrize("name", ["a b.bin", "ünï.bin", "100%25.bin"])
def test_a_local_path_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"content")
    system, path = locate(str(tmp_path / name))
    assert isinstance(system, LocalFileSystem)
    assert read_bounded(system, path, 100) == b"content"


@pytest.mark.parametrize("name", ["a b.bin", "a%20b.bin"])
def test_a_file_uri_may_be_escaped(tmp_path: Path, name: str) -> None:
    (tmp_path / "a b.bin").write_bytes(b"content")
    assert read_bounded(*locate(f"file://{tmp_path}/{name}"), 100) == b"content"


@pytest.mark.parametrize("prefix", ["", "fsspec+"])
def test_other_schemes_are_left_to_fsspec(remote: str, prefix: str) -> None:
    assert read_bounded(*locate(f"{prefix}{remote}/sub/c.bin"), 100) == b"c"


def test_files_of_a_folder_are_listed_with_their_sizes(remote: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "one.jpg").write_bytes(b"123")
    assert list_files(*locate(remote)) == [("a b.bin", 10)]
    assert list_files(*locate(str(tmp_path))) == [("one.jpg", 3)]
    assert list_files(*locate(str(tmp_path / "gone"))) == []


@pytest.mark.parametrize(("limit", "length"), [(3, 4), (9, 10), (10, 10), (100, 10)])
def test_reading_ends_one_byte_after_the_limit(remote: str, limit: int, length: int) -> None:
    assert read_bounded(*locate(f"{remote}/a b.bin"), limit) == b"0123456789"[:length]


def test_blocks_are_joined(tmp_path: Path) -> None:
    content = bytes(range(256)) * (2 * BLOCK // 256) + b"end"
    (tmp_path / "large").write_bytes(content)
    assert read_bounded(*locate(str(tmp_path / "large")), 10 * BLOCK) == content
    assert len(read_bounded(*locate(str(tmp_path / "large")), BLOCK)) == BLOCK + 1


def test_what_cannot_be_opened_is_told_without_secrets() -> None:
    with pytest.raises(OSError, match=r"^cannot read nope://host/a\?<redacted>: Protocol not known: nope$"):
        locate("nope://user:hidden@host/a?token=hidden")


def test_a_uri_that_makes_no_sense_is_an_os_error() -> None:
    with pytest.raises(OSError, match=r"^cannot read s3:"):
        locate("s3://[bad/a")


def test_a_bucket_is_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first, path = locate("s3://some-bucket/a/b c.mp4?region=us-east-1")
    second, other = locate("s3://some-bucket/d%20e.mp4?region=us-east-1")
    assert first is second
    assert (path, other) == ("some-bucket/a/b c.mp4", "some-bucket/d e.mp4")
    assert locate("s3://some-bucket/a?region=eu-west-1")[0] is not first


class PluginError(Exception):
    """As a plug-in may raise: no OSError."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PluginError("denied for s3://k:hidden@b/x?sig=hidden\nat line 3"), "denied for s3://b/x?<redacted>"),
        (PluginError(), "PluginError"),
        (KeyError("bucket"), "'bucket'"),
        (io.UnsupportedOperation("seek"), "seek"),
    ],
)
def test_every_error_becomes_one_plain_sentence(error: Exception, said: str) -> None:
    with pytest.raises(OSError, match=r"^cannot read s3://b/a: ") as caught, plain_errors("s3://b/a"):
        raise error
    assert str(caught.value) == f"cannot read s3://b/a: {said}"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("error", [MediaError("empty_file", "x"), MemoryError(), KeyboardInterrupt()])
def test_other_faults_pass(error: BaseException) -> None:
    with pytest.raises(type(error)), plain_errors("s3://b/a"):
        raise error
