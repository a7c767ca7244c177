"""
`/uploads`: resumable uploads by the tus protocol 1.0 (https://tus.io/protocols/resumable-upload).

The core protocol and its extensions creation, termination, checksum and expiration.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from email.utils import format_datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from serve_app.api import job_documents
from serve_app.api.auth import OwnerDep, ViewerDep, needs
from serve_app.api.checksums import ALGORITHMS, HEADER, Checksum
from serve_app.api.places import StackDep
from serve_app.api.problems import answer
from serve_app.api.rates import counted
from serve_app.api.resumable import ResumableUploads
from serve_app.api.services import JobsDep, ServicesDep, services
from serve_app.api.upload_files import Upload
from serve_app.errors import InvalidRequest, RayscribeError
from serve_app.settings import Scope

VERSION = "1.0.0"
EXTENSIONS = "creation,termination,checksum,expiration"
PART_TYPE = "application/offset+octet-stream"
MAX_METADATA_CHARACTERS = 4096
MAX_LENGTH_DIGITS = 15  # a petabyte

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class TusRoute(APIRoute):
    """Speaks one version of the protocol, and says so in every answer, errors included."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def versioned(request: Request) -> Response:
            try:
                _check_version(request)
                response = await handle(request)
            except (RayscribeError, HTTPException) as error:
                response = answer(error, (await services(request)).settings.limits.max_retry_after_s)
            response.headers["Tus-Resumable"] = VERSION
            return response

        return versioned


async def uploads(request: Request, _: JobsDep, __: Annotated[None, Depends(needs(Scope.JOBS))]) -> ResumableUploads:
    found: ResumableUploads = request.app.state.uploads
    return found


UploadsDep = Annotated[ResumableUploads, Depends(uploads)]

router = APIRouter(prefix="/uploads", tags=["uploads"], route_class=TusRoute)


@router.options("", status_code=204, **job_documents.UPLOAD_OPTIONS)
async def discover() -> Response:
    """What this server can do."""
    headers = {"Tus-Version": VERSION, "Tus-Extension": EXTENSIONS, "Tus-Checksum-Algorithm": ",".join(ALGORITHMS)}
    return Response(status_code=204, headers=headers)


@router.post(
    "", status_code=201, response_class=Response, dependencies=[Depends(counted)], **job_documents.UPLOAD_CREATE
)
async def create(request: Request, owner: OwnerDep, found: UploadsDep) -> Response:
    """Announce an upload of `Upload-Length` bytes; its address is in `Location`."""
    metadata = request.headers.get("upload-metadata", "")
    if len(metadata) > MAX_METADATA_CHARACTERS:
        raise InvalidRequest(f"Upload-Metadata may have {MAX_METADATA_CHARACTERS} characters.", param="Upload-Metadata")
    upload = await found.create(owner, _number(request, "Upload-Length"), metadata)
    location = f"{request.scope.get('root_path', '')}{router.prefix}/{upload.upload_id}"
    return Response(status_code=201, headers={"Location": location, "Upload-Expires": _expires(upload)})


@router.head("/{upload_id}", response_class=Response, **job_documents.UPLOAD_HEAD)
async def head(upload_id: str, viewer: ViewerDep, found: UploadsDep) -> Response:
    """How much of an upload has come."""
    upload = await found.get(upload_id, viewer)
    headers = {"Cache-Control": "no-store", "Upload-Length": str(upload.length), **_state(upload)}
    if upload.metadata:
        headers["Upload-Metadata"] = upload.metadata
    return Response(headers=headers)


@router.patch("/{upload_id}", status_code=204, **job_documents.UPLOAD_PATCH)
async def patch(
    upload_id: str, request: Request, stack: StackDep, viewer: ViewerDep, found: UploadsDep, services: ServicesDep
) -> Response:
    """Send the next part, from `Upload-Offset` on."""
    most = services.settings.jobs.max_part_bytes
    _check_part(request, most)
    checksum = Checksum(request.headers[HEADER]) if HEADER in request.headers else None
    upload = await found.append(upload_id, viewer, _number(request, "Upload-Offset"), _counted(request, most), checksum)
    return Response(status_code=204, headers=_state(upload))


@router.delete("/{upload_id}", status_code=204, **job_documents.UPLOAD_DELETE)
async def terminate(upload_id: str, viewer: ViewerDep, found: UploadsDep) -> Response:
    """Forget an upload and its bytes."""
    await found.delete(upload_id, viewer)
    return Response(status_code=204)


@router.post("/{upload_id}", include_in_schema=False)
async def override(
    upload_id: str, request: Request, stack: StackDep, viewer: ViewerDep, found: UploadsDep, services: ServicesDep
) -> Response:
    """PATCH and DELETE from where proxies let neither through: tus names the method in `X-HTTP-Method-Override`."""
    method = request.headers.get("x-http-method-override", "").upper()
    if method == "PATCH":
        return await patch(upload_id, request, stack, viewer, found, services)
    if method == "DELETE":
        return await terminate(upload_id, viewer, found)
    raise HTTPException(405, "Send parts with PATCH.", {"Allow": "HEAD, PATCH, DELETE"})


def _check_version(request: Request) -> None:
    if request.method != "OPTIONS" and request.headers.get("tus-resumable") != VERSION:
        raise HTTPException(412, f"Send `Tus-Resumable: {VERSION}`.", {"Tus-Version": VERSION})


def _check_part(request: Request, most: int) -> None:
    if request.headers.get("content-type") != PART_TYPE:
        raise HTTPException(415, f"A part has the Content-Type {PART_TYPE}.")
    if "content-length" in request.headers and _number(request, "Content-Length") > most:
        raise _too_large(most)


async def _counted(request: Request, most: int) -> AsyncIterator[bytes]:
    left = most
    async for block in request.stream():
        left -= len(block)
        if left < 0:
            raise _too_large(most)
        yield block


def _too_large(most: int) -> HTTPException:
    # Without `close` the server would keep the connection open, for a body that nobody wants.
    return HTTPException(
        413, f"A part may have {most} bytes. Set the chunk size of your tus client to that.", {"Connection": "close"}
    )


def _number(request: Request, header: str) -> int:
    value = request.headers.get(header, "")
    if not (value.isascii() and value.isdigit() and len(value) <= MAX_LENGTH_DIGITS):
        raise InvalidRequest(f"{header} should be a number of bytes.", param=header)
    return int(value)


def _state(upload: Upload) -> dict[str, str]:
    return {"Upload-Offset": str(upload.offset), "Upload-Expires": _expires(upload)}


def _expires(upload: Upload) -> str:
    return format_datetime(upload.expires_at, usegmt=True)
