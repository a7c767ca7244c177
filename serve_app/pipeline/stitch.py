"""A recognised chunk to sentence-like segments in file seconds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from serve_app.pipeline.placing import ends_sentence, place
from serve_app.transcript.types import Chunk, RecognizedChunk, Segment, Span, Word

PAUSE_S = 0.45  # ends a segment even in the middle of a sentence
LONGEST_S = 12.0  # a longer one is divided, at a comma or a pause if there is one
LONGEST_CHARACTERS = 240
SNAP_S = 0.5  # the first word of a span begins with the span, if alignment says nearly so
ABBREVIATION = re.compile(r"(mr|mrs|ms|dr|st|prof|jr|vs|fig|gen|col|capt|lt|rev|e\.g|i\.e|[a-z])\.", re.IGNORECASE)
CLAUSE_ENDS = tuple(",;:，；：、—")


def stitch(chunk: Chunk, recognized: RecognizedChunk, *, knows_speech: bool = True) -> tuple[Segment, ...]:
    """
    Segments whose texts, joined, are the chunk's text.

    Without word times there is one, from the first speech in the chunk to the last.

    Args:
        knows_speech: The chunk's spans were detected; else they say nothing of where somebody begins and ends.
    """
    if not recognized.text.strip():
        return ()
    words = place([word.shifted(chunk.start) for word in recognized.words], chunk.spans)
    if not words or "".join(word.text for word in words) != recognized.text:
        return (_whole(chunk, recognized, words),)
    groups = [group for sentence in _sentences(words) for group in _divided(sentence)]
    spans = chunk.spans if knows_speech else ()
    ends = [0.0] + [group[-1].end for group in groups]
    starts = [group[0].start for group in groups[1:]] + [math.inf]
    return tuple(
        _segment(chunk, recognized, group, _edges(group, Span(end, start), spans))
        for group, end, start in zip(groups, ends, starts, strict=False)
    )


def _whole(chunk: Chunk, recognized: RecognizedChunk, words: tuple[Word, ...]) -> Segment:
    edges = Span(chunk.spans[0].start, chunk.spans[-1].end) if chunk.spans else Span(chunk.start, chunk.end)
    return _segment(chunk, recognized, words, edges, recognized.text, recognized.tokens)


def _segment(
    chunk: Chunk,
    recognized: RecognizedChunk,
    words: Sequence[Word],
    edges: Span,
    text: str | None = None,
    tokens: tuple[int, ...] | None = None,
) -> Segment:
    return Segment(
        start=edges.start,
        end=edges.end,
        text="".join(word.text for word in words) if text is None else text,
        language=recognized.language,
        tokens=tuple(token for word in words for token in word.tokens) if tokens is None else tokens,
        temperature=recognized.temperature,
        avg_logprob=recognized.avg_logprob,
        compression_ratio=recognized.compression_ratio,
        no_speech_prob=recognized.no_speech_prob,
        chunk_start=chunk.start,
        channel=chunk.channel,
        words=tuple(words),
    )


def _sentences(words: Sequence[Word]) -> Iterator[list[Word]]:
    group = [words[0]]
    for word, following in pairwise(words):
        if _is_end(word, following):
            yield group
            group = []
        group.append(following)
    yield group


def _is_end(word: Word, following: Word) -> bool:
    if following.start - word.end >= PAUSE_S:
        return True
    return ends_sentence(word.text) and ABBREVIATION.fullmatch(word.text.strip()) is None


def _divided(words: list[Word]) -> list[list[Word]]:
    """Halves, until none is too long, cut after a comma, or else at the longest pause, near the middle."""
    if len(words) < 2 or (words[-1].end - words[0].start <= LONGEST_S and _characters(words) <= LONGEST_CHARACTERS):
        return [words]
    middle = len(words) / 2
    cut = max(
        range(1, len(words)),
        key=lambda i: (
            words[i - 1].text.rstrip().endswith(CLAUSE_ENDS) and 0.2 < i / len(words) < 0.8,
            round(words[i].start - words[i - 1].end, 1) if 0.2 < i / len(words) < 0.8 else -1.0,
            -abs(i - middle),
        ),
    )
    return _divided(words[:cut]) + _divided(words[cut:])


def _characters(words: Sequence[Word]) -> int:
    return sum(len(word.text) for word in words)


def _edges(words: Sequence[Word], room: Span, spans: Sequence[Span]) -> Span:
    """From the first word to the last, or to the edges of speech where these are near and no other words are."""
    start, end = words[0].start, words[-1].end
    for span in spans:
        if max(room.start, start - SNAP_S) <= span.start <= start:
            start = span.start
        if end <= span.end <= min(room.end, end + SNAP_S):
            end = span.end
    return Span(start, end)
