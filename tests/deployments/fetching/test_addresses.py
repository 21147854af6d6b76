"""Which addresses may be reached."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.fetching.addresses import is_public

FORBIDDEN = {
    "this network": "0.0.0.0",
    "private 10": "10.1.2.3",
    "private 172": "172.16.0.1",
    "private 192": "192.168.1.1",
    "loopback": "127.0.0.1",
    "loopback, another": "127.9.9.9",
    "shared (Alibaba metadata)": "100.100.100.200",
    "link local (cloud metadata)": "169.254.169.254",
    "Azure wire server": "168.63.129.16",
    "Oracle metadata": "192.0.0.192",
    "relay of 6to4": "192.88.99.1",
    "benchmarking": "198.18.0.1",
    "documentation": "203.0.113.7",
    "multicast": "224.0.1.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "unspecified v6": "::",
    "loopback v6": "::1",
    "unique local v6 (AWS metadata)": "fd00:ec2::254",
    "link local v6": "fe80::1",
    "link local v6 with a scope": "fe80::1%1",
    "global multicast v6": "ff0e::1",
    "documentation v6": "2001:db8::1",
    "discard v6": "100::1",
    "dummy v6": "100:0:0:1::1",
    "segment routing v6": "5f00::1",
    "mapped": "::ffff:169.254.169.254",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped public": "::ffff:8.8.8.8",
    "compatible": "::169.254.169.254",
    "translated": "::ffff:0:169.254.169.254",
    "not given to anybody": "4000::1",
    "6to4": "2002:a9fe:a9fe::1",
    "6to4 of a private one": "2002:0a00:0001::1",
    "NAT64": "64:ff9b::a9fe:a9fe",
    "NAT64 of the wire server": "64:ff9b::a83f:8110",
    "local NAT64": "64:ff9b:1::a9fe:a9fe",
    "ISATAP": "2606:4700::5efe:a9fe:a9fe",
    "ISATAP, unique": "2606:4700::200:5efe:a00:1",
    "site local v6": "fec0::1",
    "documentation v6, the newer": "3fff::1",
    "Teredo": "2001:0:a9fe:a9fe::1",
}
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "52.216.1.1",
    "168.63.129.17",
    "2606:4700:4700::1111",
    "64:ff9b::808:808",
    "2606:4700::5efe:808:808",
]


@pytest.mark.parametrize("text", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_inner_and_special_addresses_are_refused(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_admitted(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@given(st.ip_addresses(v=4))
def test_an_address_in_another_is_judged_as_itself(inner: ipaddress.IPv4Address) -> None:
    number = int(inner)
    nat64 = ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | number)
    isatap = ipaddress.IPv6Address(int(ipaddress.IPv6Address("2606:4700::5efe:0:0")) | number)
    assert {is_public(nat64), is_public(isatap)} == {is_public(inner)}


@given(st.ip_addresses(v=6))
def test_every_address_is_judged(address: ipaddress.IPv6Address) -> None:
    assert is_public(address) in (False, True)
    if is_public(address):
        assert address.is_global
