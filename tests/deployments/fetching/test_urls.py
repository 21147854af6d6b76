"""Which URLs are fetched: form, scheme, host, port and addresses."""

import ipaddress
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.fetching import urls
from deployments.fetching.addresses import Address
from deployments.fetching.urls import MAX_URL, Target, admit, parse_url
from deployments.problems import ServiceError
from tests.deployments.conftest import make_config

PUBLIC, PRIVATE, LOOPBACK = "93.184.216.34", "10.0.0.7", "127.0.0.1"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "clip.mp4",
        "//storage.example.com/clip.mp4",
        "file:///etc/passwd",
        "ftp://storage.example.com/clip.mp4",
        "gopher://storage.example.com/",
        "data:video/mp4;base64,AAAA",
        "javascript:alert(1)",
        "http://",
        "https:///clip.mp4",
        "https:storage.example.com",
        "https:\\\\storage.example.com\\clip.mp4",
        "http://user@storage.example.com/clip.mp4",
        "http://user:password@storage.example.com/clip.mp4",
        "http://@storage.example.com\\@169.254.169.254/",
        "http://storage.example.com:99999/",
        "http://storage.example.com:0/",
        "http://storage.example.com:-1/",
        "http://storage.example.com:port/",
        "http://[::1/",
        "http://[::1%25lo]/",
        "http://[v1.a]/",
        "http://xn--/",
        "http://.storage.example.com/",
        "http://storage..example.com/",
        "http://storage.example.com../",
        "http://-storage.example.com/",
        "http://%73torage.example.com/",
        "http://storage%2eexample.com/",
        "http://storage example.com/",
        "http://storage.example.com;evil.example/",
        "http://①②⑦.0.0.1/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://2130706433/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://1.2.3.4.5/",
        "http://256.0.0.1/",
        "http://storage.example.com/a\nb",
        "http://storage.example.com/a\r\nHost: b",
        "http://storage.example.com/\0",
        "http://" + "a" * 64 + ".example.com/",
        "http://" + "a." * 127 + "example/",
        "http://storage.example.com/" + "a" * MAX_URL,
    ],
)
def test_forms_that_are_refused(url: str) -> None:
    with pytest.raises(ServiceError) as caught:
        parse_url(url)
    assert caught.value.code == "url_forbidden"
    assert "password" not in caught.value.detail.replace("user name or password", "")
    assert "storage" not in caught.value.detail


@pytest.mark.parametrize(
    ("url", "host", "port", "netloc"),
    [
        ("https://storage.example.com/a", "storage.example.com", 443, "storage.example.com"),
        ("HTTPS://Storage.EXAMPLE.com./a", "storage.example.com", 443, "storage.example.com"),
        ("http://storage.example.com", "storage.example.com", 80, "storage.example.com"),
        ("http://storage.example.com:443", "storage.example.com", 443, "storage.example.com:443"),
        ("https://storage.example.com:/", "storage.example.com", 443, "storage.example.com"),
        ("https://storage.example.com:0443/", "storage.example.com", 443, "storage.example.com"),
        ("https://my_bucket.example.com:9000/", "my_bucket.example.com", 9000, "my_bucket.example.com:9000"),
        ("https://Bücher.example/", "xn--bcher-kva.example", 443, "xn--bcher-kva.example"),
        ("https://storage。example。com/", "storage.example.com", 443, "storage.example.com"),
        ("https://93.184.216.34/", PUBLIC, 443, PUBLIC),
        ("https://[2606:4700:0:0::1111]:8443/", "2606:4700::1111", 8443, "[2606:4700::1111]:8443"),
    ],
)
def test_a_host_has_one_spelling(url: str, host: str, port: int, netloc: str) -> None:
    target = parse_url(url)
    assert (target.host, target.port, target.netloc) == (host, port, netloc)


def outcome(parse: Callable[[str], Target], text: str) -> str:
    """The scheme of what was parsed, or the code of the refusal."""
    try:
        return parse(text).scheme
    except ServiceError as error:
        return error.code


@given(st.text())
def test_no_text_is_worse_than_forbidden(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}.example.com/", f"https://storage.example.com/{text}"):
        assert outcome(parse_url, url) in ("http", "https", "url_forbidden")


@given(st.text())
def test_no_redirect_is_worse_than_forbidden(location: str) -> None:
    redirected = parse_url("https://storage.example.com/a").redirected
    assert outcome(redirected, location) in ("https", "url_forbidden")


