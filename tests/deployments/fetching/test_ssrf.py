"""Hostile URLs, given directly, by a redirect and by the name servers: nothing is sent to where they point."""

import asyncio
import io
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import httpcore
import pytest

from aura_model.config import Config
from deployments.fetching import network, urls
from deployments.fetching.addresses import Address, is_public
from deployments.fetching.fetch import fetch_video
from deployments.fetching.urls import parse_url
from deployments.problems import ServiceError
from tests.deployments.conftest import FakeBackend, client_of, make_config

PUBLIC = "93.184.216.34"
"""Connections to it end at a server of the test's."""
SECRET = "X-Signature=SECRET"
PORTS = (80, 443, 2375, 6379, 8000, 8080, 8265, 10250)
VIDEO = b"\0\0\0\x18ftypisom"

ADDRESSES = {
    "loopback": ["127.0.0.1", "127.9.9.9", "127.255.255.254", "::1"],
    "this host": ["0.0.0.0", "0.0.0.1", "::"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.0.1", "fc00::1", "fd00::1"],
    "metadata": ["169.254.169.254", "169.254.170.2", "169.254.0.23", "100.100.100.200", "192.0.0.192", "168.63.129.16"],
    "metadata v6": ["fd00:ec2::254", "fe80::a9fe:a9fe"],
    "special": ["100.64.0.1", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"],
    "special v6": ["100::1", "2001:db8::1", "3fff::1", "5f00::1", "fec0::1"],
    "multicast": ["224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "ff02::1", "ff0e::1"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:127.0.0.1"],
    "translated": ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe"],
    "in a tunnel": ["2002:7f00:1::1", "2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::1", "2606:4700::5efe:a9fe:a9fe"],
}
"""Where nothing may be sent."""
FORBIDDEN = [address for group in ADDRESSES.values() for address in group]

NAMES = {
    "localhost.localdomain": "127.0.0.1",
    "127.0.0.1.nip.io": "127.0.0.1",
    "localtest.me": "::1",
    "metadata.google.internal": "169.254.169.254",
    "metadata": "169.254.169.254",
    "instance-data.ec2.internal": "169.254.169.254",
    "metadata.tencentyun.com": "169.254.0.23",
    "kubernetes.default.svc": "10.96.0.1",
    "ray-head.default.svc.cluster.local": "10.244.0.5",
    "docker": "172.17.0.1",
    "xn--bcher-kva.example": "192.168.0.1",
    "aaaa.example": "::ffff:10.0.0.1",
}
"""Names that are outside ones at best by their looks, and what they resolve to."""

URLS = [
    *(f"http://{f'[{address}]' if ':' in address else address}:{{port}}/" for address in FORBIDDEN),
    "https://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://127.0.0.1:8265/api/jobs/",
    "http://127.0.0.1:6379/",
    "http://127.0.0.1:2375/containers/json",
    "https://127.0.0.1:10250/pods",
    "http://[fe80::1%25lo]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    *(f"http://{name}:{{port}}/" for name in NAMES),
    "http://Bücher.example:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST.:{port}/",
    *(f"http://{number}:{{port}}/" for number in ["2130706433", "0x7f000001", "017700000001", "0", "127.1", "127.0.1"]),
    *(f"http://{number}:{{port}}/" for number in ["0x7f.0.0.1", "0177.0.0.1", "127.0.0.1.", "00000127.0.0.1"]),
    "http://%31%32%37.0.0.1:{port}/",
    "http://127%2e0%2e0%2e1:{port}/",
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460:{port}/",
    "http://\uff11\uff12\uff17.0.0.1:{port}/",
    "http://127\u30020\u30020\u30021:{port}/",
    "http://loc\u00adalhost:{port}/",
    "http://\u212aubernetes.default.svc:{port}/",
    f"http://{PUBLIC}@127.0.0.1:{{port}}/",
    f"http://{PUBLIC}:80@127.0.0.1:{{port}}/",
    f"http://{PUBLIC}%00@127.0.0.1:{{port}}/",
    f"http://{PUBLIC}\\@127.0.0.1:{{port}}/",
    f"http://127.0.0.1:{{port}}\\@{PUBLIC}/",
    f"http://127.0.0.1:{{port}}#@{PUBLIC}/",
    f"http://127.0.0.1:{{port}}?@{PUBLIC}/",
    f"http://{PUBLIC} 127.0.0.1:{{port}}/",
    "http://127.0.0.1:{port}:80/",
    "http://[127.0.0.1]:{port}/",
    "http://127.0.0.1\t:{port}/",
    "http://127.0.0.1:{port}\r\nHost: storage.example.com/",
    " http://127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "http:\\\\127.0.0.1:{port}\\",
    "//127.0.0.1:{port}/",
    "\\\\127.0.0.1:{port}\\",
    "ws://127.0.0.1:{port}/",
    "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_GET%20/",
    "dict://127.0.0.1:{port}/info",
    "ldap://127.0.0.1:{port}/",
    "rtsp://127.0.0.1:{port}/",
    "tcp://127.0.0.1:{port}",
    "jar:http://127.0.0.1:{port}!/a",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "unix:/var/run/docker.sock",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "concat:/etc/passwd|http://127.0.0.1:{port}/",
    "subfile,,start,0,end,9,,:/etc/passwd",
    "data:video/mp4;base64,AAAA",
]
"""`{port}` is one of this machine on which somebody listens."""


def test_the_table_is_long_enough() -> None:
    assert len(set(URLS)) == len(URLS) >= 60


class Canary:
    """Listens on a port of this machine, for both families, and must never hear anything."""

    def __init__(self) -> None:
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port: int = self._sockets[0].getsockname()[1]
        with suppress(OSError):  # where there is no IPv6
            self._sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))

    def has_heard(self) -> bool:
        """Whether somebody connected."""
        for listener in self._sockets:
            listener.setblocking(False)
            with suppress(BlockingIOError):
                listener.accept()
                return True
        return False

    def close(self) -> None:
        for listener in self._sockets:
            listener.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    canary = Canary()
    yield canary
    assert not canary.has_heard()
    canary.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses that any socket of this process was told to connect or to send to."""
    addresses: list[Any] = []

    def record(method: str) -> None:
        real = getattr(socket.socket, method)

        def recorded(self: socket.socket, *arguments: Any) -> Any:
            addresses.append(arguments[-1])
            return real(self, *arguments)

        monkeypatch.setattr(socket.socket, method, recorded)

    for method in ("connect", "connect_ex", "sendto"):
        record(method)
    return addresses


class Server:
    """Stands at the public address: answers what the test says."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 200 OK\r\n\r\n" + VIDEO
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@pytest.fixture
async def public(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    server = Server()
    real = httpcore.AnyIOBackend.connect_tcp

    async def connect_tcp(self: httpcore.AnyIOBackend, host: str, port: int, *more: Any) -> httpcore.AsyncNetworkStream:
        """The public address is here; all others are where they are."""
        return (
            await real(self, "127.0.0.1", server.port, *more) if host == PUBLIC else await real(self, host, port, *more)
        )

    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect_tcp)
    async with listener:
        yield server


