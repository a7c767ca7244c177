from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.pipeline.stitch import LONGEST_S, stitch
from serve_app.transcript.types import Segment, Word
from tests.unit.pipeline.examples import chunk, heard, words


def edges(segments: tuple[Segment, ...]) -> list[tuple[float, float]]:
    return [(segment.start, segment.end) for segment in segments]


def test_nothing_said_gives_no_segment() -> None:
    assert stitch(chunk((0, 2)), heard(" ")) == ()


def test_without_word_times_a_chunk_is_one_segment_from_its_first_speech_to_its_last() -> None:
    (segment,) = stitch(chunk((10.2, 12), (13, 14.5), start=10.0), heard(" One. Two."))

    assert (segment.start, segment.end, segment.text) == (10.2, 14.5, " One. Two.")
    assert segment.chunk_start == 10.0


def test_sentences_become_segments_with_their_own_tokens() -> None:
    said = words("Yes, sir. No!", (0.1, 0.5), (0.5, 1.0), (1.1, 1.8))
    first, second = stitch(chunk((0, 2)), heard(" Yes, sir. No!", said))

    assert (first.text, second.text) == (" Yes, sir.", " No!")
    assert (first.tokens, second.tokens) == ((0, 1), (2,))


@pytest.mark.parametrize("text", ["Mr. Smith", "J. Smith", "3.5 metres"])
def test_a_point_inside_a_sentence_does_not_end_it(text: str) -> None:
    assert len(stitch(chunk((0, 2)), heard(" " + text, words(text, (0.1, 0.5), (0.5, 1.0))))) == 1


@pytest.mark.parametrize("text", ["你好。", "何？", "¿Qué? ”"])
def test_sentences_end_in_other_scripts_too(text: str) -> None:
    said = (Word(0.1, 0.5, text, 0.9), Word(0.5, 1.0, "再见", 0.9))

    assert len(stitch(chunk((0, 2)), heard(text + "再见", said))) == 2


def test_a_long_pause_ends_a_segment() -> None:
    said = words("one two", (0.1, 0.5), (2.0, 2.5))

    assert len(stitch(chunk((0, 0.6), (1.9, 3)), heard(" one two", said))) == 2


def test_edges_are_those_of_the_speech_where_it_begins_and_ends_with_the_segment() -> None:
    said = words("One two. Three.", (10.3, 10.6), (10.6, 11.7), (13.4, 14.2))
    said = tuple(word.shifted(-10) for word in said)
    segments = stitch(chunk((10.1, 12), (13.1, 14.5), start=10.0), heard(" One two. Three.", said))

    assert edges(segments) == [(10.1, 12), (13.1, 14.5)]


def test_edges_never_reach_into_another_segment() -> None:
    said = words("Yes. Go.", (0.0, 0.3), (0.3, 0.6))
    first, second = stitch(chunk((0, 0.7)), heard(" Yes. Go.", said))

    assert edges((first, second)) == [(0.0, 0.3), (0.3, 0.7)]


def test_words_that_do_not_make_up_the_text_are_not_used_to_divide_it() -> None:
    (segment,) = stitch(chunk((0, 2)), heard(" One. Two.", words("One.", (0.1, 0.5))))

    assert segment.text == " One. Two."


lengths = st.floats(0, 3, allow_nan=False)


@settings(deadline=None)
@given(st.lists(st.tuples(lengths, lengths, st.sampled_from([" a", " b,", " c.", "d"])), min_size=1, max_size=40))
def test_segments_join_to_the_text_in_order_and_are_not_long(parts: list[tuple[float, float, str]]) -> None:
    said, now = [], 0.0
    for gap, length, text in parts:
        said.append(Word(now + gap, now + gap + length, text, 0.9))
        now += gap + length
    text = "".join(word.text for word in said)
    segments = stitch(chunk((0, now + 1)), heard(text, tuple(said)))

    assert "".join(segment.text for segment in segments) == text
    assert all(before.end <= after.start for before, after in pairwise(segments))
    assert all(len(s.words) == 1 or s.words[-1].end - s.words[0].start <= LONGEST_S for s in segments)
