from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.datastructures import UploadFile

from serve_app.api.uploads import media_of
from serve_app.errors import InvalidAudio, MediaUnavailable
from serve_app.testing import InMemoryMediaStore
from serve_app.transcript.protocols import StoredMedia


class Undeletable(InMemoryMediaStore):
    async def delete(self, media: StoredMedia) -> None:
        raise MediaUnavailable("The bucket refuses.")


async def test_audio_that_cannot_be_deleted_leaves_the_answer_as_it_is() -> None:
    limits = SimpleNamespace(inline_upload_bytes=0)
    services = cast(Any, SimpleNamespace(media_store=Undeletable(), settings=SimpleNamespace(limits=limits)))

    with pytest.raises(InvalidAudio):
        async with media_of(UploadFile(io.BytesIO(b"sound"), size=5), services):
            raise InvalidAudio("It holds no audio.")
