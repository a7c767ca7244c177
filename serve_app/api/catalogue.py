"""What the catalogue in the settings can tell before any work is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from serve_app.errors import ModelNotFound, UnsupportedLanguage
from serve_app.settings import ModelSettings, Settings
from serve_app.transcript.languages import language_name
from serve_app.transcript.types import Task


class Asked(Protocol):
    """What a form asks of a model."""

    @property
    def task(self) -> Task: ...

    @property
    def language(self) -> str | None: ...

    @property
    def candidates(self) -> tuple[str, ...]: ...


def find_model(settings: Settings, name: str) -> str:
    """
    The id of a model, from its id or alias.

    Raises:
        ModelNotFound: The catalogue has neither.
    """
    model_id = settings.resolve_model(name)
    if model_id is None:
        known = ", ".join(sorted(settings.models))
        raise ModelNotFound(f"The model {name[:100]!r} does not exist. This service has: {known}.", param="model")
    return model_id


def check_can_do(settings: Settings, model_id: str, form: Asked) -> None:
    """
    Refuse a language or a task that the model cannot do.

    Raises:
        UnsupportedLanguage: Names a model that can, if there is one.
    """
    model = settings.models[model_id]
    if form.task.value not in model.tasks:
        raise UnsupportedLanguage(
            f"The model {model_id} cannot translate; {_instead(settings, form.task, form.language)}.", param="model"
        )
    for language in filter(None, (form.language, *form.candidates)):
        if not _speaks(model, language):
            raise UnsupportedLanguage(
                f"The model {model_id} cannot do {language_name(language).title()};"
                f" {_instead(settings, form.task, language)}.",
                param="language" if language == form.language else "languages",
            )


def _instead(settings: Settings, task: Task, language: str | None) -> str:
    able = next(_able(settings, task, language), None)
    return f"{able} can" if able else "no model of this service can. Add a multilingual one to `models` in its settings"


def _able(settings: Settings, task: Task, language: str | None) -> Iterator[str]:
    for model_id, model in settings.models.items():
        if task.value in model.tasks and (language is None or _speaks(model, language)):
            yield model_id


def _speaks(model: ModelSettings, language: str) -> bool:
    return not model.languages or language in model.languages
