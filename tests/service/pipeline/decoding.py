"""Reading all that a decoder gives."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serve_app.pipeline.decode import DecoderPool
from serve_app.pipeline.records import EndOfSound, StartOfSound
from serve_app.transcript.protocols import InlineMedia, MediaReference, StoredMedia
from serve_app.transcript.types import Channels, Samples
from tests.recordings import DATA

HOSTILE = DATA / "hostile"


@dataclass(frozen=True)
class Decoded:
    start: StartOfSound
    samples: Samples  # shape (n, channels)
    end: EndOfSound


def stored(path: Path) -> StoredMedia:
    return StoredMedia(str(path))


def inline(data: bytes) -> InlineMedia:
    return InlineMedia(data)


async def decode(pool: DecoderPool, media: MediaReference, channels: Channels = Channels.MIX) -> Decoded:
    start, *blocks, end = [record async for record in pool.decode(media, channels)]
    assert isinstance(start, StartOfSound)
    assert isinstance(end, EndOfSound)
    return Decoded(start, np.concatenate(blocks), end)