class Resolver:
    """Knows the hostile names and those that a test adds; each lookup of such a one takes its next answer."""

    def __init__(self) -> None:
        self.answers = {name: [[address]] for name, address in NAMES.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[Address]:
        self.asked.append(host)
        if host not in self.answers:
            return await network.resolve(host, port)
        answers = self.answers[host]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ipaddress.ip_address(address) for address in answer]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver()
    monkeypatch.setattr(urls, "resolve", resolver)
    return resolver


def lenient(port: int, **serving: Any) -> Config:
    """The settings that allow the most: every scheme, host and port."""
    hosts = ["*", *(f"*:{one}" for one in (*PORTS, port))]
    return make_config(serving={"allow_http": True, "allowed_hosts": hosts, "fetch_seconds": 5, **serving})


async def code_of(url: str, config: Config) -> str:
    """The code of the refusal of a URL, whose text must not tell more than it may; `ok` where it was fetched."""
    try:
        await fetch_video(url, io.BytesIO(), config, open_to_others=True)
    except ServiceError as error:
        refusal = error
    else:
        return "ok"
    check_silence(refusal.detail)
    return refusal.code


def check_silence(text: str) -> None:
    """No address, no path, no query, no entry of the list of hosts."""
    for word in ("SECRET", "passwd", "meta-data", "*", "8265", "127.", "169.254", "::", PUBLIC, *NAMES):
        assert word not in text


@pytest.mark.parametrize("url", URLS)
async def test_given_directly(url: str, canary: Canary, resolver: Resolver, sent: list[Any]) -> None:
    hostile = url.replace("{port}", str(canary.port)) + f"?{SECRET}"
    assert await code_of(hostile, lenient(canary.port)) == "url_forbidden"
    assert sent == []


