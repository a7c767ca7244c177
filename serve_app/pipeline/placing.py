"""Words from alignment put where somebody speaks."""

from __future__ import annotations

from collections.abc import Sequence

from serve_app.transcript.types import Span, Word

SENTENCE_ENDS = tuple(".?!。！？…")
CLOSING = " \"'”’»)]』」）】"


def place(words: Sequence[Word], spans: Sequence[Span]) -> tuple[Word, ...]:
    """
    Move words out of the silences: alignment lets them begin in the pause before, or end in the pause after.

    Args:
        words: In order, in file seconds.
        spans: Speech, in order, in file seconds.

    Returns:
        The same words in order, none before the one before it, each within a span.
    """
    placed: list[Word] = []
    earliest = spans[0].start if spans else 0.0
    for i, word in enumerate(words):
        span = _home(word, spans, begins_sentence=i > 0 and ends_sentence(words[i - 1].text)) if spans else None
        start, end = (word.start, word.end) if span is None else (_within(word.start, span), _within(word.end, span))
        start = max(start, earliest)
        end = max(start, end)
        placed.append(Word(start, end, word.text, word.probability, word.tokens))
        earliest = end
    return tuple(placed)


def ends_sentence(text: str) -> bool:
    return text.rstrip(CLOSING).endswith(SENTENCE_ENDS)


def _home(word: Word, spans: Sequence[Span], *, begins_sentence: bool) -> Span:
    """The span that the word overlaps most; of a word in a silence, the span before or after it."""
    best = max(spans, key=lambda span: min(word.end, span.end) - max(word.start, span.start))
    if word.end > best.start and word.start < best.end:
        return best
    before = [span for span in spans if span.end <= word.start]
    after = [span for span in spans if span.start >= word.end]
    if not before or (after and begins_sentence):
        return after[0]
    if not after or ends_sentence(word.text):
        return before[-1]
    return after[0] if after[0].start - word.end < word.start - before[-1].end else before[-1]


def _within(time: float, span: Span) -> float:
    return min(max(time, span.start), span.end)
