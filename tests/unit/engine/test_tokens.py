"""Tokens as the API shows them."""

from __future__ import annotations

import math

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve_app.engine.tokens import token_bytes, token_logprobs


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text())
def test_the_bytes_of_all_tokens_are_the_bytes_of_the_text(vocabulary: tokenizers.Tokenizer, text: str) -> None:
    tokens = vocabulary.encode(text, add_special_tokens=False).ids

    assert b"".join(token_bytes(vocabulary, token) for token in tokens) == text.encode()


def test_a_part_of_a_character_keeps_its_bytes(vocabulary: tokenizers.Tokenizer) -> None:
    tokens = vocabulary.encode("語", add_special_tokens=False).ids

    shown = token_logprobs(vocabulary, tokens, [0.5] * len(tokens))

    assert len(tokens) > 1
    assert "\ufffd" in shown[0].token
    assert bytes(b for token in shown for b in token.bytes).decode() == "語"


def test_probabilities_become_finite_natural_logarithms(vocabulary: tokenizers.Tokenizer) -> None:
    certain, impossible = token_logprobs(vocabulary, [440, 441], [1.0, 0.0])

    assert certain.logprob == 0.0
    assert impossible.logprob == pytest.approx(math.log(1e-10))
