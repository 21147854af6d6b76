"""The linter's rules of this project complain where they must."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CLIENTS = [
    "import aiohttp",
    "import ftplib",
    "import http.client",
    "import httpcore",
    "import httpx",
    "import pycurl",
    "import requests",
    "import tornado.httpclient",
    "import torch.hub",
    "import urllib.request",
    "import urllib3",
    "import websocket",
    "import websockets",
    "import xmlrpc.client",
    "from aiohttp import ClientSession",
    "from http import client",
    "from http.client import HTTPSConnection",
    "from httpx import get",
    "from requests import get",
    "from torch import hub",
    "from urllib import request",
    "from urllib.request import urlopen",
    "from websockets.sync.client import connect",
]
CALLS = [
    "import asyncio\nasyncio.open_connection('storage.example.com', 80)",
    "import socket\nsocket.create_connection(('storage.example.com', 80))",
    "import urllib\nurllib.request.urlopen('https://storage.example.com')",
    "import anyio\nanyio.connect_tcp('storage.example.com', 80)",
]
HARMLESS = [
    "import urllib.parse",
    "from http import HTTPStatus",
    "import asyncio",
    "import torch",
    "import websocketish",
]
FETCHING = ["bounds", "fetch", "network", "urls"]


def banned(source: str, file: str) -> list[int]:
    """The rows of a source in which ruff sees something banned, were it in that file."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select=TID251", "--output-format=json"]
    done = subprocess.run(
        [*command, f"--stdin-filename={file}", "-"], input=source, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert not done.stderr
    return [complaint["location"]["row"] for complaint in json.loads(done.stdout)]


@pytest.mark.parametrize("package", ["aura_model", "deployments", "training"])
def test_no_package_may_import_another_http_client(package: str) -> None:
    everywhere = banned("\n".join(CLIENTS), f"{package}/new.py")
    assert sorted(set(everywhere)) == list(range(1, len(CLIENTS) + 1))
    assert banned("\n".join(CLIENTS), f"{package}/folder/new.py") == everywhere


@pytest.mark.parametrize("source", CALLS)
def test_nor_open_a_connection_by_itself(source: str) -> None:
    assert banned(source, "deployments/new.py")


def test_what_looks_alike_is_free() -> None:
    assert banned("\n".join(HARMLESS), "deployments/new.py") == []


@pytest.mark.parametrize("module", FETCHING)
def test_the_download_itself_is_free(module: str) -> None:
    assert banned("\n".join(CLIENTS), f"deployments/fetching/{module}.py") == []
    assert banned("\n".join(CLIENTS), f"deployments/{module}.py")
    assert banned("\n".join(CLIENTS), f"training/{module}.py")
