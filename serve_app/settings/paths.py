"""The settings by name: `http.port` in a config file, `RAYSCRIBE_HTTP__PORT` in the environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from serve_app.settings.section import Section
from serve_app.settings.tree import Settings

PREFIX = "RAYSCRIBE_"
NESTING = "__"


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """What the documentation says of one setting."""

    path: str  # in the YAML's `args`: `http.port`
    default: Any
    description: str

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.path.upper().replace(".", NESTING)


def settings_paths() -> dict[str, SettingInfo]:
    """Every setting, by its path."""
    return {info.path: info for info in _infos(Settings(), ())}


def _infos(section: Section, above: tuple[str, ...]) -> Iterator[SettingInfo]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _infos(value, (*above, name))
        else:
            default = section.model_dump(mode="json")[name]
            yield SettingInfo(".".join((*above, name)), default, " ".join((field.description or "").split()))
