import subprocess
import sys
from pathlib import Path

import pytest

from aura_model.errors import ConfigError
from training.locking import hold_alone

TAKEN = ConfigError("taken")


def test_a_second_one_is_refused_until_the_first_one_ends(tmp_path: Path) -> None:
    with (tmp_path / "a").open("ab") as first, (tmp_path / "a").open("ab") as second:
        hold_alone(first, TAKEN)
        with pytest.raises(ConfigError, match="taken"):
            hold_alone(second, TAKEN)
        first.close()
        hold_alone(second, TAKEN)


def test_another_file_is_free(tmp_path: Path) -> None:
    with (tmp_path / "a").open("ab") as first, (tmp_path / "b").open("ab") as second:
        hold_alone(first, TAKEN)
        hold_alone(second, TAKEN)


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    code = "import fcntl, os, sys; fcntl.flock(open(sys.argv[1], 'ab'), fcntl.LOCK_EX); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, tmp_path / "a"], check=False)
    with (tmp_path / "a").open("ab") as file:
        hold_alone(file, TAKEN)
