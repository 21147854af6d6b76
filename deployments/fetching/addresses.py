"""Which addresses of a URL's host the service may connect to."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

DENIED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # public by its number, yet it serves a virtual machine its own metadata (Azure)
        "192.0.0.0/24",  # and the rest is special by IANA's registries, but not to every Python from 3.11 on
        "192.88.99.0/24",
        "3fff::/20",
    )
)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
V6_HOSTS = (ipaddress.IPv6Network("2000::/3"), NAT64)
"""All that IANA has given to hosts of the Internet (RFC 4291, 2.4), and IPv4 behind a translator (RFC 6052)."""
ISATAP = (0x00005EFE, 0x02005EFE)
"""The third quarter of an IPv6 address that ends in the IPv4 address of a tunnel (RFC 5214)."""


def is_public(address: Address) -> bool:
    """Whether the whole Internet may be at this address; one that carries an IPv4 address is judged by both."""
    if address.is_multicast or not address.is_global or any(address in network for network in DENIED):
        return False
    if address.version == 6 and not any(address in network for network in V6_HOSTS):
        return False
    return all(is_public(inner) for inner in _embedded(address))


def _embedded(address: Address) -> list[Address]:
    """The IPv4 addresses that a translator or a tunnel would send packets for this IPv6 address to."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    inner = [address.sixtofour, *(address.teredo or ())]
    if address in NAT64 or int(address) >> 32 & 0xFFFFFFFF in ISATAP:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in inner if one is not None]
