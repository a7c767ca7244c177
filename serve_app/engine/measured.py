"""Counts batches and chunks."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from serve_app.engine.decoding import Decoding, PassKey, Utterance
from serve_app.telemetry.metrics import BATCH_FILL, BATCH_SECONDS, BATCH_SIZE, CHUNKS, FALLBACKS, RECOGNIZED_SECONDS
from serve_app.telemetry.tally import Tally

logger = logging.getLogger(__name__)

Work = Callable[[PassKey, Sequence[Utterance]], Awaitable[Sequence[Decoding]]]


def measured(decode: Work, largest: Callable[[PassKey], int], tally: Tally) -> Work:
    """`decode`, counted batch by batch; `largest` says how many chunks one could have had."""

    async def decode_and_count(key: PassKey, batch: Sequence[Utterance]) -> Sequence[Decoding]:
        model_id, began_s = key.model.engine.model_id, time.monotonic()
        tally.observe(BATCH_SIZE, len(batch), model_id)
        tally.observe(BATCH_FILL, len(batch) / largest(key), model_id)
        try:
            return await decode(key, batch)
        finally:
            tally.observe(BATCH_SECONDS, time.monotonic() - began_s, model_id)

    return decode_and_count


def count_chunk(tally: Tally, model_id: str, utterance: Utterance, attempts: int) -> None:
    """A chunk was recognised, in so many decodings."""
    logger.debug("recognised %.1f s of audio, decoded %d times", utterance.duration_s, attempts)
    tally.count(CHUNKS, model_id)
    tally.count(RECOGNIZED_SECONDS, model_id, by=utterance.duration_s)
    tally.count(FALLBACKS, model_id, by=attempts - 1)
