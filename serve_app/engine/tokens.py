"""Tokens as the API shows them: text, bytes and log-probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import tokenizers

from serve_app.transcript.types import TokenLogprob

_LEAST_PROBABILITY = 1e-10  # the logarithm of 0 is no number that JSON knows


def token_logprobs(
    vocabulary: tokenizers.Tokenizer, tokens: Sequence[int], probabilities: Sequence[float]
) -> tuple[TokenLogprob, ...]:
    """
    Each token with its log-probability (natural logarithm).

    A token may hold part of a character: `bytes` has what is there, and `token` shows the rest as U+FFFD.
    """
    return tuple(
        _token_logprob(token_bytes(vocabulary, token), probability)
        for token, probability in zip(tokens, probabilities, strict=True)
    )


def token_bytes(vocabulary: tokenizers.Tokenizer, token: int) -> bytes:
    """The UTF-8 bytes that a text token stands for."""
    letters = vocabulary.id_to_token(token) or ""
    return bytes(_byte_of_letter()[letter] for letter in letters)


def _token_logprob(data: bytes, probability: float) -> TokenLogprob:
    logprob = math.log(max(probability, _LEAST_PROBABILITY))
    return TokenLogprob(data.decode(errors="replace"), logprob, tuple(data))


@cache
def _byte_of_letter() -> dict[str, int]:
    """GPT-2's `bytes_to_unicode`, the other way: its vocabulary writes each byte as one visible letter."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + n): byte for n, byte in enumerate(hidden)}
