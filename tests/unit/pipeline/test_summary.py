from serve_app.pipeline.records import EndOfSound
from serve_app.pipeline.summary import Summary
from serve_app.transcript.types import DecodingOptions, TranscriptionOptions, WarningCode
from tests.unit.pipeline.examples import chunk, heard

DETECT = TranscriptionOptions(DecodingOptions("base"))
GIVEN = TranscriptionOptions(DecodingOptions("base", language="fr"))


def test_silence_is_warned_of_and_has_no_language() -> None:
    finished = Summary(DETECT).finish(EndOfSound(3.0), 1)

    assert [warning.code for warning in finished.warnings] == [WarningCode.NO_SPEECH]
    assert (finished.language, finished.language_probability) == ("", 0.0)


def test_silence_has_the_language_that_was_given() -> None:
    assert Summary(GIVEN).finish(EndOfSound(3.0), 1).language == "fr"


def test_chunks_without_words_are_silence() -> None:
    summary = Summary(DETECT)
    summary.add(chunk((0, 2)), heard(""))

    assert [warning.code for warning in summary.finish(EndOfSound(3.0), 1).warnings] == [WarningCode.NO_SPEECH]


def test_the_language_is_the_most_spoken_with_the_probability_of_its_detection() -> None:
    summary = Summary(DETECT)
    summary.add(chunk((0, 2)), heard(" Yes.", language="en", probability=0.7))
    summary.add(chunk((0, 9)), heard(" Oui.", language="fr", probability=0.8))
    summary.add(chunk((0, 9)), heard(" Non.", language="fr", probability=1.0))
    finished = summary.finish(EndOfSound(20.0), 1)

    assert (finished.language, finished.language_probability) == ("fr", 0.8)
    assert finished.speech_s == 20
    assert finished.warnings == ()


def test_a_doubtful_detection_is_warned_of_once() -> None:
    summary = Summary(DETECT)
    summary.add(chunk((0, 2)), heard(" Ja.", probability=0.3, warnings=(WarningCode.LANGUAGE_UNCERTAIN,)))
    summary.add(chunk((3, 4), start=3), heard(" Ja.", probability=1.0))

    assert [warning.code for warning in summary.finish(EndOfSound(4.0), 1).warnings] == [WarningCode.LANGUAGE_UNCERTAIN]


def test_warnings_of_chunks_say_where_they_are() -> None:
    summary = Summary(GIVEN)
    summary.add(chunk((3, 5), start=3), heard(" la la la", warnings=(WarningCode.REPETITION,)))
    (warning,) = summary.finish(EndOfSound(6.0), 1).warnings

    assert (warning.code, warning.start, warning.end) == (WarningCode.REPETITION, 3.0, 5.0)
    assert warning.message


def test_damage_is_warned_of_in_the_decoders_words() -> None:
    (warning, _) = Summary(GIVEN).finish(EndOfSound(6.0, "The file ends early."), 1).warnings

    assert (warning.code, warning.message) == (WarningCode.TRUNCATED_MEDIA, "The file ends early.")