@pytest.mark.parametrize(
    ("location", "host", "path"),
    [
        ("b.mp4?c=d", "storage.example.com", b"/x/b.mp4?c=d"),
        ("/b.mp4", "storage.example.com", b"/b.mp4"),
        ("//other.example/b.mp4", "other.example", b"/b.mp4"),
        ("https://other.example:443/b.mp4#e", "other.example", b"/b.mp4"),
    ],
)
def test_where_a_redirect_leads(location: str, host: str, path: bytes) -> None:
    target = parse_url("https://storage.example.com/x/a.mp4?X-Signature=SECRET").redirected(location)
    assert (target.host, target.url.raw_path) == (host, path)


def test_a_redirect_does_not_give_up_encryption() -> None:
    with pytest.raises(ServiceError, match="from https to http"):
        parse_url("https://storage.example.com/").redirected("http://storage.example.com/")
    assert parse_url("http://storage.example.com/").redirected("https://storage.example.com/").scheme == "https"


@pytest.mark.parametrize(
    "target",
    ["/a/./b", "/a/../b", "/..", "/.", "/a/..?b", "/a/%2e%2E/b", "/a/.%2e", "/%2E?b"]
    + [f"/a{c}b" for c in '{}"` <>ü']
    + [f"/a?b={c}" for c in '"<> ü'],
)
def test_a_url_that_would_be_changed_is_refused(target: str) -> None:
    """Its signature would not hold for what is sent."""
    with pytest.raises(ServiceError, match="normal form") as caught:
        parse_url(f"https://storage.example.com{target}")
    assert caught.value.code == "url_forbidden"


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("", "/"),
        ("?a=b", "/?a=b"),
        *((same, same) for same in ("/", "/a%2fb%2Fc", "/a+b%20c", "/a?b=%2F%2f+%2B&c=a+b", "/a?", "/a//b", "/%zz")),
        *((same, same) for same in ("/a..b/.c/...", "/a?b/../c", "/a?/.", "/a;b=c@d:e!$&'()*,~|^[]", "/%C3%BC%7B")),
        ("/a?b=c#d/../{e}", "/a?b=c"),
    ],
)
def test_path_and_query_are_sent_to_the_letter(target: str, sent: str) -> None:
    assert parse_url(f"https://storage.example.com{target}").url.raw_path == sent.encode()


@pytest.mark.parametrize(("location", "path"), [("../b c.mp4", b"/b%20c.mp4"), ("./b.mp4?{", b"/x/b.mp4?{")])
def test_a_redirect_is_resolved_as_by_a_browser(location: str, path: bytes) -> None:
    assert parse_url("https://storage.example.com/x/a.mp4").redirected(location).url.raw_path == path


class Names:
    """A resolver that knows one answer, and counts."""

    def __init__(self, *answers: str) -> None:
        self.answers = answers
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[Address]:
        self.asked.append((host, port))
        return [ipaddress.ip_address(answer) for answer in self.answers]


async def admitted(
    monkeypatch: pytest.MonkeyPatch, url: str, *answers: str, open_to_others: bool = False, **serving: Any
) -> list[str]:
    """The addresses for a URL, in a service with these settings where its host has these addresses."""
    names = Names(*(answers or (PUBLIC,)))
    monkeypatch.setattr(urls, "resolve", names)
    addresses = await admit(parse_url(url), make_config(serving=serving).serving, open_to_others=open_to_others)
    assert names.asked == [(parse_url(url).host, parse_url(url).port)]
    return [str(address) for address in addresses]


async def why_not(
    monkeypatch: pytest.MonkeyPatch, url: str, *answers: str, open_to_others: bool = False, **serving: Any
) -> str:
    """The sentence of a refusal; the name is looked up only where loopback may be admitted, or all else is right."""
    names = Names(*answers)
    monkeypatch.setattr(urls, "resolve", names)
    with pytest.raises(ServiceError) as caught:
        await admit(parse_url(url), make_config(serving=serving).serving, open_to_others=open_to_others)
    assert caught.value.code == "url_forbidden"
    assert len(names.asked) == bool(answers)
    return caught.value.detail


A = "https://storage.example.com/a"


async def test_any_public_host_while_only_this_machine_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await admitted(monkeypatch, A) == [PUBLIC]
    assert await admitted(monkeypatch, A, PUBLIC, "8.8.8.8") == [PUBLIC, "8.8.8.8"]


async def test_no_host_while_others_connect_and_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "until serving.allowed_hosts names" in await why_not(monkeypatch, A, open_to_others=True)


