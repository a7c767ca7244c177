"""What the catalogue can tell before any work is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from serve_app.errors import UnsupportedLanguage
from serve_app.settings import ModelSettings
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


def check_can_do(models: Mapping[str, ModelSettings], model_id: str, form: Asked) -> None:
    """
    Refuse a language or a task that the model cannot do.

    Raises:
        UnsupportedLanguage: Names a model that can, if there is one.
    """
    model = models[model_id]
    if form.task.value not in model.tasks:
        raise UnsupportedLanguage(
            f"The model {model_id} cannot translate; {_instead(models, form.task, form.language)}.", param="model"
        )
    for language in filter(None, (form.language, *form.candidates)):
        if not _speaks(model, language):
            raise UnsupportedLanguage(
                f"The model {model_id} cannot do {language_name(language).title()};"
                f" {_instead(models, form.task, language)}.",
                param="language" if language == form.language else "languages",
            )


def _instead(models: Mapping[str, ModelSettings], task: Task, language: str | None) -> str:
    able = next(_able(models, task, language), None)
    return f"{able} can" if able else "no model of this service can. Add a multilingual one to `models` in its settings"


def _able(models: Mapping[str, ModelSettings], task: Task, language: str | None) -> Iterator[str]:
    for model_id, model in models.items():
        if task.value in model.tasks and (language is None or _speaks(model, language)):
            yield model_id


def _speaks(model: ModelSettings, language: str) -> bool:
    return not model.languages or language in model.languages
