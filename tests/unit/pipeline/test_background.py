import asyncio

import numpy as np

from serve_app.pipeline.background import BackgroundRecognizer
from serve_app.testing import FakeRecognizer
from serve_app.transcript.types import ChunkRequest, DecodingOptions, RecognizedChunk

CHUNK = ChunkRequest(np.zeros(16_000, np.int16), DecodingOptions("tiny.en"), index=3)


class Held(FakeRecognizer):
    """Answers when `go_on` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        heard = await super().recognize(request)
        await self.go_on.wait()
        return heard


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_chunks_of_jobs_say_that_they_yield() -> None:
    recognizer = FakeRecognizer()

    await BackgroundRecognizer(recognizer, at_once=1).recognize(CHUNK)

    assert [(request.background, request.index) for request in recognizer.requests] == [(True, 3)]


async def test_all_jobs_together_have_so_many_calls_at_once() -> None:
    held = Held()
    background = BackgroundRecognizer(held, at_once=2)
    calls = [asyncio.create_task(background.recognize(CHUNK)) for _ in range(5)]
    await turns()
    sent = len(held.requests)
    held.go_on.set()
    await asyncio.gather(*calls)

    assert sent == 2
    assert len(held.requests) == 5


async def test_a_call_that_is_cancelled_leaves_its_place() -> None:
    held = Held()
    background = BackgroundRecognizer(held, at_once=1)
    first, second = (asyncio.create_task(background.recognize(CHUNK)) for _ in range(2))
    await turns()
    first.cancel()
    held.go_on.set()

    assert (await second).text
