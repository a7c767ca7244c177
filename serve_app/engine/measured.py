"""Counts batches and chunks, and knows how long batches run."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from serve_app.engine.decoding import Decoding, PassKey, Utterance
from serve_app.telemetry.metrics import BATCH_FILL, BATCH_SECONDS, BATCH_SIZE, CHUNKS, FALLBACKS, RECOGNIZED_SECONDS
from serve_app.telemetry.tally import Tally
from serve_app.telemetry.tracing import span

logger = logging.getLogger(__name__)

Work = Callable[[PassKey, Sequence[Utterance]], Awaitable[Sequence[Decoding]]]


class MeasuredBatches:
    """
    `decode`, counted batch by batch.

    Args:
        largest: How many chunks a batch could have had.
        now: A clock in seconds.
    """

    def __init__(
        self,
        decode: Work,
        largest: Callable[[PassKey], int],
        tally: Tally,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decode = decode
        self._largest = largest
        self._tally = tally
        self._now = now
        self._began_s: dict[int, float] = {}  # of the batches that run, by number
        self._number = 0

    @property
    def longest_s(self) -> float:
        """How long the oldest of those that run has run."""
        return self._now() - min(self._began_s.values(), default=self._now())

    async def __call__(self, key: PassKey, batch: Sequence[Utterance]) -> Sequence[Decoding]:
        model_id = key.model.engine.model_id
        self._tally.observe(BATCH_SIZE, len(batch), model_id)
        self._tally.observe(BATCH_FILL, len(batch) / self._largest(key), model_id)
        with self._timed(model_id), _traced(key, batch):
            return await self._decode(key, batch)

    @contextmanager
    def _timed(self, model_id: str) -> Iterator[None]:
        self._number += 1
        number, began_s = self._number, self._now()
        self._began_s[number] = began_s
        try:
            yield
        finally:
            del self._began_s[number]
            self._tally.observe(BATCH_SECONDS, self._now() - began_s, model_id)


def _traced(key: PassKey, batch: Sequence[Utterance]) -> AbstractContextManager[object]:
    """In the trace of one of the batch's chunks: those of its companions show only that they waited."""
    return span(
        "batch",
        model=key.model.engine.model_id,
        chunks=len(batch),
        window=key.window,
        temperature=key.temperature,
    )


def count_chunk(tally: Tally, model_id: str, utterance: Utterance, attempts: int) -> None:
    """A chunk was recognised, in so many decodings."""
    logger.debug("recognised %.1f s of audio, decoded %d times", utterance.duration_s, attempts)
    tally.count(CHUNKS, model_id)
    tally.count(RECOGNIZED_SECONDS, model_id, by=utterance.duration_s)
    tally.count(FALLBACKS, model_id, by=attempts - 1)
