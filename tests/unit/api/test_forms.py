"""One meaning for every spelling, and never a surprise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.api.forms import json_value, parse, tree_of
from serve_app.api.schemas import AudioForm, TranscriptionForm, TranslationForm
from serve_app.errors import InvalidRequest

MODEL = ("model", "tiny.en")
KNOWN = TranscriptionForm.model_fields


@pytest.mark.parametrize(
    ("pairs", "tree"),
    [
        ([("include[]", "logprobs")], {"include": ["logprobs"]}),
        ([("include", "logprobs")], {"include": ["logprobs"]}),
        ([("include[0]", "logprobs")], {"include": ["logprobs"]}),
        ([("keywords[]", "a"), ("keywords", "b"), ("keywords[]", "c")], {"keywords": ["a", "b", "c"]}),
        ([("chunking_strategy[type]", "server_vad")], {"chunking_strategy": {"type": "server_vad"}}),
        ([("prompt", "")], {}),
        ([("nonsense", "1"), ("[]", "1"), ("a[b", "1"), ("", "1")], {}),
    ],
)
def test_spellings_become_one_tree(pairs: list[tuple[str, str]], tree: dict[str, Any]) -> None:
    assert tree_of(pairs, KNOWN) == tree


@pytest.mark.parametrize(
    "pairs",
    [
        [("chunking_strategy", "auto"), ("chunking_strategy[type]", "server_vad")],
        [("chunking_strategy[type]", "server_vad"), ("chunking_strategy", "auto")],
    ],
)
def test_two_spellings_of_one_field_are_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        tree_of(pairs, KNOWN)

    assert caught.value.param == "chunking_strategy"


@pytest.mark.parametrize("name", ["known_speaker_names", "known_speaker_names[]", "known_speaker_references[0]"])
def test_field_that_openai_has_and_we_have_not_is_refused_even_empty(name: str) -> None:
    with pytest.raises(InvalidRequest, match="known_speaker"):
        tree_of([(name, "")], KNOWN)


def test_field_twice_with_one_value_is_that_value() -> None:
    form = parse(TranscriptionForm, [MODEL, MODEL, ("language[]", "en")])

    assert (form.model, form.language) == ("tiny.en", "en")


@given(
    threshold=st.none() | st.floats(0, 1),
    silence_ms=st.none() | st.integers(0, 10_000),
    padding_ms=st.none() | st.integers(0, 2_000),
)
def test_brackets_and_json_mean_the_same_chunking_strategy(
    threshold: float | None, silence_ms: int | None, padding_ms: int | None
) -> None:
    given_parts = {"threshold": threshold, "silence_duration_ms": silence_ms, "prefix_padding_ms": padding_ms}
    parts = {"type": "server_vad"} | {name: part for name, part in given_parts.items() if part is not None}
    brackets = [(f"chunking_strategy[{name}]", str(part)) for name, part in parts.items()]

    by_brackets = parse(TranscriptionForm, [MODEL, *brackets])
    by_json = parse(TranscriptionForm, [MODEL, ("chunking_strategy", json.dumps(parts))])

    assert by_brackets == by_json


@pytest.mark.parametrize(
    "spelling",
    [
        [("chunking_strategy", "auto")],
        [("chunking_strategy", '"auto"')],
        [("chunking_strategy", '{"type": "server_vad"}')],
        [("chunking_strategy[type]", "server_vad")],
    ],
)
def test_auto_is_server_vad_with_the_defaults(spelling: list[tuple[str, str]]) -> None:
    auto = parse(TranscriptionForm, [MODEL, ("chunking_strategy", "auto")])

    assert parse(TranscriptionForm, [MODEL, *spelling]) == auto


NAMES = st.sampled_from([f"{name}{suffix}" for name in KNOWN for suffix in ("", "[]", "[type]", "[a][b]")])
VALUES = st.text() | st.sampled_from(
    ["auto", "1", "true", "json", "word", "en", "[1]", '{"type":"server_vad"}', "1e999"]
)
VALUES |= st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps)


@pytest.mark.parametrize("schema", [TranscriptionForm, TranslationForm])
@given(pairs=st.lists(st.tuples(NAMES | st.text(), VALUES), max_size=8))
def test_any_form_is_understood_or_refused(schema: type[AudioForm], pairs: list[tuple[str, str]]) -> None:
    outcome = understood(schema, [MODEL, *pairs])

    assert outcome.model == "tiny.en" if isinstance(outcome, AudioForm) else outcome.message and outcome.param


def understood(schema: type[AudioForm], pairs: list[tuple[str, str]]) -> AudioForm | InvalidRequest:
    try:
        return parse(schema, pairs)
    except InvalidRequest as error:
        return error


@given(value=st.text())
def test_what_is_no_json_is_left_as_it_is(value: str) -> None:
    assert json_value(value) == value or value[0] in '{["'


def test_endless_nesting_is_left_as_it_is() -> None:
    assert json_value("[" * 100_000) == "[" * 100_000
