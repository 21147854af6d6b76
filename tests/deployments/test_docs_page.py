"""The page at `/docs` needs this server and no other."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import httpx
import pytest

from deployments.docs_page import content_policy
from tests.deployments.conftest import FakeBackend, client_of, make_config


class Page(HTMLParser):
    """The addresses that a page names, and its inline scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = [value for name, value in attrs if name in {"src", "href"} and value]
        self.addresses += found
        self._in_script = tag == "script" and not found

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.inline.append(data)


async def test_all_that_the_page_loads_comes_from_here(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    found = Page(page.text)
    assert len(found.addresses) == 3
    for address in found.addresses:
        assert not re.match(r"\w+:|/", address), "relative, so that it holds behind any prefix"
        assert (await client.get(f"/{address}")).status_code == 200
    assert "http" not in page.text.replace("http-equiv", "")


async def test_the_policy_lets_the_pages_own_scripts_run_and_no_other(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    (script,) = Page(page.text).inline
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert policy["connect-src"] == "'self'"
    assert not re.search(r"https?:|\*|unsafe-eval", str(policy))


async def test_the_page_asks_for_the_schema_and_for_no_validator(client: httpx.AsyncClient) -> None:
    (script,) = Page((await client.get("/docs")).text).inline
    assert "url: 'openapi.json'" in script
    assert '"validatorUrl": null' in script
    assert (await client.get("/openapi.json")).json()["info"]["title"] == "Aura"


async def test_the_documentation_can_be_switched_off(backend: FakeBackend) -> None:
    async with client_of(make_config(serving={"docs": False}), backend) as client:
        for path in ("/docs", "/docs/", "/docs/swagger-ui-bundle.js", "/openapi.json", "/redoc"):
            reply = await client.get(path)
            assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/docs/../ingress.py", "/docs/%2e%2e/__init__.py", "/docs/nothing", "/docs/"])
async def test_only_the_pages_own_files_are_served(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


def test_each_inline_script_has_its_hash() -> None:
    policy = content_policy("<script src='a'></script><script>one</script><p></p><script>\ntwo\n</script>")
    assert policy.count("'sha256-") == 2
