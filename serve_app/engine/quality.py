"""
Whisper's quality rules: is a decoding good enough, and which is the best of several bad ones.

Thresholds and rules are those of OpenAI's `whisper/transcribe.py` (`decode_with_fallback`); the repetition guard is ours.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Protocol

MAX_COMPRESSION_RATIO = 2.4
MIN_AVG_LOGPROB = -1.0
MAX_NO_SPEECH_PROB = 0.6
SURE_NO_SPEECH_PROB = 0.8  # of 119 chunks of English speech none has more than 0.47
MIN_AVG_LOGPROB_AGAINST_SURE = -0.7
LOOP_REPEATS = 4
LOOP_TOKENS = 16
LONGEST_UNIT_TOKENS = 32
DOUBLED_TOKENS = 8


class Decoded(Protocol):
    """What the rules look at."""

    @property
    def text(self) -> str: ...
    @property
    def tokens(self) -> tuple[int, ...]: ...
    @property
    def avg_logprob(self) -> float: ...
    @property
    def compression_ratio(self) -> float: ...
    @property
    def no_speech_prob(self) -> float: ...
    @property
    def complete(self) -> bool: ...


def compression_ratio(text: str) -> float:
    """Bytes of the text over its bytes when compressed; 0 for no text. Above 2.4 it repeats itself."""
    data = text.strip().encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def is_silence(decoded: Decoded) -> bool:
    """
    The model hears no speech and does not believe what it wrote: Whisper's rule, and for the noise that slips through it
    (`Thank you.` out of a crackle) a lower bar when the model is sure that nobody speaks, and none for mere punctuation.
    """
    if decoded.no_speech_prob <= MAX_NO_SPEECH_PROB:
        return False
    sure = decoded.no_speech_prob > SURE_NO_SPEECH_PROB
    least = MIN_AVG_LOGPROB_AGAINST_SURE if sure else MIN_AVG_LOGPROB
    return decoded.avg_logprob < least or not any(map(str.isalnum, decoded.text))


def passes(decoded: Decoded) -> bool:
    """No rule asks for another decoding."""
    if is_silence(decoded):
        return True
    return not (repeats(decoded) or is_doubtful(decoded) or not decoded.complete)


def repeats(decoded: Decoded) -> bool:
    """The text is too regular to have been spoken."""
    return (
        decoded.compression_ratio > MAX_COMPRESSION_RATIO
        or find_loop(decoded.tokens) is not None
        or is_doubled(decoded.tokens)
    )


def is_doubled(tokens: Sequence[int]) -> bool:
    """The same is said twice over and nothing else; it compresses too little for Whisper's rule to see it."""
    half = len(tokens) // 2
    return half >= DOUBLED_TOKENS and tokens[:half] == tokens[half:]


def is_doubtful(decoded: Decoded) -> bool:
    """The model does not believe what it wrote."""
    return decoded.avg_logprob < MIN_AVG_LOGPROB


def find_loop(tokens: Sequence[int]) -> tuple[int, int] | None:
    """
    Find a run of tokens that does nothing but repeat one unit.

    Returns:
        The range of token indices that only repeats what stands before it, or None. A loop is a unit of at most
        `LONGEST_UNIT_TOKENS`, said `LOOP_REPEATS` times or more over at least `LOOP_TOKENS` tokens.
    """
    for unit in range(1, min(LONGEST_UNIT_TOKENS, len(tokens) // LOOP_REPEATS) + 1):
        needed = max(unit * LOOP_REPEATS, LOOP_TOKENS) - unit  # tokens equal to the one a unit before
        run = 0
        for i in range(unit, len(tokens)):
            run = run + 1 if tokens[i] == tokens[i - unit] else 0
            if run >= needed:
                return i + 1 - run, _end_of_run(tokens, unit, i + 1)
    return None


def _end_of_run(tokens: Sequence[int], unit: int, end: int) -> int:
    while end < len(tokens) and tokens[end] == tokens[end - unit]:
        end += 1
    return end