@pytest.mark.parametrize("entry", ["*", "storage.example.com", "*.example.com", "STORAGE.Example.com."])
async def test_a_named_host_is_fetched_from_by_others_too(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    assert await admitted(monkeypatch, A, open_to_others=True, allowed_hosts=["a.example", entry]) == [PUBLIC]


@pytest.mark.parametrize("entry", ["*", "storage.example.com"])
@pytest.mark.parametrize("answers", [[PRIVATE], [LOOPBACK], [PUBLIC, PRIVATE], [PRIVATE, PUBLIC], [PUBLIC, LOOPBACK]])
async def test_a_named_host_must_be_public_all_the_same(
    monkeypatch: pytest.MonkeyPatch, entry: str, answers: list[str]
) -> None:
    assert "public Internet" in await why_not(monkeypatch, A, *answers, allowed_hosts=[entry])


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("https://storage.example.com.evil.example/", "storage.example.com"),
        ("https://evil-storage.example.com/", "storage.example.com"),
        ("https://a.storage.example.com/", "storage.example.com"),
        ("https://evilexample.com/", "*.example.com"),
        ("https://example.com/", "*.example.com"),
        ("https://example.com.evil.example/", "*.example.com"),
        ("https://xn--strage-1xe.example.com/", "storage.example.com"),
        ("https://93.184.216.34/", "*.example.com"),
        ("https://93.184.216.34/", "storage.example.com"),
    ],
)
@pytest.mark.parametrize("others", [False, True])
async def test_look_alikes_are_refused(monkeypatch: pytest.MonkeyPatch, url: str, entry: str, others: bool) -> None:
    detail = await why_not(monkeypatch, url, open_to_others=others, allowed_hosts=[entry])
    assert detail == "The service does not fetch from the URL's host."


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("*", "https://storage.example.com:443/"),
        ("storage.example.com:9000", "https://storage.example.com:9000/"),
        ("*.example.com:9000", "https://storage.example.com:9000/"),
        ("*:9000", "https://storage.example.com:9000/"),
        ("93.184.216.34", "https://93.184.216.34/"),
        ("[2606:4700:0::1]:8443", "https://[2606:4700::1]:8443/"),
        ("bücher.example", "https://xn--bcher-kva.example/"),
    ],
)
async def test_entries_with_ports_and_addresses(monkeypatch: pytest.MonkeyPatch, entry: str, url: str) -> None:
    assert await admitted(monkeypatch, url, allowed_hosts=[entry]) == [PUBLIC]


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ([], "https://storage.example.com:8443/"),
        ([], "https://storage.example.com:80/"),
        ([], "http://storage.example.com:443/"),
        (["*"], "https://storage.example.com:22/"),
        (["storage.example.com:9000"], A),
        (["storage.example.com", "other.example:9000"], "https://storage.example.com:9000/"),
    ],
)
async def test_other_ports_are_refused(monkeypatch: pytest.MonkeyPatch, entries: list[str], url: str) -> None:
    detail = await why_not(monkeypatch, url, allow_http=True, allowed_hosts=entries)
    assert detail == "The service does not fetch from the URL's port."


async def test_http_only_where_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = "http://storage.example.com/a"
    assert await admitted(monkeypatch, plain, allow_http=True) == [PUBLIC]
    assert "begin with https" in await why_not(monkeypatch, plain)


@pytest.mark.parametrize("url", ["http://localhost:8000/a", "https://localhost:9000/a", "http://127.0.0.1:1/", A])
@pytest.mark.parametrize("settings", [{}, {"allowed_hosts": ["other.example"]}, {"allow_http": True}])
@pytest.mark.parametrize("others", [False, True])
async def test_this_machine_in_development(
    monkeypatch: pytest.MonkeyPatch, url: str, settings: dict[str, Any], others: bool
) -> None:
    addresses = [LOOPBACK, "::1"]
    assert (
        await admitted(monkeypatch, url, *addresses, allow_loopback=True, open_to_others=others, **settings)
        == addresses
    )


@pytest.mark.parametrize("answers", [[PUBLIC], [LOOPBACK, PUBLIC], [PRIVATE], ["0.0.0.0"], ["::"]])
async def test_development_opens_nothing_else(monkeypatch: pytest.MonkeyPatch, answers: list[str]) -> None:
    assert await why_not(monkeypatch, "http://localhost/", *answers, allow_loopback=True)
    assert await why_not(monkeypatch, A, *answers, allow_loopback=True, allowed_hosts=["other.example"])


async def test_development_leaves_the_rest_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await admitted(monkeypatch, A, allow_loopback=True) == [PUBLIC]


def test_no_more_than_httpx_takes_for_one_host() -> None:
    """What is checked is what is asked: httpx reads the same host from the URL that is built from the parts."""
    target = parse_url("https://storage.example.com:9000/a?b=c")
    assert httpx.URL(f"{target.scheme}://{target.netloc}").host == target.host
