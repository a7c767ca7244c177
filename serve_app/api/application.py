"""The HTTP application: a plain factory, because Serve pickles what exists at import."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from serve_app import __doc__ as description
from serve_app import __version__
from serve_app.api import audio, documents, jobs, lifecycle, metrics, models, system, tus
from serve_app.api.counting import CLIENT_WENT_AWAY, CountRequests
from serve_app.api.headers import AnswerHeaders, HeadLimit
from serve_app.api.limits import BodyLimit, RequestLimiter
from serve_app.api.middleware import LastResort, RequestIds
from serve_app.api.origins import SameMachine, cors
from serve_app.api.pages import add_pages
from serve_app.api.problems import answer
from serve_app.api.pulls import Pulls
from serve_app.api.rates import RateLimiter
from serve_app.api.resumable import ResumableUploads
from serve_app.api.services import Services
from serve_app.api.upload_limits import UploadLimits
from serve_app.errors import InvalidRequest, RayscribeError
from serve_app.settings import MAX_STREAMS

__all__ = ["Services", "create_app"]

MAX_STREAMS_PER_KEY = 200


def create_app(services: Services) -> FastAPI:
    limits, origins = services.settings.limits, services.settings.http.cors_origins
    app = FastAPI(
        title="rayscribe",
        version=__version__,
        description=description or "",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        middleware=[
            Middleware(RequestIds),
            Middleware(AnswerHeaders),
            *cors(origins),
            Middleware(CountRequests, tally=services.tally, clock=services.clock),
            Middleware(LastResort),
            *([Middleware(SameMachine, origins=origins)] if services.local_only else []),
            Middleware(HeadLimit),
            Middleware(BodyLimit, max_bytes=limits.max_upload_bytes, idle_s=limits.upload_idle_s),
        ],
    )
    app.state.services = services
    app.state.scraper = metrics.Scraper(services)
    app.state.behind = system.behind(services)
    app.state.limiter = RequestLimiter(
        max_requests=limits.max_requests,
        max_per_key=limits.max_requests_per_key,
        max_retry_after_s=limits.max_retry_after_s,
        clock=services.clock,
    )
    app.state.rates = RateLimiter(per_minute=limits.requests_per_minute_per_key, clock=services.clock)
    app.state.streams = RequestLimiter(
        max_requests=MAX_STREAMS,
        max_per_key=MAX_STREAMS_PER_KEY,
        max_retry_after_s=limits.max_retry_after_s,
        clock=services.clock,
        called="streams",
    )
    app.state.uploads = ResumableUploads(
        Path(services.settings.data_dir) / "uploads-tus",
        expires_s=services.settings.jobs.upload_expires_s,
        now=services.now,
        sleep=services.sleep,
        limits=UploadLimits(
            max_uploads=services.settings.jobs.max_uploads_per_key,
            max_bytes=services.settings.jobs.max_uploads_per_key_bytes,
        ),
    )
    limiter: RequestLimiter = app.state.limiter
    app.state.pulls = Pulls(services.catalogue, stopping=lambda: limiter.draining)
    _add_problems(app, limits.max_retry_after_s)
    for routes in (audio, jobs, tus, models, lifecycle, system, metrics):
        # As they are: `include_router` would build each of them once more, while the first request waits for it.
        app.router.routes.extend(routes.router.routes)
    app.add_route("/openapi.json", _openapi, include_in_schema=False)
    if services.settings.http.enable_ui:
        add_pages(app)
    return app


def _add_problems(app: FastAPI, max_retry_after_s: float) -> None:
    async def show(_: Request, error: Exception) -> Response:
        return answer(error, max_retry_after_s)

    async def went_away(_: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_WENT_AWAY)

    async def show_invalid(_: Request, error: Exception) -> Response:
        return answer(_invalid_query(error))

    app.add_exception_handler(RequestValidationError, show_invalid)
    for kind in (RayscribeError, HTTPException):
        app.add_exception_handler(kind, show)
    app.add_exception_handler(ClientDisconnect, went_away)


def _invalid_query(error: Exception) -> InvalidRequest:
    """What FastAPI found wrong with a query, as every other wrong field."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    param = str(first["loc"][-1])
    return InvalidRequest(f"{param}: {first['msg']}.", param=param)


async def _openapi(request: Request) -> JSONResponse:
    return JSONResponse(documents.openapi(request.app))
