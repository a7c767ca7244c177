"""One pass of a batch through the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from serve_app.engine.decoding import PassKey, Utterance, decode, token_limit
from serve_app.engine.models import LoadedModel
from serve_app.transcript.types import Task

from .conftest import StandInWhisper

HELLO = (" Hello.", -0.1, 0.01)


def utterance(**changes: Any) -> Utterance:
    plain: dict[str, Any] = {
        "features": np.zeros((80, 100), np.float32),
        "prefix": (),
        "task": Task.TRANSCRIBE,
        "languages": ("en",),
        "wants_words": False,
        "wants_logprobs": False,
    }
    return Utterance(**plain | changes)


def key(model: LoadedModel, *, prompt_length: int = 0, temperature: float = 0.0) -> PassKey:
    return PassKey(model, 1000, prompt_length, beam_size=5, temperature=temperature)


def test_an_english_model_is_told_no_language(model: LoadedModel, whisper: StandInWhisper) -> None:
    whisper.says = [HELLO]

    decode(key(model), [utterance(prefix=(7, 8))])

    voice = model.voice("en", Task.TRANSCRIBE)
    assert whisper.calls[0].prompts == [[7, 8, voice.sot, voice.no_timestamps]]


def test_languages_and_tasks_may_differ_in_a_batch(model: LoadedModel, whisper: StandInWhisper) -> None:
    whisper.is_multilingual = True
    whisper.says = [HELLO, HELLO]

    german, french = decode(
        key(model), [utterance(languages=("de",)), utterance(languages=("fr",), task=Task.TRANSLATE)]
    )

    starts = [[model.vocabulary.id_to_token(t) for t in prompt] for prompt in whisper.calls[0].prompts]
    assert starts == [
        ["<|startoftranscript|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>"],
        ["<|startoftranscript|>", "<|fr|>", "<|translate|>", "<|notimestamps|>"],
    ]
    assert (german.language, german.language_probability, french.language) == ("de", 1.0, "fr")


def test_the_language_is_detected_among_the_candidates(model: LoadedModel, whisper: StandInWhisper) -> None:
    whisper.is_multilingual = True
    whisper.hears = [("<|en|>", 0.6), ("<|fr|>", 0.3), ("<|de|>", 0.1)]
    whisper.says = [HELLO, HELLO]

    among_two, known = decode(key(model), [utterance(languages=("de", "fr")), utterance(languages=("de",))])

    assert among_two.language == "fr"
    assert among_two.language_probability == pytest.approx(0.75)
    assert known.language == "de"


def test_alignment_runs_for_those_who_want_it_by_language_and_skips_empty_texts(
    model: LoadedModel, whisper: StandInWhisper
) -> None:
    whisper.is_multilingual = True
    whisper.says = [HELLO, HELLO, ("", -0.1, 0.01), HELLO]
    batch = [
        utterance(languages=("de",), wants_words=True),
        utterance(languages=("de",)),
        utterance(languages=("de",), wants_words=True),
        utterance(languages=("fr",), wants_logprobs=True),
    ]

    german, plain, empty, french = decode(key(model), batch)

    assert [len(texts) for _, texts, _ in whisper.alignments] == [1, 1]
    assert [frames for _, _, frames in whisper.alignments] == [[100], [100]]
    assert [w.text for w in german.words] == [" Hello."]
    assert (plain.words, empty.words, french.words) == ((), (), ())
    assert [t.token for t in french.logprobs] == [" Hello", "."]


def test_the_score_counts_the_end_token_as_whispers_rules_do(model: LoadedModel, whisper: StandInWhisper) -> None:
    whisper.says = [(" Hello.", -0.3, 0.01)]

    decoding = decode(key(model), [utterance()])[0]

    assert decoding.avg_logprob == pytest.approx(-0.2)  # two tokens and the end share -0.6


def test_a_warm_pass_samples_and_a_cold_one_searches(model: LoadedModel, whisper: StandInWhisper) -> None:
    whisper.says = [HELLO, HELLO]

    decode(key(model), [utterance()])
    decode(key(model, temperature=0.4), [utterance()])

    cold, warm = (call.options for call in whisper.calls)
    assert cold["beam_size"] == 5
    assert (warm["beam_size"], warm["num_hypotheses"], warm["sampling_temperature"]) == (1, 5, 0.4)


def test_the_text_may_be_as_long_as_the_window_and_the_prompt_allow(
    model: LoadedModel, whisper: StandInWhisper
) -> None:
    whisper.says = [HELLO, HELLO]

    decode(key(model), [utterance()])
    decode(key(model, prompt_length=200), [utterance(prefix=(7,) * 200)])

    assert token_limit(3000) == 224
    assert [call.options["max_length"] for call in whisper.calls] == [240, 322]  # CTranslate2 leaves 120 of each


def test_a_text_that_fills_what_a_long_prompt_leaves_is_not_complete(
    model: LoadedModel, whisper: StandInWhisper
) -> None:
    whisper.says = [(" word" * 222, -0.1, 0.01), (" word" * 223, -0.1, 0.01)]
    longest = PassKey(model, 3000, 223, beam_size=5, temperature=0.0)

    decodings = [decode(longest, [utterance(prefix=(7,) * 223)])[0] for _ in range(2)]

    assert [(len(d.tokens), d.complete) for d in decodings] == [(222, True), (223, False)]  # 448 less 225 of prompt
