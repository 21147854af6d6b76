"""Names of hosts in one spelling, and the entries of `serving.allowed_hosts`."""

import ipaddress
import re
from dataclasses import dataclass

import idna

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ENTRY = re.compile(r"(\[(?P<address>[0-9A-Fa-f:.]+)]|(?P<name>[^][:]*))(:(?P<port>[0-9]{1,5}))?")
_ENTRIES = "a host (storage.example.com), *.suffix or *, each with :PORT where it is not the scheme's own"


@dataclass(frozen=True)
class HostEntry:
    """Hosts that the service may fetch from."""

    pattern: str
    """A host in one spelling, `*.suffix`, or `*`."""
    port: int | None
    """None: the scheme's own."""

    def __str__(self) -> str:
        pattern = f"[{self.pattern}]" if ":" in self.pattern else self.pattern
        return pattern if self.port is None else f"{pattern}:{self.port}"

    def names(self, host: str) -> bool:
        """Whether this is the entry of a host, in one spelling; a suffix is made of whole labels, and not a host."""
        return self.pattern in (host, "*") or (self.pattern.startswith("*.") and host.endswith(self.pattern[1:]))


def one_spelling(host: str) -> str:
    """A host in the one form in which it is compared: lower case, IDNA 2008, no dot at the end; an address compressed.

    Args:
        host: a name, or an address without brackets.

    Raises:
        ValueError: it is neither. A name that ends in a number is none: resolvers take `127.1` and `0x7f000001` for
            addresses.
    """
    if "%" in host:  # an encoded name, or the scope of an address
        raise ValueError("not a host name")
    try:
        return str(ipaddress.IPv6Address(host) if ":" in host else ipaddress.IPv4Address(host))
    except ipaddress.AddressValueError:
        pass
    name = (host if host.isascii() else idna.encode(host.lower()).decode()).lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)) or _NUMBER.fullmatch(labels[-1]):
        raise ValueError("not a host name")
    return name


def read_entry(text: str) -> HostEntry:
    """Read an entry of `serving.allowed_hosts`.

    Raises:
        ValueError: it is none; the text says what one looks like.
    """
    try:
        return _read_entry(text)
    except ValueError:  # idna's error is one
        raise ValueError(f"each entry must be {_ENTRIES}") from None


def _read_entry(text: str) -> HostEntry:
    match = _ENTRY.fullmatch(text)
    if match is None:
        raise ValueError(text)
    name, port = match["name"], None if match["port"] is None else int(match["port"])
    if port is not None and not 0 < port < 65536:
        raise ValueError(text)
    if name is None:
        return HostEntry(str(ipaddress.IPv6Address(match["address"])), port)
    if name == "*":
        return HostEntry(name, port)
    if name.startswith("*."):
        return HostEntry(f"*.{_suffix(name[2:])}", port)
    return HostEntry(one_spelling(name), port)


def _suffix(text: str) -> str:
    suffix = one_spelling(text)
    if _NUMBER.fullmatch(suffix.rpartition(".")[2]):  # an address has no hosts below it
        raise ValueError(text)
    return suffix
