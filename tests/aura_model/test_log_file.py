import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from aura_model.log_file import RotatingFile

WRITERS, LINES = 4, 200


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_default_is_ten_megabytes_and_three_kept(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "a.log")
    assert (file.max_bytes, file.keep) == (10_000_000, 3)


def test_text_is_appended(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "a.log")
    file.write("one\n")
    RotatingFile(tmp_path / "a.log").write("příliš\ud800\n")
    assert (tmp_path / "a.log").read_bytes() == "one\npříliš\\ud800\n".encode()


def test_a_full_file_is_rotated_and_the_oldest_is_dropped(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "a.log", max_bytes=10, keep=2)
    for line in ("first\n", "second\n", "third\n", "fourth\n"):
        file.write(line)
    assert names(tmp_path) == ["a.log", "a.log.1", "a.log.2"]
    assert [(tmp_path / name).read_text() for name in names(tmp_path)] == ["fourth\n", "third\n", "second\n"]


def test_a_file_is_filled_up_to_the_last_byte(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "a.log", max_bytes=10)
    file.write("12345")
    file.write("67890")
    assert names(tmp_path) == ["a.log"]
    file.write("1")
    assert names(tmp_path) == ["a.log", "a.log.1"]


def test_a_line_longer_than_a_file_is_kept_whole(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "a.log", max_bytes=10)
    for letter in "ab":
        file.write(letter * 25)
    assert (tmp_path / "a.log").read_text() == "b" * 25
    assert (tmp_path / "a.log.1").read_text() == "a" * 25


def test_a_removed_file_is_made_again(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "a.log")
    file.write("one\n")
    (tmp_path / "a.log").unlink()
    file.write("two\n")
    assert (tmp_path / "a.log").read_text() == "two\n"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RotatingFile(tmp_path / "none" / "a.log").write("x")


def test_pickles(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "a.log")
    file.write("x")
    assert pickle.loads(pickle.dumps(file)) == file


WRITER = """
import sys
from pathlib import Path
from aura_model.log_file import RotatingFile

file = RotatingFile(Path(sys.argv[1]), max_bytes=1_000, keep=100)
for line in range(int(sys.argv[3])):
    file.write(f"{sys.argv[2]} {line}\\n")
"""


def test_several_processes_lose_and_tear_no_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "a.log")]
    writers = [subprocess.Popen([*command, str(writer), str(LINES)]) for writer in range(WRITERS)]
    assert [writer.wait(60) for writer in writers] == [0] * WRITERS
    found = [line for file in tmp_path.iterdir() for line in file.read_text().splitlines()]
    assert sorted(found) == sorted(f"{writer} {line}" for writer in range(WRITERS) for line in range(LINES))
    assert all(file.stat().st_size <= 1_000 for file in tmp_path.iterdir())
