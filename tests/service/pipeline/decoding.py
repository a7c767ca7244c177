"""Reading all that a decoder gives."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serve_app.pipeline.decode import DecoderPool
from serve_app.pipeline.records import EndOfSound
from serve_app.transcript.protocols import InlineMedia, MediaReference, StoredMedia
from serve_app.transcript.types import Channels, Samples
from tests.recordings import DATA

HOSTILE = DATA / "hostile"


@dataclass(frozen=True)
class Decoded:
    samples: Samples  # shape (n, channels)
    end: EndOfSound


def stored(path: Path) -> StoredMedia:
    return StoredMedia(str(path))


def inline(data: bytes) -> InlineMedia:
    return InlineMedia(data)


async def decode(pool: DecoderPool, media: MediaReference, channels: Channels = Channels.MIX) -> Decoded:
    blocks = [block async for block in pool.decode(media, channels)]
    end = blocks.pop()
    assert isinstance(end, EndOfSound)
    return Decoded(np.concatenate(blocks), end)
