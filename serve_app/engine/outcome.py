"""From the decodings of a chunk to what the recogniser says about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from serve_app.engine import quality
from serve_app.engine.decoding import Decoding
from serve_app.transcript.types import Engine, RecognizedChunk, WarningCode, Word

UNCERTAIN_LANGUAGE_PROBABILITY = 0.5


def choose(decodings: Sequence[Decoding]) -> Decoding:
    """The last decoding if it passes, else the most probable of those that repeat themselves least."""
    if quality.passes(decodings[-1]):
        return decodings[-1]
    calm = [d for d in decodings if not quality.repeats(d)]
    return max(calm or decodings, key=lambda d: d.avg_logprob)


def recognized(
    decoding: Decoding, engine: Engine, *, attempts: int, text_of: Callable[[Sequence[int]], str]
) -> RecognizedChunk:
    """
    The answer for a chunk.

    Silence gives no text; of a text that goes round in circles after every fallback the first round is kept.

    Args:
        decoding: The one chosen.
        engine: What decoded it.
        attempts: How many decodings there were.
        text_of: Text of tokens.
    """
    said = _empty(decoding) if quality.is_silence(decoding) else _without_loop(decoding, text_of)
    return RecognizedChunk(
        text=said.text,
        tokens=said.tokens,
        language=said.language,
        language_probability=said.language_probability,
        temperature=said.temperature,
        avg_logprob=said.avg_logprob,
        compression_ratio=said.compression_ratio,
        no_speech_prob=said.no_speech_prob,
        engine=engine,
        words=said.words,
        logprobs=said.logprobs,
        attempts=attempts,
        warnings=tuple(_warnings(decoding)),
    )


def _warnings(decoding: Decoding) -> Iterator[WarningCode]:
    if quality.is_silence(decoding):
        return
    if quality.repeats(decoding):
        yield WarningCode.REPETITION
    if quality.is_doubtful(decoding) or not decoding.complete:
        yield WarningCode.LOW_CONFIDENCE
    if decoding.language_probability < UNCERTAIN_LANGUAGE_PROBABILITY:
        yield WarningCode.LANGUAGE_UNCERTAIN


def _empty(decoding: Decoding) -> Decoding:
    return replace(decoding, text="", tokens=(), words=(), logprobs=())


def _without_loop(decoding: Decoding, text_of: Callable[[Sequence[int]], str]) -> Decoding:
    loop = quality.find_loop(decoding.tokens)
    if loop is None:
        return decoding
    start, end = loop
    tokens = decoding.tokens[:start] + decoding.tokens[end:]
    return replace(
        decoding,
        text=text_of(tokens),
        tokens=tokens,
        words=tuple(_words_outside(decoding.words, start, end)),
        logprobs=decoding.logprobs[:start] + decoding.logprobs[end:],
    )


def _words_outside(words: Sequence[Word], start: int, end: int) -> Iterator[Word]:
    """Words none of whose tokens is in a range of token indices."""
    first = 0
    for word in words:
        after = first + len(word.tokens)
        if after <= start or first >= end:
            yield word
        first = after
