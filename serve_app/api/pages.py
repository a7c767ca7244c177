"""The page at `/` and the documentation at `/docs`; nothing of either comes from another server."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, HTMLResponse
from starlette.staticfiles import StaticFiles

STATIC = Path(str(files("serve_app.api"))) / "static"
SWAGGER_UI = Path(str(files(fastapi_offline))) / "static"


def add_pages(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=STATIC))
    app.mount("/docs/static", StaticFiles(directory=SWAGGER_UI))
    app.add_api_route("/", _index, include_in_schema=False)
    app.add_api_route("/docs", _docs, include_in_schema=False)


async def _index() -> FileResponse:
    return FileResponse(STATIC / "index.html")


async def _docs() -> HTMLResponse:
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="rayscribe: API",
        swagger_js_url="docs/static/swagger-ui-bundle.js",
        swagger_css_url="docs/static/swagger-ui.css",
        swagger_favicon_url="docs/static/favicon.png",
    )
