"""API keys: their form, their file, and that nothing shows them."""

import hashlib
import hmac
import os
import pickle
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from aura_model.errors import ConfigError
from aura_model.redaction import API_KEYS
from deployments.keys import MIN_KEY, Key, KeyRing, find, parse_keys, require_distinct

ONE, TWO = "first-key-0123456789", "second-key-0123456789"


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def said() -> Iterator[list[tuple[str, str]]]:
    """The level and text of each line in the log, fields included."""
    lines: list[tuple[str, str]] = []
    sink = logger.add(lambda m: lines.append((m.record["level"].name, f"{m}{m.record['extra']}")), format="{message}")
    yield lines
    logger.remove(sink)


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ([ONE], ["key-1"]),
        ([f"backend:{ONE}", TWO], ["backend", "key-2"]),
        ([f"  backend : {ONE}  "], ["backend"]),
        ([f"a.b_C-9:sha256:{sha256(ONE)}"], ["a.b_C-9"]),
        ([f"backend:sha256:{sha256(ONE).upper()}"], ["backend"]),
        (["", "  ", "# backend:short", f"b:{ONE}"], ["b"]),
        (["k:" + "a" * MIN_KEY, "l:" + "Az09._~+/-==" * 2], ["k", "l"]),
        ([], []),
    ],
)
def test_entries_that_are_read(entries: list[str], names: list[str]) -> None:
    assert [key.name for key in parse_keys(entries, "here")] == names


@pytest.mark.parametrize("entry", [ONE, f"a:{ONE}", f"a:sha256:{sha256(ONE)}"])
def test_a_key_is_found_by_what_it_is_and_by_nothing_near_it(entry: str) -> None:
    keys = parse_keys(["x:" + "x" * 20, entry, "y:" + "y" * 20], "here")
    assert find(keys, ONE) == keys[1].name
    for other in (ONE[:-1], ONE + "0", ONE.upper(), f" {ONE}", "", "a", f"a:{ONE}", sha256(ONE), "é" * 20):
        assert find(keys, other) is None


def test_a_hash_without_a_name_is_a_hash() -> None:
    """And not a key that anybody who may read the file could use."""
    keys = parse_keys([f"sha256:{sha256(ONE)}"], "here")
    assert find(keys, ONE) == "key-1"
    assert find(keys, sha256(ONE)) is None


def test_the_hash_of_a_short_key_opens_nothing() -> None:
    """Of nothing, as `sha256sum < /dev/null` writes it, or of a word."""
    for short in ("", "password"):
        assert find(parse_keys([f"a:sha256:{sha256(short)}"], "here"), short) is None


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append(a)
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keys = parse_keys([ONE, TWO, "third-key-0123456789"], "here")
    for given in (ONE, "nothing"):
        find(keys, given)
    assert compared == [key.digest for key in keys] * 2


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("c4nary-short", "entry 2: the key is not one"),
        ("name:c4nary-short", "entry 2: the key is not one"),
        ("name:c4nary with spaces in it", "entry 2: the key is not one"),
        ("name:c4nary-čeština-0123456789", "entry 2: the key is not one"),
        ("name:c4nary-" + "a" * 300, "entry 2: the key is not one"),
        ("name:sha256:c4nary", "entry 2: the key is not one"),
        ("name:md5:c4nary-0123456789abcdef", "entry 2: the key is not one"),
        ("c4nary 0123456789:name", "entry 2: the name is not one"),
        (":c4nary-0123456789", "entry 2: the name is not one"),
        ("c4nary" * 11 + ":name-0123456789", "entry 2: the name is not one"),
    ],
)
def test_a_bad_entry_is_named_and_not_shown(entry: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_keys([f"good:{ONE}", entry], "SOURCE")
    assert f"SOURCE, {says}; write NAME:KEY" in caught.value.detail
    assert "c4nary" not in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([f"a:{ONE}", f"a:{TWO}"], "called 'a'"),
        ([f"a:{ONE}", f"b:{ONE}"], "'a' and 'b' are the same"),
        ([f"a:{ONE}", f"b:sha256:{sha256(ONE)}"], "'a' and 'b' are the same"),
        ([f"key-2:{ONE}", TWO], "called 'key-2'"),
    ],
)
def test_names_and_keys_are_distinct(entries: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        require_distinct(parse_keys(entries, "here"))
    assert ONE not in str(caught.value)


def test_only_hashes_are_kept(file: Path) -> None:
    file.write_text(f"file:{TWO}\n")
    ring = KeyRing({API_KEYS: f"env:{ONE}"}, file)
    ring.current()
    held: Any = vars(ring)
    for text in (repr(held), repr(ring.current()), str(pickle.dumps(held))):
        assert ONE not in text
        assert TWO not in text
    assert repr(Key("a", b"digest")) == "Key(name='a')"


# --- the ring ---------------------------------------------------------------------------------------------------------


def names(ring: KeyRing) -> list[str]:
    return [key.name for key in ring.current()]


def test_the_environment_and_the_file_add_up(file: Path) -> None:
    file.write_text(f"# the backend\nfile:sha256:{sha256(TWO)}\n\n")
    ring = KeyRing({API_KEYS: f" env:{ONE},"}, file)
    assert names(ring) == ["env", "file"]
    assert [find(ring.current(), key) for key in (ONE, TWO)] == ["env", "file"]


@pytest.mark.parametrize("environment", [{}, {API_KEYS: ""}, {API_KEYS: " , "}])
def test_there_may_be_no_keys(environment: dict[str, str]) -> None:
    assert KeyRing(environment, None).current() == ()


def test_a_name_may_not_stand_in_both(file: Path) -> None:
    file.write_text(f"a:{TWO}")
    with pytest.raises(ConfigError, match="called 'a'"):
        KeyRing({API_KEYS: f"a:{ONE}"}, file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read .*: No such file"),
        (b"", "has no key"),
        (b"# none yet\n", "has no key"),
        (b"a:\xff\xfe0123456789abcdef", "not UTF-8"),
        (b"a:c4nary", r"entry 1: the key is not one"),
    ],
)
def test_a_file_that_cannot_be_used(file: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"serving.keys_file.*{says}") as caught:
        KeyRing({API_KEYS: f"a:{ONE}"}, file)
    assert "c4nary" not in str(caught.value)


