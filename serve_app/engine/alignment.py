"""
Word times from the decoder's cross-attention.

CTranslate2's `align` gives a dynamic-time-warping path from text tokens to encoder frames; a word begins where the path
jumps to its first token. After OpenAI's `whisper/timing.py` (`find_alignment`, `merge_punctuations`, and the rule for long
words at sentence boundaries).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import numpy as np
from faster_whisper.tokenizer import Tokenizer
from numpy.typing import NDArray

from serve_app.transcript.types import Word

ENCODER_FRAME_S = 0.02
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"
SENTENCE_ENDS = ".。!！?？"
LONGEST_TYPICAL_WORD_S = 0.7


@dataclass(frozen=True, slots=True)
class Alignment:
    """CTranslate2's answer for one chunk."""

    path: Sequence[tuple[int, int]]  # (text token, encoder frame), both rising
    probabilities: Sequence[float]  # of each text token


def words_of(alignment: Alignment, tokens: Sequence[int], tokenizer: Tokenizer, duration_s: float) -> tuple[Word, ...]:
    """
    Words with their times in the chunk: rising, not overlapping, inside it.

    Args:
        alignment: The path of these tokens.
        tokens: Text tokens, no special ones.
        tokenizer: Of the language spoken, which decides where words end.
        duration_s: Length of the chunk.
    """
    words = _timed_words(alignment, tokens, tokenizer)
    merged = _merge_punctuation(_shorten_at_sentence_ends(words))
    return tuple(_inside(merged, duration_s))


def _timed_words(alignment: Alignment, tokens: Sequence[int], tokenizer: Tokenizer) -> list[Word]:
    texts, groups = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    starts_s = _token_starts_s(alignment.path)
    words: list[Word] = []
    at = 0
    for text, group in zip(texts[:-1], groups[:-1], strict=True):
        to = at + len(group)
        probability = float(np.mean(alignment.probabilities[at:to]))
        words.append(Word(float(starts_s[at]), float(starts_s[to]), text, probability, tuple(group)))
        at = to
    return words


def _token_starts_s(path: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """Where each token begins; one more than there are text tokens, for the end of the last."""
    token, frame = np.array(path).T
    jumps = np.diff(token, prepend=-1) > 0
    return np.asarray(frame[jumps] * ENCODER_FRAME_S, dtype=np.float64)


def _shorten_at_sentence_ends(words: list[Word]) -> list[Word]:
    """The pause between sentences is put on the words beside it by the alignment; take it off again."""
    durations = [word.end - word.start for word in words if word.end > word.start]
    limit_s = 2 * min(LONGEST_TYPICAL_WORD_S, median(durations)) if durations else 0.0
    shortened = words[:1]
    for before, word in pairwise(words):
        too_long = word.end - word.start > limit_s
        if too_long and word.text in SENTENCE_ENDS:
            word = replace(word, end=word.start + limit_s)
        elif too_long and before.text in SENTENCE_ENDS:
            word = replace(word, start=word.end - limit_s)
        shortened.append(word)
    return shortened


def _merge_punctuation(words: Sequence[Word]) -> list[Word]:
    merged: list[Word] = []
    for word in words:
        before = merged[-1] if merged else None
        if before and _is_prepended(before.text):
            merged[-1] = replace(word, text=before.text + word.text, tokens=before.tokens + word.tokens)
        elif before and word.text in APPENDED and not before.text.endswith(" "):
            merged[-1] = replace(before, text=before.text + word.text, tokens=before.tokens + word.tokens)
        else:
            merged.append(word)
    return merged


def _is_prepended(text: str) -> bool:
    return text.startswith(" ") and text.strip() in PREPENDED


def _inside(words: Sequence[Word], duration_s: float) -> list[Word]:
    placed: list[Word] = []
    earliest_s = 0.0
    for word in words:
        start = min(max(word.start, earliest_s), duration_s)
        earliest_s = min(max(word.end, start), duration_s)
        placed.append(replace(word, start=start, end=earliest_s))
    return placed
