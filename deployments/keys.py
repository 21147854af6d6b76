"""API keys: read from the environment and a file, kept as hashes, found in constant time."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aura_model.errors import ConfigError
from aura_model.logging import get_logger
from aura_model.redaction import API_KEYS

MIN_KEY = 16
"""Characters. A shorter key can be guessed."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = re.compile(rf"[A-Za-z0-9._~+/=-]{{{MIN_KEY},256}}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_FORM = (
    f"write NAME:KEY or NAME:sha256:HEX; a key has {MIN_KEY} to 256 letters, digits and ._~+/=-, a name at most 64 "
    "letters, digits and ._-"
)


@dataclass(frozen=True)
class Key:
    """One key that callers may use."""

    name: str
    """What the log calls it."""
    digest: bytes = field(repr=False)
    """SHA-256 of the key: it is random, so a slow hash would add nothing."""


def parse_keys(entries: Iterable[str], source: str) -> tuple[Key, ...]:
    """Read `NAME:KEY`, `NAME:sha256:HEX` or `KEY` entries; empty ones and `#` comments are passed over.

    A key without a name is called by its place, `key-1` the first.

    Raises:
        ConfigError: names the source and the place of the bad entry, and shows nothing of it.
    """
    keys = []
    for place, entry in enumerate(entries, 1):
        if (text := entry.strip()) and not text.startswith("#"):
            keys.append(_parse_key(text, place, source))
    return tuple(keys)


def require_distinct(keys: Iterable[Key]) -> tuple[Key, ...]:
    """The keys, if each has its own name and value.

    Raises:
        ConfigError: names the two, which are no secrets.
    """
    by_name: dict[str, Key] = {}
    by_digest: dict[bytes, Key] = {}
    for key in keys:
        if key.name in by_name:
            raise ConfigError(f"two API keys are called {key.name!r}; while keys are replaced, both need a name")
        if key.digest in by_digest:
            raise ConfigError(f"the API keys {by_digest[key.digest].name!r} and {key.name!r} are the same")
        by_name[key.name] = by_digest[key.digest] = key
    return tuple(by_name.values())


def find(keys: Iterable[Key], given: str) -> str | None:
    """The name of the key that was given. Each is compared, in constant time, found or not."""
    digest = hashlib.sha256(given.encode()).digest()
    names = [key.name for key in keys if hmac.compare_digest(key.digest, digest)]
    return names[0] if names and len(given) >= MIN_KEY else None


class KeyRing:
    """The keys of the environment and of a file, which is read again when it has changed.

    So keys are replaced without a restart: write the new one beside the old, then take the old one out. A file that has
    become unusable changes nothing, and the log says so once; it is tried again with each request, for what hinders
    reading may end without a trace in the file.
    """

    def __init__(self, environment: Mapping[str, str], file: Path | None) -> None:
        """Read both.

        Raises:
            ConfigError: an entry is bad, or the file cannot be read or has no key.
        """
        self._fixed = parse_keys(environment.get(API_KEYS, "").split(","), API_KEYS)
        self._file = file
        self._mark = self._refused = self._seen()
        self._keys = self._read()

    def current(self) -> tuple[Key, ...]:
        """The keys that hold now."""
        mark = self._seen()
        if mark != self._mark:
            self._renew(mark)
        return self._keys

    def _renew(self, mark: tuple[int, ...]) -> None:
        logger = get_logger(__name__)
        try:
            self._keys = self._read()
        except ConfigError as error:
            if mark != self._refused:
                self._refused = mark
                logger.bind(detail=error.detail).error("the new API keys cannot be used; the old ones stay")
        else:
            self._mark = self._refused = mark
            logger.bind(names=[key.name for key in self._keys]).info("the API keys were read again")

    def _read(self) -> tuple[Key, ...]:
        return require_distinct((*self._fixed, *(_read_file(self._file) if self._file else ())))

    def _seen(self) -> tuple[int, ...]:
        """What tells one version of the file from another; a mounted Kubernetes Secret changes by a link."""
        try:
            found = self._file.stat() if self._file else None
        except OSError:
            return (0,)
        return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size) if found else ()


def _read_file(path: Path) -> tuple[Key, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"serving.keys_file: cannot read {path}: {reason}") from None
    keys = parse_keys(lines, f"serving.keys_file ({path})")
    if not keys:
        raise ConfigError(f"serving.keys_file: {path} has no key; {_FORM}")
    return keys


def _parse_key(text: str, place: int, source: str) -> Key:
    name, colon, value = text.partition(":")
    if not colon or (name.strip() == "sha256" and _DIGEST.fullmatch(value.strip())):  # a hash is no key, named or not
        name, value = f"key-{place}", text
    kind, _, digest = value.strip().partition(":")
    if not _NAME.fullmatch(name.strip()):
        raise ConfigError(f"{source}, entry {place}: the name is not one; {_FORM}")
    if kind == "sha256" and _DIGEST.fullmatch(digest):
        return Key(name.strip(), bytes.fromhex(digest))
    if not _KEY.fullmatch(value.strip()):
        raise ConfigError(f"{source}, entry {place}: the key is not one; {_FORM}")
    return Key(name.strip(), hashlib.sha256(value.strip().encode()).digest())
