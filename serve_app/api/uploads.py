"""An upload on its way to the pipeline: a small one inside the call, a large one through the media store."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

from starlette.datastructures import UploadFile

from serve_app.api.services import Services
from serve_app.errors import MediaUnavailable
from serve_app.transcript.protocols import InlineMedia, MediaReference

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1024 * 1024


@contextlib.asynccontextmanager
async def media_of(upload: UploadFile, services: Services) -> AsyncIterator[MediaReference]:
    """The media of an upload, for as long as the context is open."""
    if (upload.size or 0) <= services.settings.limits.inline_upload_bytes:
        yield InlineMedia(await upload.read())
        return
    stored = await services.media_store.save(blocks_of(upload))
    await upload.close()  # the spooled copy: a long request need not hold the file twice
    try:
        yield stored
    finally:
        try:
            await services.media_store.delete(stored)
        except MediaUnavailable as error:  # the answer matters more, and what stays goes by its age
            logger.warning("audio of a request cannot be deleted now: %s", error.message)


async def blocks_of(upload: UploadFile) -> AsyncIterator[bytes]:
    while block := await upload.read(BLOCK_BYTES):
        yield block