def test_the_documents_shell_line_writes_a_file_of_hashes(tmp_path: Path) -> None:
    document = (Path(__file__).parents[2] / "cluster" / "README.md").read_text()
    (line,) = re.findall(r"^echo .* > keys$", document, re.MULTILINE)
    subprocess.run(["bash", "-ec", line], cwd=tmp_path, env={"PATH": os.environ["PATH"], "KEY": ONE}, check=True)
    assert ONE not in (tmp_path / "keys").read_text()
    assert find(KeyRing({}, tmp_path / "keys").current(), ONE) == "backend"


def replace_file(file: Path, content: str) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(content)
    fresh.replace(file)


def test_keys_are_replaced_without_a_restart(file: Path, said: list[tuple[str, str]]) -> None:
    file.write_text(f"old:{ONE}")
    ring = KeyRing({}, file)
    assert names(ring) == ["old"]
    replace_file(file, f"old:{ONE}\nnew:{TWO}")
    assert names(ring) == ["old", "new"]
    replace_file(file, f"new:{TWO}")
    assert find(ring.current(), ONE) is None
    assert find(ring.current(), TWO) == "new"
    assert [level for level, _ in said] == ["INFO", "INFO"]


def test_a_secret_of_kubernetes_changes_by_a_link(tmp_path: Path) -> None:
    for version, content in (("1", f"a:{ONE}"), ("2", f"b:{TWO}")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys").write_text(content)
        os.utime(tmp_path / version / "keys", (1, 1))
    (tmp_path / "data").symlink_to("1")
    ring = KeyRing({}, tmp_path / "data" / "keys")
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").replace(tmp_path / "data")
    assert names(ring) == ["b"]


@pytest.mark.parametrize("content", [None, "", "a:short", f"a:{TWO}\na:{TWO}"])
def test_a_file_that_became_unusable_changes_nothing(
    file: Path, said: list[tuple[str, str]], content: str | None
) -> None:
    file.write_text(f"old:{ONE}")
    ring = KeyRing({}, file)
    if content is None:
        file.unlink()
    else:
        replace_file(file, content)
    assert names(ring) == names(ring) == ["old"]
    assert [level for level, _ in said] == ["ERROR"], "once, not at each request"
    assert TWO not in said[0][1]
    replace_file(file, f"new:{TWO}")
    assert names(ring) == ["new"]


def test_what_cannot_be_read_yet_is_tried_again(
    file: Path, said: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What hinders, such as a folder without rights, may end and leave no trace in the file."""
    file.write_text(f"old:{ONE}")
    ring = KeyRing({}, file)
    replace_file(file, f"new:{TWO}")
    with monkeypatch.context() as hindered:
        hindered.setattr(Path, "read_text", _refuse)
        assert names(ring) == names(ring) == ["old"]
    assert names(ring) == ["new"]
    assert [level for level, _ in said] == ["ERROR", "INFO"]


def _refuse(*_: object, **__: object) -> str:
    raise PermissionError(13, "Permission denied")


def test_other_rights_are_a_change(file: Path, said: list[tuple[str, str]]) -> None:
    file.write_text(f"old:{ONE}")
    ring = KeyRing({}, file)
    file.chmod(0o640)
    assert names(ring) == ["old"]
    assert [level for level, _ in said] == ["INFO"]


def test_an_unchanged_file_is_not_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(f"old:{ONE}")
    ring = KeyRing({}, file)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("read again"))
    assert names(ring) == ["old"]
