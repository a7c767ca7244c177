"""Whisper's rules for a decoding, and our guard against loops."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from serve_app.engine import quality


@dataclass(frozen=True)
class Sample:
    text: str = " Thank you."
    tokens: tuple[int, ...] = (1, 2, 3)
    avg_logprob: float = -0.2
    compression_ratio: float = 1.1
    no_speech_prob: float = 0.02
    complete: bool = True


def test_a_plain_decoding_passes() -> None:
    assert quality.passes(Sample())


@pytest.mark.parametrize(
    "failing",
    [
        Sample(avg_logprob=-1.01),
        Sample(compression_ratio=2.41),
        Sample(complete=False),
        Sample(tokens=(7, 8, 9, 10) * 4),
        Sample(tokens=(1, 2, 3, 4, 5, 6, 7, 8) * 2),
        Sample(no_speech_prob=0.5, avg_logprob=-1.2),
    ],
    ids=["doubtful", "compressible", "cut off", "loop", "said twice", "doubtful speech"],
)
def test_each_rule_asks_for_another_decoding(failing: Sample) -> None:
    assert not quality.passes(failing)


def test_silence_needs_no_other_decoding() -> None:
    silence = Sample(no_speech_prob=0.7, avg_logprob=-1.2)

    assert quality.is_silence(silence)
    assert quality.passes(silence)


@pytest.mark.parametrize(
    "invented",
    [Sample(no_speech_prob=0.85, avg_logprob=-0.8), Sample(text=" . . .", no_speech_prob=0.7, avg_logprob=-0.3)],
    ids=["surely no speech", "mere punctuation"],
)
def test_noise_that_slips_through_whispers_rule_is_silence_too(invented: Sample) -> None:
    assert quality.is_silence(invented)


def test_a_confident_text_is_kept_although_the_model_doubts_that_it_is_speech() -> None:
    assert not quality.is_silence(Sample(no_speech_prob=0.9, avg_logprob=-0.3))


def test_repetition_compresses_well_and_speech_does_not() -> None:
    assert quality.compression_ratio("Thank you for watching. " * 20) > quality.MAX_COMPRESSION_RATIO
    assert quality.compression_ratio("Ask not what your country can do for you.") < quality.MAX_COMPRESSION_RATIO
    assert quality.compression_ratio("") == 0.0


def test_a_loop_is_found_up_to_its_last_broken_round() -> None:
    tokens = [1, 2, *[3, 4, 5, 6] * 5, 3, 4, 9]

    found = quality.find_loop(tokens)

    assert found == (6, 24)  # the first round, at 2 to 5, is kept


def test_one_word_said_a_few_times_is_no_loop() -> None:
    assert quality.find_loop([5, 6] * 4) is None
    assert quality.find_loop([]) is None
