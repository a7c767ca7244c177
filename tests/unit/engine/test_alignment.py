"""Word times from an alignment path."""

from __future__ import annotations

from itertools import pairwise

from faster_whisper.tokenizer import Tokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve_app.engine.alignment import ENCODER_FRAME_S, Alignment, words_of


def path(frames: list[int]) -> list[tuple[int, int]]:
    """A path where token n begins at frame `frames[n]`; the last entry is where the text ends."""
    ends = [*frames[1:], frames[-1] + 1]
    return [
        (n, f)
        for n, (first, end) in enumerate(zip(frames, ends, strict=True))
        for f in range(first, max(end, first + 1))
    ]


def aligned(
    tokenizer: Tokenizer, text: str, frames: list[int], duration_s: float = 30.0
) -> list[tuple[str, float, float]]:
    tokens = tokenizer.encode(text)
    assert len(frames) == len(tokens) + 1
    words = words_of(Alignment(path(frames), [0.5] * len(tokens)), tokens, tokenizer, duration_s)
    assert [t for w in words for t in w.tokens] == tokens
    return [(w.text, round(w.start, 2), round(w.end, 2)) for w in words]


def test_a_word_lasts_from_its_first_token_to_the_next_word(tokenizer: Tokenizer) -> None:
    assert aligned(tokenizer, " And so my", [0, 10, 25, 40]) == [
        (" And", 0.0, 0.2),
        (" so", 0.2, 0.5),
        (" my", 0.5, 0.8),
    ]


def test_punctuation_belongs_to_its_word_and_takes_no_time_from_it(tokenizer: Tokenizer) -> None:
    words = aligned(tokenizer, " And so, my", [0, 10, 25, 40, 55])

    assert words == [(" And", 0.0, 0.2), (" so,", 0.2, 0.5), (" my", 0.8, 1.1)]


def test_an_opening_quotation_mark_belongs_to_the_word_after_it(tokenizer: Tokenizer) -> None:
    words = aligned(tokenizer, ' " so', [0, 10, 25])

    assert words == [(' " so', 0.2, 0.5)]


def test_the_pause_after_a_sentence_is_not_part_of_the_next_word(tokenizer: Tokenizer) -> None:
    words = aligned(tokenizer, " And so. My", [0, 10, 20, 21, 150])

    assert words[2][0] == " My"
    assert words[2][2] - words[2][1] < 1.5


def test_words_stay_inside_the_chunk(tokenizer: Tokenizer) -> None:
    assert aligned(tokenizer, " And so my", [0, 10, 25, 90], duration_s=0.4)[-1] == (" my", 0.4, 0.4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jumps=st.lists(st.integers(0, 100), min_size=9, max_size=9), duration_s=st.floats(0, 30))
def test_words_rise_and_never_overlap(tokenizer: Tokenizer, jumps: list[int], duration_s: float) -> None:
    frames = [sum(jumps[: n + 1]) for n in range(9)]
    words = aligned(tokenizer, " And so. My fellow, Americans ask", frames, duration_s)

    assert all(0 <= start <= end <= duration_s + ENCODER_FRAME_S for _, start, end in words)
    assert all(before[2] <= after[1] for before, after in pairwise(words))
