"""The arithmetic of word error rates."""

from __future__ import annotations

import pytest

from benchmarks.word_errors import WordErrors, word_errors


def test_what_the_normaliser_makes_equal_is_no_error() -> None:
    assert word_errors([("Mr. Smith can't pay twenty pounds.", "mister smith can not pay £20")]).edits == 0


def test_every_kind_of_edit_counts_once() -> None:
    errors = word_errors([("red fox jumps high", "red dog jumps very"), ("red fox", "red"), ("red fox", "a red fox")])

    assert errors == WordErrors(edits=4, words=8)


def test_a_long_clip_weighs_more_than_a_short_one() -> None:
    errors = word_errors([("red fox jumps over dogs", "red fox jumps over dogs"), ("red", "dog")])

    assert errors.rate == pytest.approx(1 / 6)


def test_silence_where_something_was_said_is_all_errors() -> None:
    assert word_errors([("red fox", "")]).rate == 1.0


def test_a_reference_without_words_counts_for_nothing() -> None:
    assert word_errors([("[applause]", "invented words")]) == WordErrors(0, 0)
    assert WordErrors(0, 0).rate == 0.0
