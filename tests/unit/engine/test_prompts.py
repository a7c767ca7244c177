"""What stands before the start of a transcript."""

from __future__ import annotations

from faster_whisper.tokenizer import Tokenizer

from serve_app.engine.prompts import MAX_PREFIX_TOKENS, prefix_tokens

LONG = "word " * 500


def test_nothing_to_say_is_no_prefix(tokenizer: Tokenizer) -> None:
    assert prefix_tokens(tokenizer, prompt="  ") == []


def test_hotwords_come_before_the_prompt_and_the_text_before(tokenizer: Tokenizer) -> None:
    prefix = prefix_tokens(tokenizer, hotwords="Ray", prompt="A talk.", previous_text=" He said")

    assert prefix[0] == tokenizer.sot_prev
    assert tokenizer.decode(prefix[1:]) == " Ray A talk. He said"


def test_a_long_text_keeps_its_end_and_leaves_half_of_the_decoder(tokenizer: Tokenizer) -> None:
    prefix = prefix_tokens(tokenizer, previous_text=LONG + "the end")

    assert len(prefix) == MAX_PREFIX_TOKENS
    assert tokenizer.decode(prefix).endswith("the end")


def test_long_hotwords_keep_their_beginning(tokenizer: Tokenizer) -> None:
    prefix = prefix_tokens(tokenizer, hotwords="first " + LONG, prompt="gone")

    assert len(prefix) == MAX_PREFIX_TOKENS
    assert tokenizer.decode(prefix).startswith(" first")
