"""Names of hosts in one spelling, and the entries that allow them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura_model.errors import ConfigError
from aura_model.hosts import one_spelling, read_entry
from aura_model.settings import load_config

ENTRIES = {
    "*": "*",
    "*:9000": "*:9000",
    "storage.example.com": "storage.example.com",
    "Storage.EXAMPLE.com.": "storage.example.com",
    "*.example.com": "*.example.com",
    "*.Example.com.:9000": "*.example.com:9000",
    "*.com": "*.com",
    "localhost": "localhost",
    "my_bucket.example.com:9000": "my_bucket.example.com:9000",
    "bücher.example": "xn--bcher-kva.example",
    "*.BÜCHER.example": "*.xn--bcher-kva.example",
    "faß.example": "xn--fa-hia.example",
    "93.184.216.34": "93.184.216.34",
    "[2606:4700:0::1]": "[2606:4700::1]",
    "[2606:4700::1]:8443": "[2606:4700::1]:8443",
}
NO_ENTRIES = [
    "",
    ".",
    "*.",
    "*.*",
    "**",
    "*example.com",
    "storage.*.com",
    "*.*.example.com",
    ".example.com",
    "example..com",
    "https://storage.example.com",
    "storage.example.com/videos",
    "user@storage.example.com",
    " storage.example.com",
    "storage.example.com ",
    "storage example.com",
    "-storage.example.com",
    "storage-.example.com",
    "a" * 64 + ".example.com",
    "a." * 127 + "example",
    "storage.example.com:",
    "storage.example.com:0",
    "storage.example.com:65536",
    "storage.example.com:https",
    "2606:4700::1",
    "[storage.example.com",
    "[storage.example.com]",
    "[1.2.3.4]",
    "[]",
    "[::1%lo]",
    "127.1",
    "2130706433",
    "0x7f000001",
    "1.2.3.4.5",
    "10.0.0.0/8",
    "*.10.0.0.1",
    "*.[::1]",
    "%73torage.example.com",
    "xn--",
    "ex\u00adample.com",
    "①②⑦.0.0.1",
]


@pytest.mark.parametrize(("text", "spelling"), ENTRIES.items())
def test_an_entry_has_one_spelling(text: str, spelling: str) -> None:
    assert str(read_entry(text)) == spelling
    assert read_entry(spelling) == read_entry(text)


@pytest.mark.parametrize("text", NO_ENTRIES)
def test_what_is_no_entry(text: str) -> None:
    with pytest.raises(ValueError, match="each entry must be a host"):
        read_entry(text)


@given(st.text())
def test_any_text_is_an_entry_or_a_fault(text: str) -> None:
    try:
        entry = read_entry(text)
    except ValueError:
        return
    assert read_entry(str(entry)) == entry


@pytest.mark.parametrize(
    ("entry", "host", "named"),
    [
        ("*", "storage.example.com", True),
        ("*", "2606:4700::1", True),
        ("example.com", "example.com", True),
        ("example.com", "a.example.com", False),
        ("example.com", "example.com.evil.example", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "evilexample.com", False),
        ("*.example.com", "a.example.com.evil.example", False),
        ("[2606:4700:0::1]", "2606:4700::1", True),
        ("1.2.3.4", "11.2.3.4", False),
    ],
)
def test_whom_an_entry_names(entry: str, host: str, named: bool) -> None:
    assert read_entry(entry).names(host) == named


@pytest.mark.parametrize("host", ["", "a b", "[::1]", "::1%lo", "a/b", "a:1", "0177.0.0.1", "1", "0x1", "a.0x"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the caller says what is wrong
        one_spelling(host)


def test_the_configuration_holds_one_spelling() -> None:
    config = load_config(env={"AURA_SERVING__ALLOWED_HOSTS": "[Storage.Example.com., '*.B.example:9000', '*']"})
    assert config.serving.allowed_hosts == ("storage.example.com", "*.b.example:9000", "*")


@pytest.mark.parametrize("value", ['["a.example", "https://b.example"]', '["*.", "*"]', '[""]'])
def test_a_bad_entry_is_a_fault_of_the_configuration(value: str) -> None:
    with pytest.raises(ConfigError, match=r"serving\.allowed_hosts\.\d: .*storage\.example\.com.*\*\.suffix"):
        load_config(env={"AURA_SERVING__ALLOWED_HOSTS": value})
