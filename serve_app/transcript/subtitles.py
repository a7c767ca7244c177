"""SRT and WebVTT: segments as cues, broken into lines where the reader wants them short."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from serve_app.transcript.types import Segment

DEFAULT_WIDTH = 42  # of a line, where only the number of lines is given: what broadcasters use


@dataclass(frozen=True, slots=True)
class Lines:
    """How a cue is broken; None leaves it as it is."""

    max_width: int | None = None  # characters
    max_count: int | None = None  # lines; what does not fit becomes a cue of its own

    @property
    def width(self) -> int | None:
        return DEFAULT_WIDTH if self.max_width is None and self.max_count is not None else self.max_width


@dataclass(frozen=True, slots=True)
class Cue:
    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """What stays together: a word, with the space before it."""

    text: str
    start: float
    end: float


def srt(segments: Iterable[Segment], lines: Lines = Lines()) -> str:
    return "".join(
        f"{n}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n{_srt_text(cue)}\n\n"
        for n, cue in enumerate(cues(segments, lines), start=1)
    )


def vtt(segments: Iterable[Segment], lines: Lines = Lines()) -> str:
    shown = (
        f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{_vtt_text(cue)}\n\n"
        for cue in cues(segments, lines)
    )
    return "WEBVTT\n\n" + "".join(shown)


def cues(segments: Iterable[Segment], lines: Lines) -> Iterator[Cue]:
    """The cues of a transcript, in order; each lasts at least one millisecond, as WebVTT requires."""
    for segment in segments:
        text = " ".join(segment.text.split())
        if not text:
            continue
        if lines.width is None:
            yield _cue(segment.start, segment.end, (text,))
        else:
            yield from _broken(segment, lines.width, lines.max_count)


def _broken(segment: Segment, width: int, max_count: int | None) -> Iterator[Cue]:
    wrapped = _wrap(_pieces(segment, width), width)
    count = max_count or len(wrapped)
    for first in range(0, len(wrapped), count):
        rows = wrapped[first : first + count]
        yield _cue(rows[0][0].start, rows[-1][-1].end, tuple(_joined(row) for row in rows))


def _wrap(pieces: Iterable[_Piece], width: int) -> list[list[_Piece]]:
    rows: list[list[_Piece]] = [[]]
    for piece in pieces:
        if rows[-1] and len(_joined([*rows[-1], piece])) > width:
            rows.append([])
        rows[-1].append(piece)
    return rows


def _joined(row: list[_Piece]) -> str:
    return " ".join("".join(piece.text for piece in row).split())


def _pieces(segment: Segment, width: int) -> Iterator[_Piece]:
    for piece in _words(segment):
        yield from _cut(piece, width)


def _words(segment: Segment) -> Iterable[_Piece]:
    """The words as they were aligned; without alignment, the time is shared out by length."""
    if segment.words:
        return [_Piece(word.text, word.start, word.end) for word in segment.words if word.text.strip()]
    return _shared_out(re.findall(r"\s*\S+", segment.text), segment.start, segment.end)


def _cut(piece: _Piece, width: int) -> Iterable[_Piece]:
    """A word longer than a line is cut."""
    bare = piece.text.strip()
    if len(bare) <= width:
        return [piece]
    parts = [bare[at : at + width] for at in range(0, len(bare), width)]
    space = piece.text[: len(piece.text) - len(piece.text.lstrip())]
    return _shared_out([space + parts[0], *parts[1:]], piece.start, piece.end)


def _shared_out(texts: list[str], start: float, end: float) -> list[_Piece]:
    per_character = (end - start) / max(1, sum(map(len, texts)))
    pieces = []
    for text in texts:
        after = start + len(text) * per_character
        pieces.append(_Piece(text, start, after))
        start = after
    return pieces


def _cue(start: float, end: float, lines: tuple[str, ...]) -> Cue:
    start_ms = round(start * 1000)
    return Cue(start_ms, max(round(end * 1000), start_ms + 1), lines)


def _srt_text(cue: Cue) -> str:
    return "\n".join(cue.lines).replace("-->", "->")  # an arrow would read as a line of times


def _vtt_text(cue: Cue) -> str:
    return html.escape("\n".join(cue.lines), quote=False)


def _clock(ms: int, point: str) -> str:
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{ms // 1000:02}{point}{ms % 1000:03}"
