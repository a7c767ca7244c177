"""Media to 16 kHz sound, decoded in other processes (see `decoder_process`)."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

import numpy as np

from serve_app import errors
from serve_app.media.source import open_media
from serve_app.pipeline.decoder_parent import ConnectionLost, DecoderConnection, DecoderParent
from serve_app.pipeline.records import DecodingRequest, EndOfSound, Kind, StartOfSound
from serve_app.transcript.protocols import MediaReference
from serve_app.transcript.types import Channels, Samples

SoundRecord = StartOfSound | Samples | EndOfSound

STALL_S = 60.0
START_S = 60.0  # a loaded machine may take that long to start the processes


class DecoderPool:
    """
    Keeps `size` decoder processes waiting, each for one request; any number can be at work.

    Args:
        size: Processes kept waiting.
        max_audio_s: Longest audio, in seconds.
        stall_s: How long a decoder may be silent before its request fails, in seconds.
    """

    def __init__(self, *, size: int = 2, max_audio_s: float = 4 * 3600.0, stall_s: float = STALL_S) -> None:
        self._size = size
        self._max_audio_s = max_audio_s
        self._stall_s = stall_s
        self._parent = DecoderParent(size)

    async def decode(self, media: MediaReference, channels: Channels) -> AsyncGenerator[SoundRecord, None]:
        """
        How it starts, blocks of shape (n, channels), then how it ended. Closing the generator kills the decoder.

        Raises:
            InvalidAudio: Not audio, or it crashed or stalled the media library.
            AudioTooShort, AudioTooLong: About its length; the latter perhaps after some blocks.
            Overloaded: No decoder took the request in time.
        """
        request = DecodingRequest(channels is Channels.SEPARATE, self._max_audio_s)
        width = 1
        async with self._connection(media, request) as decoder:
            while True:
                kind, payload = await self._read(decoder)
                match kind:
                    case Kind.START:
                        start = StartOfSound.decode(payload)
                        width = start.channels
                        yield start
                    case Kind.SOUND:
                        yield np.frombuffer(payload, dtype=np.int16).reshape(-1, width)
                    case Kind.END:
                        yield EndOfSound.decode(payload)
                        return
                    case _:
                        raise _error(payload)

    async def close(self) -> None:
        """End the processes that wait; those at work end with their requests."""
        await asyncio.to_thread(self._parent.close)

    @asynccontextmanager
    async def _connection(self, media: MediaReference, request: DecodingRequest) -> AsyncIterator[DecoderConnection]:
        descriptor = await open_media(media)
        try:
            decoder = await self._connect(descriptor, request)
        finally:
            os.close(descriptor)
        try:
            yield decoder
        finally:
            decoder.close()

    async def _connect(self, media: int, request: DecodingRequest) -> DecoderConnection:
        parent = self._living_parent()
        try:
            with suppress(ConnectionLost):  # the parent had died, and the message with it
                return await parent.connect(media, request.encode(), START_S)
            return await self._living_parent(lost=parent).connect(media, request.encode(), START_S)
        except (ConnectionLost, TimeoutError) as busy:
            raise errors.Overloaded("No media decoder is free; try again.", retry_after_s=10) from busy

    def _living_parent(self, lost: DecoderParent | None = None) -> DecoderParent:
        """Replaces the lost one once, whoever asks first: nothing is awaited here, so no lock is needed."""
        if self._parent is lost or not self._parent.alive:
            self._parent.close()
            self._parent = DecoderParent(self._size)
        return self._parent

    async def _read(self, decoder: DecoderConnection) -> tuple[Kind, bytes]:
        try:
            return await decoder.read(self._stall_s)
        except ConnectionLost as lost:
            raise errors.InvalidAudio("The audio cannot be decoded: the media library failed on it.") from lost
        except TimeoutError as stalled:
            raise errors.InvalidAudio("The audio cannot be decoded: the media library hung on it.") from stalled


def _error(payload: bytes) -> errors.MediaError:
    name, message, param = json.loads(payload)
    kinds = (errors.InvalidAudio, errors.AudioTooShort, errors.AudioTooLong)
    kind: type[errors.MediaError] = {kind.__name__: kind for kind in kinds}[name]
    return kind(message, param=param)
