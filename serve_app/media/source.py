"""Where the bytes of a request are, as an open file."""

from __future__ import annotations

import os
import tempfile

from serve_app.errors import MediaUnavailable
from serve_app.media.disk import gone
from serve_app.transcript.protocols import InlineMedia, MediaReference, StoredMedia

OBJECT = "s3://"
LARGE_FILES = "/var/tmp"  # on disk, where `/tmp` is often memory


async def open_media(media: MediaReference) -> int:
    """
    A descriptor to read the media from its start; the caller closes it.

    Raises:
        InvalidAudio: The stored file is gone.
        MediaUnavailable: It cannot be read now.
    """
    if isinstance(media, InlineMedia):
        return _in_memory(media.data)
    if media.path.startswith(OBJECT):
        return await _local_copy(media)
    try:
        return os.open(media.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise gone() from error
    except OSError as error:
        raise MediaUnavailable(f"The stored audio cannot be read: {error.strerror}.") from error


def _in_memory(data: bytes) -> int:
    descriptor = os.memfd_create("media")
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(data)
        file.seek(0)
    return descriptor


async def _local_copy(media: StoredMedia) -> int:
    """A file without a name, so that it goes with its last reader. Demuxers seek, and an object cannot be seeked."""
    from serve_app.media.objects import download  # needs a library of an extra

    with tempfile.TemporaryFile(dir=_directory(), buffering=0) as file:
        await download(media, file)
        file.seek(0)
        return os.dup(file.fileno())


def _directory() -> str:
    """As `TMPDIR` says, if it says something."""
    chosen = tempfile.gettempdir()
    return LARGE_FILES if chosen == "/tmp" and os.access(LARGE_FILES, os.W_OK) else chosen
