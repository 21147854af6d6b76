import fcntl
import os
from pathlib import Path

import pytest

from aura_model.atomic import replacing

PREFIX = ".ckpt-"


def temporaries(folder: Path) -> list[Path]:
    return list(folder.glob(f"{PREFIX}*.tmp"))


def write(path: Path, content: bytes) -> None:
    with replacing(path, PREFIX) as file:
        file.write(content)


def test_the_file_appears_whole_and_alone(tmp_path: Path) -> None:
    write(tmp_path / "new" / "folder" / "a.bin", b"whole")
    assert [item.name for item in (tmp_path / "new" / "folder").iterdir()] == ["a.bin"]
    assert (tmp_path / "new" / "folder" / "a.bin").read_bytes() == b"whole"


def test_until_the_end_the_old_file_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write(path, b"old")
    with replacing(path, PREFIX) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        assert len(temporaries(tmp_path)) == 1
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(failure: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write(path, b"old")

    def fail() -> None:
        with replacing(path, PREFIX) as file:
            file.write(b"half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "fchmod"])
def test_a_full_disk_at_the_last_moment_leaves_the_old_file(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    write(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_order_is_file_to_disk_then_rename_then_folder_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, steps = tmp_path / "a.bin", []
    sync, replace = os.fsync, Path.replace

    def noted_sync(descriptor: int) -> None:
        steps.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")  # noqa: PTH112
        sync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        assert self.parent == target.parent
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write(path, b"new")
    assert steps == ["file", "rename", "folder"]


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}killed.tmp").write_bytes(b"half")
    (tmp_path / "notes.tmp").write_bytes(b"someone else's")
    write(tmp_path / "a.bin", b"new")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.bin", "notes.tmp"]


def test_a_writer_at_work_is_not_swept(tmp_path: Path) -> None:
    with replacing(tmp_path / "slow.bin", PREFIX) as file:
        file.write(b"slow")
        write(tmp_path / "quick.bin", b"quick")
        assert len(temporaries(tmp_path)) == 1
    assert (tmp_path / "slow.bin").read_bytes() == b"slow"
    assert (tmp_path / "quick.bin").read_bytes() == b"quick"


def test_a_writer_swept_before_its_lock_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fcntl.flock
    swept: list[Path] = []

    def too_late(file: object, how: int) -> None:
        if not swept:
            swept.extend(temporaries(tmp_path))
            swept[0].unlink()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", too_late)
    write(tmp_path / "a.bin", b"new")
    assert swept
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_without_locks_files_are_written_and_none_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    (tmp_path / f"{PREFIX}unknown.tmp").write_bytes(b"half")
    write(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert len(temporaries(tmp_path)) == 1


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_the_mode_of_the_old_file_is_kept(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write(path, b"old")
    path.chmod(mode)
    write(path, b"new")
    assert path.stat().st_mode & 0o777 == mode


def test_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write(tmp_path / "a.bin", b"new")
    finally:
        os.umask(old)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o640
