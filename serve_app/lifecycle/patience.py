"""How long a request or a job waits for its model."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from itertools import chain, repeat

from serve_app.errors import ModelNotReady, OutOfMemory, Unavailable
from serve_app.models.protocols import Models
from serve_app.models.types import ModelOverview, ModelState
from serve_app.transcript.protocols import Recognizer
from serve_app.transcript.types import ChunkRequest, RecognizedChunk

STUCK = frozenset({ModelState.WAITING_FOR_GPU, ModelState.FAILED})
"""It may take days until somebody has a model in this state."""
NOT_SERVING = STUCK | {ModelState.UNLOADED, ModelState.LOADING}
JOB_LOOKS_S = (1.0, 10.0)


class PatientRecognizer(Recognizer):
    """
    A recogniser whose callers are told after a while that the model they wait for is not there.

    Chunks of jobs wait for a load however long it takes, but not where others hold the memory: they would keep their places in
    the queue, in the replica and in the background from jobs whose model is there. Their job is tried again later, and the
    replica looks for memory without them. Chunks whose model is there and has much to do wait without end.

    Args:
        models: Who knows.
        wait_s: How long the chunk of a request waits until they are asked, each time.
        job_looks_s: The same of a job: the first time, and each one after it.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        models: Models,
        *,
        wait_s: float,
        job_looks_s: tuple[float, float] = JOB_LOOKS_S,
    ) -> None:
        self._recognizer = recognizer
        self._models = models
        self._wait_s = wait_s
        self._job_looks_s = job_looks_s

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        """
        Raises:
            ModelNotReady: The model is not in memory, and did not come there in time.
            OutOfMemory: Because others hold the memory that it needs.
        """
        first_s, next_s = self._job_looks_s if request.background else (self._wait_s, self._wait_s)
        hopeless = STUCK if request.background else NOT_SERVING
        call = asyncio.ensure_future(self._recognizer.recognize(request))
        try:
            for wait_s in chain((first_s,), repeat(next_s)):
                if (await asyncio.wait({call}, timeout=wait_s))[0]:
                    break
                await self._check(request.options.model_id, hopeless)
            return call.result()
        finally:
            if not call.done():
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)

    async def _check(self, model_id: str, hopeless: Collection[ModelState]) -> None:
        try:
            model = await self._models.overview(model_id)
        except Unavailable:  # who knows nothing breaks nothing off
            return
        if model.state in hopeless:
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
