"""What a model is asked for, and whether it can: it refuses rather than answer in another language in silence."""

from __future__ import annotations

from collections.abc import Sequence

from serve_app.errors import UnsupportedLanguage
from serve_app.settings import ModelSettings
from serve_app.transcript.types import DecodingOptions, Task

MOST_LISTED = 12
"""Codes that a message names; Whisper's hundred would bury what it says."""


def check_task(model_id: str, model: ModelSettings, able: Sequence[str], task: Task) -> None:
    """
    Args:
        model_id: For the message.
        model: The catalogue's entry.
        able: Languages that the weights can do.
        task: What is asked for.

    Raises:
        UnsupportedLanguage: The model cannot do the task.
    """
    only_english = len(able) == 1
    if task.value not in model.tasks or (task is Task.TRANSLATE and only_english):
        raise UnsupportedLanguage(f"The model {model_id} cannot {task.value}: choose another model.", param="model")


def choose_languages(
    model_id: str, model: ModelSettings, able: Sequence[str], options: DecodingOptions
) -> tuple[str, ...]:
    """
    Languages that a chunk may be in: one if it is given or the model has but one, else the candidates for detection.

    Raises:
        UnsupportedLanguage: The model can do none of those asked for.
    """
    known = [code for code in able if not model.languages or code in model.languages]
    asked = (options.language,) if options.language else options.languages
    possible = tuple(code for code in asked if code in known) if asked else tuple(known)
    if not possible:
        wanted = ", ".join(asked)
        raise UnsupportedLanguage(
            f"The model {model_id} cannot do the language {wanted}; it can do {_listed(known)}.", param="language"
        )
    return possible


def _listed(codes: Sequence[str]) -> str:
    return ", ".join(codes) if len(codes) <= MOST_LISTED else f"{len(codes)} others"
