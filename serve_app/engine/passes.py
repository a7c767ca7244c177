"""Which decodings a chunk may need, how many chunks may share one, and how long one waits for them."""

from __future__ import annotations

from collections.abc import Iterator

from serve_app.engine.decoding import SAMPLES_PER_CHUNK, PassKey, Utterance
from serve_app.engine.features import FULL_WINDOW, window_for
from serve_app.engine.models import LoadedModel
from serve_app.settings import RecognizerSettings
from serve_app.transcript.types import DecodingOptions

FULL_BATCH_WINDOW = FULL_WINDOW // 2  # up to here a batch takes all the chunks that it may
GPU_BATCH_WAIT_S = 0.003


def largest_batch(max_batch_size: int, key: PassKey) -> int:
    """
    How many chunks of a window may be decoded together.

    It is a long file that fills batches of full windows, and their memory grows with the window: without this, one of three
    hours took 600 MB more than one of three minutes (tiny.en). By its square, because batches of two full windows decode as
    fast as those of four.

    Where texts are drawn, each text of a chunk has a copy of what the encoder made of it (beams share one), and counts as a chunk:
    two full windows took 180 MB instead of 50 MB, and are decoded as fast one by one.
    """
    chunks = max_batch_size * FULL_BATCH_WINDOW**2 // max(key.window, FULL_BATCH_WINDOW) ** 2
    return max(1, chunks // SAMPLES_PER_CHUNK if key.temperature > 0 else chunks)


def batch_wait_s(settings: RecognizerSettings, *, on_gpu: bool) -> float:
    """What an idle recogniser waits, as the settings say or as suits the device."""
    if settings.batch_wait_ms is not None:
        return settings.batch_wait_ms / 1000
    return GPU_BATCH_WAIT_S if on_gpu else 0.0


def passes(
    model: LoadedModel, utterance: Utterance, options: DecodingOptions, *, background: bool = False
) -> Iterator[PassKey]:
    """
    The decodings to try in turn: the first temperature in the chunk's own window, then in the full one, then the other
    temperatures there.
    """
    window = window_for(utterance.duration_s)
    first, *others = options.temperatures
    tries = [(window, first)] if window == FULL_WINDOW else [(window, first), (FULL_WINDOW, first)]
    for frames, temperature in [*tries, *((FULL_WINDOW, t) for t in others)]:
        yield PassKey(model, frames, len(utterance.prefix), options.beam_size, temperature, background)
