"""A model refuses what it cannot do."""

from __future__ import annotations

import pytest

from serve_app.engine.capabilities import check_task, choose_languages
from serve_app.errors import UnsupportedLanguage
from serve_app.settings import ModelSettings
from serve_app.transcript.types import DecodingOptions, Task

ANY = ModelSettings(source="some/model")
ABLE = ("en", "de", "fr")


def chosen(model: ModelSettings = ANY, able: tuple[str, ...] = ABLE, **options: object) -> tuple[str, ...]:
    return choose_languages("m", model, able, DecodingOptions("m", **options))  # type: ignore[arg-type]


def test_a_given_language_is_the_only_candidate() -> None:
    assert chosen(language="de") == ("de",)


def test_without_a_language_all_are_candidates() -> None:
    assert chosen() == ABLE


def test_detection_keeps_to_the_languages_of_the_request_and_of_the_catalogue() -> None:
    assert chosen(languages=("fr", "de", "sv")) == ("fr", "de")
    assert chosen(ModelSettings(source="some/model", languages=("en", "fr"))) == ("en", "fr")


@pytest.mark.parametrize("options", [{"language": "sv"}, {"languages": ("sv", "no")}])
def test_a_language_that_the_model_cannot_do_is_refused_by_name(options: dict[str, object]) -> None:
    with pytest.raises(UnsupportedLanguage, match="model m cannot do the language sv") as caught:
        chosen(**options)

    assert caught.value.param == "language"


def test_an_english_model_never_answers_german_in_english() -> None:
    assert chosen(able=("en",)) == ("en",)
    with pytest.raises(UnsupportedLanguage, match="it can do en"):
        chosen(able=("en",), language="de")


def test_an_english_model_cannot_translate() -> None:
    check_task("m", ANY, ABLE, Task.TRANSLATE)

    with pytest.raises(UnsupportedLanguage, match="cannot translate"):
        check_task("m", ANY, ("en",), Task.TRANSLATE)


def test_the_catalogue_can_take_a_task_away() -> None:
    turbo = ModelSettings(source="some/turbo", tasks=("transcribe",))

    with pytest.raises(UnsupportedLanguage, match="cannot translate"):
        check_task("m", turbo, ABLE, Task.TRANSLATE)
