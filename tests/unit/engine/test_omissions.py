"""Speech that a decoding left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from serve_app.engine import omissions
from serve_app.engine.decoding import Decoding, Utterance
from serve_app.transcript.types import Task, Word


def decoding(tokens: int = 10, avg_logprob: float = -0.2, **changes: object) -> Decoding:
    plain = Decoding(
        text=" word" * tokens,
        tokens=tuple(range(tokens)),
        language="en",
        language_probability=1.0,
        temperature=0.0,
        avg_logprob=avg_logprob,
        compression_ratio=1.0,
        no_speech_prob=0.01,
        complete=True,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def utterance(frames: int = 2000, quiet: slice = slice(900, 950)) -> Utterance:
    features = np.ones((80, frames), np.float32)
    features[:, quiet] = -1
    return Utterance(features, (), Task.TRANSCRIBE, ("en", "de"), wants_words=True, wants_logprobs=False)


@pytest.mark.parametrize(
    ("tokens", "duration_s", "sparse"),
    [(24, 11.0, False), (21, 18.6, True), (0, 20.0, True), (3, 5.0, False)],
    ids=["slow speech", "stopped early", "nothing in 20 s", "short"],
)
def test_a_text_far_slower_than_speech_is_sparse(tokens: int, duration_s: float, sparse: bool) -> None:
    assert omissions.is_sparse(decoding(tokens), duration_s) is sparse


def test_silence_is_not_sparse() -> None:
    assert not omissions.is_sparse(decoding(1, no_speech_prob=0.9, avg_logprob=-1.5), 20.0)


def test_the_cut_is_in_the_pause_and_loses_no_frame() -> None:
    whole = utterance()

    first, second = omissions.halves(whole, "de")

    assert 900 <= first.features.shape[1] <= 950
    assert first.features.shape[1] + second.features.shape[1] == 2000
    assert first.languages == second.languages == ("de",)


def test_a_pause_at_the_edge_does_not_make_a_useless_half() -> None:
    first, _ = omissions.halves(utterance(quiet=slice(0, 100)), "en")

    assert first.features.shape[1] >= 700


def test_joined_halves_keep_their_order_and_their_times() -> None:
    first = decoding(20, words=(Word(0.5, 1.0, " one", 0.9, (1,)),))
    second = decoding(10, -0.3, words=(Word(0.25, 0.5, " two", 0.9, (2,)),), temperature=0.2)

    joined = omissions.mended(decoding(12), first, second, cut=900)

    assert len(joined.tokens) == 30
    assert [(w.text, w.start, w.end) for w in joined.words] == [(" one", 0.5, 1.0), (" two", 9.25, 9.5)]
    assert joined.temperature == 0.2
    assert -0.3 < joined.avg_logprob < -0.2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (decoding(6), decoding(6)),
        (decoding(20), decoding(20, -1.5)),
        (decoding(20, -0.6), decoding(20, -0.6)),
        (decoding(1, -1.5, no_speech_prob=0.9), decoding(1, -1.5, no_speech_prob=0.9)),
    ],
    ids=["little gained", "a half fails", "less believed", "both silent"],
)
def test_the_whole_stays_when_the_halves_are_not_clearly_better(first: Decoding, second: Decoding) -> None:
    whole = decoding(12)

    assert omissions.mended(whole, first, second, cut=900) is whole


@pytest.mark.parametrize(
    ("changes", "duration_s", "cut_off"),
    [
        ({"complete": False}, 20.0, True),
        ({"complete": True}, 20.0, False),
        ({"complete": False, "compression_ratio": 3.0}, 20.0, False),
        ({"complete": False, "no_speech_prob": 0.9, "avg_logprob": -1.5}, 20.0, False),
        ({"complete": False}, 5.0, False),
    ],
    ids=["at the limit", "ended", "loop", "silence", "short"],
)
def test_a_text_at_the_limit_of_tokens_is_cut_off(changes: dict[str, object], duration_s: float, cut_off: bool) -> None:
    assert omissions.is_cut_off(decoding(224, **changes), duration_s) is cut_off  # type: ignore[arg-type]


def test_halves_that_end_are_better_than_a_text_that_is_cut_off() -> None:
    joined = omissions.mended(decoding(224, complete=False), decoding(110, -1.2), decoding(120), cut=900)

    assert len(joined.tokens) == 230
    assert joined.complete


@pytest.mark.parametrize("half", [decoding(180, complete=False), decoding(60, compression_ratio=3.0)])
def test_halves_that_are_cut_off_or_loop_are_not_better(half: Decoding) -> None:
    whole = decoding(224, complete=False)

    assert omissions.mended(whole, decoding(60), half, cut=900) is whole


def test_a_silent_half_adds_nothing() -> None:
    silent = decoding(3, -1.5, no_speech_prob=0.9, words=(Word(0, 1, " Thanks", 0.1),))

    joined = omissions.mended(decoding(5), decoding(20), silent, cut=900)

    assert joined.tokens == decoding(20).tokens
    assert joined.words == ()
