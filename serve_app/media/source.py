"""Where the bytes of a request are, as an open file."""

from __future__ import annotations

import os

from serve_app.errors import InvalidAudio
from serve_app.transcript.protocols import InlineMedia, MediaReference


def open_media(media: MediaReference) -> int:
    """
    A descriptor to read the media from its start; the caller closes it.

    Raises:
        InvalidAudio: The stored file is gone.
    """
    if isinstance(media, InlineMedia):
        return _in_memory(media.data)
    try:
        return os.open(media.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise InvalidAudio("The upload is no longer stored.") from error


def _in_memory(data: bytes) -> int:
    descriptor = os.memfd_create("media")
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(data)
        file.seek(0)
    return descriptor
