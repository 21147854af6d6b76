"""The interactive page of the API at `/docs`, whole from this server: it asks no other host for anything."""

import base64
import hashlib
import re

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

PATH = "/docs"
ASSETS = ("fastapi_offline", "static")
"""The package and its folder with Swagger UI. FastAPI itself would load it from a public CDN."""


def add_docs(api: FastAPI) -> None:
    """Serve Swagger UI with the schema of `api`. Its addresses are relative, so any prefix of the route will do."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=f"{api.title} API",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
        swagger_ui_parameters={"validatorUrl": None},  # else the badge of a public validator
    )
    page.headers["Content-Security-Policy"] = content_policy(bytes(page.body).decode())

    @api.get(PATH, include_in_schema=False)
    async def docs() -> HTMLResponse:
        """The page."""
        return page

    api.mount(PATH, StaticFiles(packages=[ASSETS]))


def content_policy(html: str) -> str:
    """A policy that lets the page run its own scripts, the inline one by its hash, and talk to this server only."""
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    return "; ".join(
        [
            "default-src 'none'",
            " ".join(["script-src 'self'", *(f"'sha256-{digest}'" for digest in hashes)]),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
