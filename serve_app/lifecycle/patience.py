"""How long a request or a job waits for its model."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import NoReturn

from serve_app.errors import ModelNotReady, OutOfMemory, RayscribeError, Unavailable
from serve_app.models.protocols import Models
from serve_app.models.types import ModelOverview, ModelState
from serve_app.transcript.protocols import Recognizer
from serve_app.transcript.types import ChunkRequest, RecognizedChunk

logger = logging.getLogger(__name__)

STUCK = frozenset({ModelState.WAITING_FOR_GPU, ModelState.FAILED})
"""It may take days until somebody has a model in this state."""
NOT_SERVING = STUCK | {ModelState.UNLOADED, ModelState.LOADING}
LOOKS_S = (1.0, 10.0)


class PatientRecognizer(Recognizer):
    """
    A recogniser whose callers are told after a while that the model they wait for is not there.

    Chunks of jobs wait for a load however long it takes, but not where others hold the memory: they would keep their places in
    the queue, in the replica and in the background from jobs whose model is there. Their job is tried again later, and the
    replica looks for memory without them. Chunks whose model is there and has much to do wait without end.

    Args:
        models: Who knows. By being asked they learn that the model is waited for, which no replica tells while none is up.
        wait_s: How long the chunk of a request waits for its model.
        looks_s: After which time they are asked first, and then again and again.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        models: Models,
        *,
        wait_s: float,
        looks_s: tuple[float, float] = LOOKS_S,
    ) -> None:
        self._recognizer = recognizer
        self._models = models
        self._wait_s = wait_s
        self._looks_s = looks_s

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        """
        Raises:
            ModelNotReady: The model is not in memory, and did not come there in time.
            OutOfMemory: Because others hold the memory that it needs.
        """
        call = asyncio.ensure_future(self._recognizer.recognize(request))
        # Beside the call: a Coordinator that does not answer must not hold up a chunk that is done.
        watch = asyncio.ensure_future(self._watch(request))
        try:
            await asyncio.wait({call, watch}, return_when=asyncio.FIRST_COMPLETED)
            return call.result() if call.done() else watch.result()
        finally:
            call.cancel()
            watch.cancel()
            await asyncio.gather(call, watch, return_exceptions=True)

    async def _watch(self, request: ChunkRequest) -> NoReturn:
        """Ends with an error when it is of no use to wait on."""
        clock_s = asyncio.get_running_loop().time
        patient_until_s = clock_s() + self._wait_s
        look_s, later_s = self._looks_s
        while True:
            left_s = patient_until_s - clock_s()
            await asyncio.sleep(look_s if request.background or left_s <= 0 else min(look_s, left_s))
            if request.background:
                await self._look(request, STUCK)
            else:
                await self._look(request, NOT_SERVING if clock_s() >= patient_until_s else ())
            look_s = later_s

    async def _look(self, request: ChunkRequest, hopeless: Collection[ModelState]) -> None:
        try:
            model = await self._models.expect(request.options.model_id)
        except Unavailable:  # who knows nothing breaks nothing off
            return
        except RayscribeError:
            raise
        except Exception as error:  # nor does who fails
            logger.error("cannot tell how a model is that a chunk waits for: %s", type(error).__name__)
            return
        if model.state in hopeless:
            raise too_early(model)


def too_early(model: ModelOverview, why: str | None = None) -> ModelNotReady | OutOfMemory:
    """
    What a client is told of a model that is not in memory, with when to ask again.

    Args:
        why: The load before this one failed so.
    """
    if model.state is ModelState.WAITING_FOR_GPU:
        return OutOfMemory(
            f"The model {model.model_id} waits for GPU memory that others hold; try again later.",
            param="model",
            retry_after_s=model.retry_after_s,
        )
    return ModelNotReady(
        f"The model {model.model_id} is not loaded yet ({why or model.state}); try again later.",
        param="model",
        retry_after_s=model.retry_after_s,
    )
