"""Which URLs the service fetches: their form, and by the settings their scheme, host and port."""

import re
from dataclasses import dataclass

import httpx

from aura_model.config import ServingConfig
from aura_model.hosts import HostEntry, one_spelling, read_entry
from deployments.fetching.addresses import Address, is_public
from deployments.fetching.network import resolve
from deployments.problems import ServiceError

MAX_URL = 4096
"""Characters; signed URLs of the object stores stay well below."""
PORTS = {"https": 443, "http": 80}
ANYWHERE = (HostEntry("*", None),)
_DOT_SEGMENT = re.compile(rb"[^?]*/(\.|%2e){1,2}([/?]|$)", re.IGNORECASE)
"""In a path: httpx and some hosts remove it (RFC 3986, 5.2.4), and a signature over the URL fails."""
_BESIDE_TARGET = re.compile(r"^[^:/?#]*://[^/?#]*|#.*")
"""Scheme and authority, and the fragment; path and query are between them (RFC 3986, appendix B)."""


@dataclass(frozen=True)
class Target:
    """A URL of a form that can be fetched."""

    url: httpx.URL
    scheme: str
    host: str
    """In one spelling."""
    port: int

    @property
    def netloc(self) -> str:
        """Host and port as the `Host` header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def redirected(self, location: str) -> "Target":
        """Where a redirect from here leads.

        Raises:
            ServiceError: `url_forbidden`, as `parse_url`, or from https to http.
        """
        target = parse_url(location, self.url)
        if (self.scheme, target.scheme) == ("https", "http"):
            raise _forbidden("The URL redirects from https to http.")
        return target


def parse_url(url: str, base: httpx.URL | None = None) -> Target:
    """Parse a URL, a relative one against `base`.

    Without a base it is a client's, and its path and query are sent to the letter, for they may be signed.

    Raises:
        ServiceError: `url_forbidden`, its form is not one that is ever fetched.
    """
    if len(url) > MAX_URL:
        raise _forbidden(f"The URL is longer than {MAX_URL} characters.")
    try:
        parsed = base.join(url) if base else httpx.URL(url)
        host = one_spelling(parsed.raw_host.decode()) if parsed.raw_host else ""
    except (httpx.InvalidURL, ValueError):
        raise _forbidden("The URL cannot be parsed.") from None
    if parsed.scheme not in PORTS or not host:
        raise _forbidden("The URL must begin with https and name a host.")
    if parsed.userinfo:
        raise _forbidden("The URL must not hold a user name or password.")
    if _DOT_SEGMENT.match(parsed.raw_path) or not (base or _is_sent_as_given(parsed, url)):
        raise _forbidden("Send the URL in its normal form: no /./ or /../ in the path, special characters as %XX.")
    port = PORTS[parsed.scheme] if parsed.port is None else parsed.port
    if not 0 < port < 65536:
        raise _forbidden("The URL's port is not one.")
    return Target(parsed, parsed.scheme, host, port)


def _is_sent_as_given(parsed: httpx.URL, url: str) -> bool:
    """Whether path and query are sent to the letter; an empty path is sent as `/`."""
    given = _BESIDE_TARGET.sub("", url)
    return parsed.raw_path.decode() in (given, f"/{given}")


async def admit(target: Target, serving: ServingConfig, *, open_to_others: bool) -> list[Address]:
    """Look up the addresses that a URL may be fetched from: all of its host's, for one bad one condemns it.

    Where `serving.allow_loopback` is on, URLs of this very machine are admitted whatever the other settings say.

    Raises:
        ServiceError: `url_forbidden`, or as `resolve`.
    """
    refusal = _refusal(target, serving, open_to_others=open_to_others)
    if refusal and not serving.allow_loopback:
        raise _forbidden(refusal)
    addresses = await resolve(target.host, target.port)
    if serving.allow_loopback and all(address.is_loopback for address in addresses):
        return addresses
    if refusal:
        raise _forbidden(refusal)
    if not all(is_public(address) for address in addresses):
        raise _forbidden("The URL's host is not on the public Internet.")
    return addresses


def _refusal(target: Target, serving: ServingConfig, *, open_to_others: bool) -> str | None:
    """Why the settings forbid a URL, without a word of what they allow instead; None where they do not."""
    if target.scheme == "http" and not serving.allow_http:
        return "The URL must begin with https."
    if open_to_others and not serving.allowed_hosts:
        return "URLs are not fetched until serving.allowed_hosts names the hosts."
    entries = tuple(map(read_entry, serving.allowed_hosts)) or ANYWHERE
    ports = {entry.port or PORTS[target.scheme] for entry in entries if entry.names(target.host)}
    if not ports:
        return "The service does not fetch from the URL's host."
    if target.port not in ports:
        return "The service does not fetch from the URL's port."
    return None


def _forbidden(detail: str) -> ServiceError:
    return ServiceError("url_forbidden", detail)
