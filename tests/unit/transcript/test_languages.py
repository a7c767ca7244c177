"""The many names of a language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.transcript.languages import NAMES, OTHER_CODES, OTHER_NAMES, language_code, language_name


@pytest.mark.parametrize("code", NAMES)
def test_code_and_name_mean_the_same(code: str) -> None:
    assert language_code(code) == language_code(code.upper()) == language_code(language_name(code)) == code


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("en-US", "en"),
        ("zh-Hans-CN", "zh"),
        ("pt_BR", "pt"),
        ("YUE-HK", "yue"),
        ("nb-NO", "no"),
        ("Castilian", "es"),
        ("Haitian Creole", "ht"),
        (" english ", "en"),
    ],
)
def test_tags_and_other_names_are_understood(name: str, code: str) -> None:
    assert language_code(name) == code


@pytest.mark.parametrize("name", ["", "xx", "english please", "en US", "e", "auto", "en-", "-en", "engl", "ｅｎ"])
def test_what_is_no_language_is_none(name: str) -> None:
    assert language_code(name) is None


def test_other_spellings_lead_to_codes_of_whisper() -> None:
    assert {*OTHER_NAMES.values(), *OTHER_CODES.values()} <= NAMES.keys()
    assert not OTHER_CODES.keys() & NAMES.keys()


@given(st.text())
def test_any_text_is_a_code_of_whisper_or_none(text: str) -> None:
    assert language_code(text) in {*NAMES, None}
