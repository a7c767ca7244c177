import pytest

from serve_app.pipeline.spans import SpanTracker, WindowSpan
from serve_app.transcript.types import SpeechOptions

OPTIONS = SpeechOptions(threshold=0.5, min_silence_s=0.096)  # three windows


def spans(probabilities: list[float], options: SpeechOptions = OPTIONS) -> list[WindowSpan]:
    tracker = SpanTracker(options)
    found = [tracker.feed(probability) for probability in probabilities] + [tracker.finish()]
    return [span for span in found if span is not None]


def test_silence_has_no_span() -> None:
    assert spans([0.05] * 50) == []


def test_a_span_lasts_from_the_first_loud_window_to_the_first_silent_one() -> None:
    assert spans([0.05, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1]) == [WindowSpan(1, 3)]


def test_a_span_begins_where_the_probability_began_to_rise_to_it() -> None:
    assert spans([0.05, 0.2, 0.3, 0.9, 0.05, 0.05, 0.05]) == [WindowSpan(1, 4)]
    assert spans([0.2] * 40 + [0.9]) == [WindowSpan(30, 41)]


def test_a_span_that_rises_from_another_does_not_reach_into_it() -> None:
    assert spans([0.9, 0.3, 0.3, 0.3, 0.9]) == [WindowSpan(0, 1), WindowSpan(1, 5)]


def test_a_short_pause_does_not_end_a_span() -> None:
    assert spans([0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1]) == [WindowSpan(0, 4)]


def test_a_span_goes_on_between_the_two_thresholds() -> None:
    assert spans([0.9, 0.4, 0.4, 0.4, 0.4, 0.1, 0.1, 0.1]) == [WindowSpan(0, 5)]


def test_a_span_that_is_open_at_the_end_ends_there() -> None:
    assert spans([0.05, 0.9, 0.9]) == [WindowSpan(1, 3)]


def test_without_the_filter_everything_is_one_span() -> None:
    assert spans([0.0, 0.9, 0.0, 0.0, 0.0, 0.0], SpeechOptions(vad_filter=False)) == [WindowSpan(0, 6)]


def test_an_open_span_can_be_cut_inside() -> None:
    tracker = SpanTracker(OPTIONS)
    for _ in range(10):
        tracker.feed(0.9)

    assert tracker.cut(4) == WindowSpan(0, 4)
    assert tracker.finish() == WindowSpan(4, 10)
    with pytest.raises(ValueError, match="no open span"):
        tracker.cut(5)
