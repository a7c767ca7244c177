"""The page at `/` and the documentation at `/docs`; nothing of either comes from another server."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse
from starlette.staticfiles import StaticFiles

STATIC = Path(str(files("serve_app.api"))) / "static"
NO_FRAMES = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
OF_PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src blob:; img-src data:;"
    f" {NO_FRAMES}"
)
SWAGGER_UI = Path(str(files(fastapi_offline))) / "static"


def add_pages(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=STATIC))
    app.mount("/docs/static", StaticFiles(directory=SWAGGER_UI))
    app.add_route("/", _index, include_in_schema=False)
    app.add_route("/docs", _docs, include_in_schema=False)


async def _index(_: Request) -> FileResponse:
    return FileResponse(STATIC / "index.html", headers={"content-security-policy": OF_PAGE})


async def _docs(_: Request) -> HTMLResponse:
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="rayscribe: API",
        swagger_js_url="docs/static/swagger-ui-bundle.js",
        swagger_css_url="docs/static/swagger-ui.css",
        swagger_favicon_url="docs/static/favicon.png",
    )
    page.headers["content-security-policy"] = _policy_of_docs(bytes(page.body))
    return page


def _policy_of_docs(page: bytes) -> str:
    """Swagger UI starts from a script inside its page, which is named here by its hash; and it styles what it draws."""
    inside = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    hashes = "".join(f" 'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" for script in inside)
    return (
        f"default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        f" connect-src 'self'; {NO_FRAMES}"
    )
