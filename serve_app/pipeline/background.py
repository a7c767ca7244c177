"""Chunks that nobody waits for at this moment."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from serve_app.transcript.protocols import Recognizer
from serve_app.transcript.types import ChunkRequest, RecognizedChunk


class BackgroundRecognizer(Recognizer):
    """
    A recogniser for jobs: they share some calls, and their chunks yield to those of requests.

    Calls to a replica that is full wait in the order of their arrival, where a request of three seconds would stand behind all
    that sixteen long jobs have in flight. So jobs send no more than keeps the recognisers busy, and the rest waits here.

    Args:
        at_once: Calls of all jobs together.
    """

    def __init__(self, recognizer: Recognizer, *, at_once: int) -> None:
        self._recognizer = recognizer
        self._places = asyncio.Semaphore(at_once)

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        async with self._places:
            return await self._recognizer.recognize(replace(request, background=True))
