from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.pipeline.placing import place
from serve_app.transcript.types import Span, Word
from tests.unit.pipeline.examples import words

SPANS = [Span(1.0, 3.0), Span(5.0, 8.0)]


def times(placed: tuple[Word, ...]) -> list[tuple[float, float]]:
    return [(word.start, word.end) for word in placed]


def test_words_in_speech_keep_their_times() -> None:
    inside = words("one two", (1.2, 1.5), (5.1, 5.6))

    assert place(inside, SPANS) == inside


def test_a_word_that_bleeds_into_silence_is_clipped_to_the_speech_it_overlaps_most() -> None:
    bleeding = words("one two", (2.0, 4.8), (4.0, 5.5))

    assert times(place(bleeding, SPANS)) == [(2.0, 3.0), (5.0, 5.5)]


def test_a_word_in_a_silence_goes_to_the_nearer_speech() -> None:
    assert times(place(words("one", (3.1, 3.3)), SPANS)) == [(3.0, 3.0)]
    assert times(place(words("one", (4.7, 4.9)), SPANS)) == [(5.0, 5.0)]


def test_a_word_that_begins_a_sentence_in_a_silence_goes_to_the_speech_after_it() -> None:
    placed = place(words("one. Two three", (2.5, 3.0), (3.1, 3.3), (5.0, 5.5)), SPANS)

    assert times(placed) == [(2.5, 3.0), (5.0, 5.0), (5.0, 5.5)]


def test_a_word_that_ends_a_sentence_in_a_silence_goes_to_the_speech_before_it() -> None:
    assert times(place(words("one.", (4.7, 4.9)), SPANS)) == [(3.0, 3.0)]


def test_words_outside_all_speech_go_to_its_edges() -> None:
    assert times(place(words("one two", (0.0, 0.5), (9.0, 9.5)), SPANS)) == [(1.0, 1.0), (8.0, 8.0)]


def test_without_speech_words_keep_their_times() -> None:
    inside = words("one", (0.5, 0.7))

    assert place(inside, []) == inside


moments = st.floats(0, 10, allow_nan=False)


@settings(deadline=None)
@given(st.lists(st.tuples(moments, moments)))
def test_placed_words_never_go_back_and_stay_in_speech(pairs: list[tuple[float, float]]) -> None:
    placed = place([Word(min(pair), max(pair), " x", 1.0) for pair in pairs], SPANS)

    moments = [moment for word in placed for moment in (word.start, word.end)]
    assert moments == sorted(moments)
    assert all(1.0 <= moment <= 8.0 for moment in moments)