async def test_given_to_the_service(backend: FakeBackend, canary: Canary, resolver: Resolver, sent: list[Any]) -> None:
    async with client_of(lenient(canary.port, require_key=False), backend, open_to_others=True) as client:
        for url in URLS:
            hostile = url.replace("{port}", str(canary.port)) + f"?{SECRET}"
            reply = await client.post("/predict", json={"video_url": hostile})
            assert reply.headers["Content-Type"] == "application/problem+json"
            assert (reply.status_code, reply.json()["code"]) == (422, "url_forbidden")
            check_silence(reply.json()["detail"])
    assert backend.media == []
    assert sent == []


@pytest.mark.parametrize("url", [url for url in URLS if url.isprintable()])
async def test_by_a_redirect(url: str, public: Server, canary: Canary, resolver: Resolver, sent: list[Any]) -> None:
    hostile = url.replace("{port}", str(canary.port)) + f"?{SECRET}"
    for status in (301, 302, 303, 307, 308):
        public.answer = f"HTTP/1.1 {status} Moved\r\nLocation: {hostile}\r\nContent-Length: 0\r\n\r\n".encode()
        code = await code_of(f"http://{PUBLIC}/a.mp4", lenient(canary.port, max_redirects=3))
        assert code in ("url_forbidden", "fetch_refused")
    assert set(sent) == {("127.0.0.1", public.port)}


@pytest.mark.parametrize("address", FORBIDDEN)
async def test_by_a_name_that_turns_to_it(
    address: str, public: Server, canary: Canary, resolver: Resolver, sent: list[Any]
) -> None:
    resolver.answers["rebind.example"] = [[PUBLIC], [address]]
    assert await code_of(f"http://rebind.example:{canary.port}/?{SECRET}", lenient(canary.port)) == "ok"
    assert await code_of(f"http://rebind.example:{canary.port}/?{SECRET}", lenient(canary.port)) == "url_forbidden"
    assert resolver.asked == ["rebind.example"] * 2
    assert sent == [("127.0.0.1", public.port)]


@pytest.mark.parametrize("address", FORBIDDEN)
async def test_by_a_name_that_turns_to_it_on_the_way(
    address: str, public: Server, canary: Canary, resolver: Resolver, sent: list[Any]
) -> None:
    """The host redirects to itself, where it has another address by then."""
    resolver.answers["rebind.example"] = [[PUBLIC], [address]]
    public.answer = b"HTTP/1.1 302 Found\r\nLocation: /b.mp4\r\nContent-Length: 0\r\n\r\n"
    config = lenient(canary.port, max_redirects=3)
    assert await code_of(f"http://rebind.example:{canary.port}/", config) == "url_forbidden"
    assert sent == [("127.0.0.1", public.port)]


@pytest.mark.parametrize("address", FORBIDDEN)
async def test_by_a_name_with_a_public_address_too(
    address: str, public: Server, canary: Canary, resolver: Resolver, sent: list[Any]
) -> None:
    for answer in ([PUBLIC, address], [address, PUBLIC], ["2606:4700::1111", PUBLIC, address]):
        resolver.answers["mixed.example"] = [answer]
        assert await code_of(f"http://mixed.example:{canary.port}/", lenient(canary.port)) == "url_forbidden"
    assert sent == []


async def test_the_same_ways_lead_to_a_public_address(
    public: Server, canary: Canary, resolver: Resolver, sent: list[Any]
) -> None:
    """What refuses the others is where they point to, and nothing else."""
    resolver.answers["storage.example"] = [[PUBLIC]]
    config = lenient(canary.port, max_redirects=1)
    assert await code_of(f"http://storage.example:{canary.port}/?{SECRET}", config) == "ok"
    assert sent == [("127.0.0.1", public.port)]


async def test_the_recorder_sees_a_connection(canary: Canary, sent: list[Any]) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    _, writer = await asyncio.open_connection(*listener.getsockname())
    writer.close()
    assert sent == [listener.getsockname()]
    listener.close()


def test_every_address_of_the_table_is_one_that_is_refused() -> None:
    assert not [address for address in FORBIDDEN if is_public(ipaddress.ip_address(address))]
    assert is_public(ipaddress.ip_address(PUBLIC))
    assert parse_url(f"http://{PUBLIC}/").host == PUBLIC
