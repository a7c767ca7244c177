"""From wire words to `TranscriptionOptions`."""

from __future__ import annotations

import pytest

from serve_app.api.forms import parse
from serve_app.api.schemas import TranscriptionForm, TranslationForm
from serve_app.settings import DecodingSettings, Settings, SpeechSettings
from serve_app.transcript.types import Channels, Task, TranscriptionOptions

SETTINGS = Settings(
    decoding=DecodingSettings(beam_size=3, temperatures=(0.0, 0.5)),
    speech=SpeechSettings(vad_filter=False, threshold=0.4, min_silence_s=0.3, padding_s=0.1),
)


def options(**fields: str | list[str]) -> TranscriptionOptions:
    pairs = [("model", "tiny.en")]
    for name, value in fields.items():
        pairs += [(name, one) for one in (value if isinstance(value, list) else [value])]
    return parse(TranscriptionForm, pairs).options(SETTINGS, "tiny.en")


def test_absent_fields_are_the_settings_defaults() -> None:
    plain = options()

    assert plain.decoding.beam_size == 3
    assert plain.decoding.temperatures == (0.0, 0.5)
    assert plain.decoding.language is None
    assert plain.speech.vad_filter is False
    assert (plain.speech.threshold, plain.speech.min_silence_s, plain.speech.padding_s) == (0.4, 0.3, 0.1)
    assert plain.channels is Channels.MIX


@pytest.mark.parametrize(
    ("temperature", "ladder"),
    [
        ("0", (0.0, 0.5)),
        ("0.0", (0.0, 0.5)),
        ("0.3", (0.3,)),
        ("[0.0]", (0.0,)),
        ("[0, 0.2]", (0.0, 0.2)),
        (["0", "0.2"], (0.0, 0.2)),
    ],
)
def test_temperature_is_a_ladder(temperature: str | list[str], ladder: tuple[float, ...]) -> None:
    assert options(temperature=temperature).decoding.temperatures == ladder


@pytest.mark.parametrize(
    ("response_format", "timed"),
    [("json", False), ("text", False), ("srt", True), ("vtt", True), ("verbose_json", True), ("diarized_json", True)],
)
def test_words_are_aligned_only_when_the_answer_carries_times(response_format: str, timed: bool) -> None:
    assert options(response_format=response_format, channels="separate").decoding.word_times is timed


@pytest.mark.parametrize("language", ["de", "DE", "german", "German", "de-AT", "de_CH", " de "])
def test_language_is_read_in_every_spelling(language: str) -> None:
    assert options(language=language).decoding.language == "de"


def test_keywords_and_hotwords_are_one() -> None:
    assert options(hotwords="Ada", keywords=["Babbage", "Lovelace"]).decoding.hotwords == "Ada, Babbage, Lovelace"


def test_candidates_are_each_named_once() -> None:
    assert options(languages=["de", "German", "fr"]).decoding.languages == ("de", "fr")


def test_extensions_arrive() -> None:
    given = options(
        vad_filter="true",
        beam_size="1",
        condition_on_previous_text="true",
        multilingual="1",
        channels="separate",
        include="logprobs",
        prompt="A talk.",
    )

    assert given.speech.vad_filter
    assert given.decoding.beam_size == 1
    assert given.condition_on_previous_text
    assert given.multilingual
    assert given.channels is Channels.SEPARATE
    assert given.decoding.logprobs
    assert given.decoding.prompt == "A talk."


def test_translation_is_another_task() -> None:
    form = parse(TranslationForm, [("model", "m"), ("language", "de")])

    assert form.options(SETTINGS, "m").decoding.task is Task.TRANSLATE
    assert form.options(SETTINGS, "m").decoding.language == "de"


def test_what_translations_lack_is_refused_and_never_ignored() -> None:
    assert TranslationForm.refused.keys() == TranscriptionForm.model_fields.keys() - TranslationForm.model_fields.keys()


@pytest.mark.parametrize("nothing", ["", "false", "False"])
def test_translation_may_say_that_it_wants_no_stream(nothing: str) -> None:
    form = parse(TranslationForm, [("model", "m"), ("stream", nothing)])

    assert form.model == "m"


def test_what_applies_to_translations_arrives() -> None:
    pairs = [("model", "m"), ("chunking_strategy[type]", "server_vad"), ("chunking_strategy[threshold]", "0.7")]
    given = parse(TranslationForm, [*pairs, ("hotwords", "Ada"), ("beam_size", "1")]).options(SETTINGS, "m")

    assert given.speech.threshold == 0.7
    assert (given.decoding.hotwords, given.decoding.beam_size) == ("Ada", 1)


def test_only_what_was_asked_for_is_shown() -> None:
    form = parse(TranscriptionForm, [("model", "m"), ("response_format", "srt"), ("max_line_width", "20")])

    assert form.layout.lines.width == 20
    assert (form.layout.segments, form.layout.words, form.layout.logprobs) == (True, False, False)


def test_hints_keep_the_part_that_the_decoder_looks_at_however_long_they_are() -> None:
    """Each chunk reads them again: 800 kB of prompt cost a second for every half minute of audio."""
    hints = options(prompt="a" * 900_000 + "end", hotwords="begin" + "a" * 900_000, keywords=["b"] * 10_000).decoding

    assert (len(hints.prompt), len(hints.hotwords)) == (8192, 8192)
    assert hints.prompt.endswith("end")
    assert hints.hotwords.startswith("begin")
