"""Cues that any player reads."""

from __future__ import annotations

import re
from datetime import timedelta
from io import StringIO

import pytest
import srt as strict_srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from serve_app.transcript.subtitles import Lines, cues, srt, vtt
from tests.unit.transcript.examples import spoken, word

LONG = " The quick brown fox jumps over the lazy dog and runs away."


def test_srt_is_numbered_and_ends_each_cue_with_an_empty_line() -> None:
    shown = srt([spoken(" Hello there.", 0.0, 1.2), spoken(" Bye.", 3600.5, 3661.999)])

    assert shown == ("1\n00:00:00,000 --> 00:00:01,200\nHello there.\n\n2\n01:00:00,500 --> 01:01:01,999\nBye.\n\n")


def test_vtt_has_its_header_and_dots() -> None:
    assert vtt([spoken(" Hi.", 0.0, 1.2)]) == "WEBVTT\n\n00:00:00.000 --> 00:00:01.200\nHi.\n\n"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(2.01, "00:00:02,010"), (0.0005, "00:00:00,000"), (59.9996, "00:01:00,000"), (360_000.0, "100:00:00,000")],
)
def test_times_are_rounded_once(seconds: float, shown: str) -> None:
    assert srt([spoken(" x", seconds, seconds + 10)]).splitlines()[1].startswith(shown)


def test_cue_lasts_at_least_a_millisecond() -> None:
    (cue,) = cues([spoken(" x", 1.0, 1.0)], Lines())

    assert (cue.start_ms, cue.end_ms) == (1000, 1001)


def test_text_cannot_break_out_of_its_cue() -> None:
    segment = spoken(" a\n\n00:00 --> 00:01 <b>&", 0.0, 1.0)
    (cue,) = webvtt.from_buffer(StringIO(vtt([segment])))

    assert vtt([segment]).splitlines()[3] == "a 00:00 --&gt; 00:01 &lt;b&gt;&amp;"
    assert cue.end == "00:00:01.000"
    assert [c.content for c in strict_srt.parse(srt([segment]))] == ["a 00:00 -> 00:01 <b>&"]


def test_segment_without_text_is_no_cue() -> None:
    assert srt([spoken("  "), spoken(" x")]).startswith("1\n")
    assert srt([spoken("  ")]) == ""


def test_lines_are_wrapped_at_the_width() -> None:
    (cue,) = cues([spoken(LONG, 0.0, 6.0)], Lines(max_width=20))

    assert cue.lines == ("The quick brown fox", "jumps over the lazy", "dog and runs away.")
    assert (cue.start_ms, cue.end_ms) == (0, 6000)


def test_cue_with_too_many_lines_is_split_at_word_times() -> None:
    first, second = cues([spoken(LONG, 0.0, 6.0)], Lines(max_width=20, max_count=2))

    assert first.lines == ("The quick brown fox", "jumps over the lazy")
    assert second.lines == ("dog and runs away.",)
    assert first.end_ms == second.start_ms == 4000  # the eighth of twelve words ends at 4 s
    assert second.end_ms == 6000


def test_count_alone_has_a_width_of_its_own() -> None:
    assert [cue.lines for cue in cues([spoken(LONG)], Lines(max_count=1))] == [
        ("The quick brown fox jumps over the lazy",),
        ("dog and runs away.",),
    ]


def test_language_without_spaces_is_broken_between_its_words() -> None:
    words = (word("今日は", 0.0, 1.0), word("天気が", 1.0, 2.0), word("いい", 2.0, 3.0))
    first, second = cues([spoken("今日は天気がいい", 0.0, 3.0, words=words)], Lines(max_width=6, max_count=1))

    assert (first.lines, second.lines) == (("今日は天気が",), ("いい",))
    assert (first.end_ms, second.start_ms) == (2000, 2000)


@given(
    text=st.text(st.characters(codec="utf-8"), max_size=80),
    aligned=st.booleans(),
    width=st.integers(1, 50),
    count=st.none() | st.integers(1, 3),
)
def test_no_line_is_too_wide_no_cue_too_tall_and_nothing_is_lost(
    text: str, aligned: bool, width: int, count: int | None
) -> None:
    segment = spoken(text, 1.0, 3.0) if aligned else spoken(text, 1.0, 3.0, words=())
    shown = list(cues([segment], Lines(width, count)))

    assert all(len(line) <= width for cue in shown for line in cue.lines)
    assert all(len(cue.lines) <= (count or 1000) for cue in shown)
    assert _letters("".join(line for cue in shown for line in cue.lines)) == _letters(text)
    assert [cue.start_ms for cue in shown] == sorted(cue.start_ms for cue in shown)


@given(texts=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30), max_size=5))
def test_other_people_s_parser_reads_every_srt(texts: list[str]) -> None:
    segments = [spoken(text, n, n + 0.5) for n, text in enumerate(texts)]
    read = list(strict_srt.parse(srt(segments)))

    assert [cue.start for cue in read] == [timedelta(seconds=n) for n, text in enumerate(texts) if text.split()]


def _letters(text: str) -> str:
    return re.sub(r"\s", "", "".join(text.split()))
