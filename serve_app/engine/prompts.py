"""What is put before the decoder's start: hotwords, the prompt and the text so far. As faster-whisper's `get_prompt`."""

from __future__ import annotations

from faster_whisper.tokenizer import Tokenizer

MAX_TOKENS = 448
"""Positions of Whisper's decoder; half of them are for the text."""
MAX_PREFIX_TOKENS = MAX_TOKENS // 2 - 1


def prefix_tokens(tokenizer: Tokenizer, *, hotwords: str = "", prompt: str = "", previous_text: str = "") -> list[int]:
    """
    Tokens to stand before the start of the transcript; empty if there is nothing to say.

    Hotwords keep their beginning, the prompt and the text before keep their end; together they leave the text its half.
    """
    context = _encode(tokenizer, prompt) + _encode(tokenizer, previous_text)
    hot = _encode(tokenizer, hotwords)[: MAX_PREFIX_TOKENS - 1]
    room = MAX_PREFIX_TOKENS - 1 - len(hot)
    kept = context[-room:] if room else []
    return [tokenizer.sot_prev, *hot, *kept] if hot or kept else []


def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    tokens: list[int] = tokenizer.encode(" " + text.strip()) if text.strip() else []
    return tokens
