"""What the fields of a form may hold, and how it is read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from serve_app.api.forms import json_value
from serve_app.transcript.languages import language_code


def _known_language(name: str) -> str:
    code = language_code(name)
    if code is None:
        raise ValueError(
            f"{name[:40]!r} is no language that Whisper knows; send an ISO 639-1 code, such as `en`, or leave it out to have"
            " it detected"
        )
    return code


def _strategy(value: Any) -> Any:
    value = json_value(value)
    if value == "auto":
        return {"type": "server_vad"}
    if isinstance(value, str):
        raise ValueError('should be `auto`, or an object such as {"type": "server_vad"}')
    return value


def _temperatures(value: Any) -> float | tuple[float, ...]:
    value = json_value(value)
    try:
        given = tuple(map(float, value if isinstance(value, list) else [value]))
    except (TypeError, ValueError, OverflowError):
        raise ValueError("should be a number, or a JSON array of numbers") from None
    if not given or not all(0 <= temperature <= 1 for temperature in given):
        raise ValueError("should be between 0 and 1")
    return given if isinstance(value, list) else given[0]


TEMPERATURE = {"type": "number", "minimum": 0, "maximum": 1}
Language = Annotated[str, AfterValidator(_known_language)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Temperatures = Annotated[
    float | tuple[float, ...],
    PlainValidator(_temperatures),
    WithJsonSchema({"anyOf": [TEMPERATURE, {"type": "array", "items": TEMPERATURE, "minItems": 1}], "default": 0}),
]


class ServerVad(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    type: Literal["server_vad"]
    threshold: Probability | None = None
    """Probability above which sound is speech."""
    silence_duration_ms: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """A shorter pause does not end a speech span."""
    prefix_padding_ms: Annotated[int, Field(ge=0, le=2_000)] | None = None
    """Kept before and after each speech span."""


def _or_auto(schema: dict[str, Any]) -> None:
    schema["anyOf"].insert(0, {"const": "auto"})


Strategy = Annotated[ServerVad | None, BeforeValidator(_strategy), Field(json_schema_extra=_or_auto)]
