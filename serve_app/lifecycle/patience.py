"""How long a request waits for its model."""

from __future__ import annotations

import asyncio

from serve_app.errors import ModelNotReady, OutOfMemory, Unavailable
from serve_app.models.protocols import Models
from serve_app.models.types import ModelOverview, ModelState
from serve_app.transcript.protocols import Recognizer
from serve_app.transcript.types import ChunkRequest, RecognizedChunk

NOT_SERVING = frozenset({ModelState.UNLOADED, ModelState.LOADING, ModelState.WAITING_FOR_GPU, ModelState.FAILED})


class PatientRecognizer(Recognizer):
    """
    A recogniser whose callers are told after a while that the model they wait for is not there.

    Chunks of jobs wait without end, and so do those whose model is there and has much to do.

    Args:
        models: Who knows.
        wait_s: How long a chunk waits until they are asked, each time.
    """

    def __init__(self, recognizer: Recognizer, models: Models, *, wait_s: float) -> None:
        self._recognizer = recognizer
        self._models = models
        self._wait_s = wait_s

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        """
        Raises:
            ModelNotReady: The model is not in memory, and did not come there in time.
            OutOfMemory: Because others hold the memory that it needs.
        """
        if request.background:
            return await self._recognizer.recognize(request)
        call = asyncio.ensure_future(self._recognizer.recognize(request))
        try:
            while not (await asyncio.wait({call}, timeout=self._wait_s))[0]:
                await self._check(request.options.model_id)
            return call.result()
        finally:
            if not call.done():
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)

    async def _check(self, model_id: str) -> None:
        try:
            model = await self._models.overview(model_id)
        except Unavailable:  # who knows nothing breaks nothing off
            return
        if model.state in NOT_SERVING:
            raise too_early(model)


def too_early(model: ModelOverview) -> ModelNotReady | OutOfMemory:
    """What a client is told of a model that is not in memory, with when to ask again."""
    if model.state is ModelState.WAITING_FOR_GPU:
        return OutOfMemory(
            f"The model {model.model_id} waits for GPU memory that others hold; try again later.",
            param="model",
            retry_after_s=model.retry_after_s,
        )
    return ModelNotReady(
        f"The model {model.model_id} is not loaded yet ({model.state}); try again later.",
        param="model",
        retry_after_s=model.retry_after_s,
    )
