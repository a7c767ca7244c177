"""Models that everyone calls by a short name, and where their CTranslate2 weights are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")

_MULTILINGUAL = {
    **{
        name: f"Systran/faster-whisper-{name}"
        for name in ("tiny", "base", "small", "medium", "large-v1", "large-v2", "large-v3")
    },
    "large": "Systran/faster-whisper-large-v3",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
}
_ENGLISH = {
    **{name: f"Systran/faster-whisper-{name}" for name in ("base.en", "small.en", "medium.en")},
    **{
        f"distil-{name}": f"Systran/faster-distil-whisper-{name}"
        for name in ("small.en", "medium.en", "large-v2", "large-v3")
    },
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}

WELL_KNOWN: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {name: {"source": source, "owned_by": source.split("/")[0]} for name, source in _MULTILINGUAL.items()}
    | {
        name: {"source": source, "owned_by": source.split("/")[0], "languages": ["en"], "tasks": ["transcribe"]}
        for name, source in _ENGLISH.items()
    }
)


def entries(names: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Entries of the catalogue for those that are well known, or are a Hugging Face repository."""
    strings = [name for name in names if isinstance(name, str)]
    repositories = {
        name: {"source": name, "owned_by": name.split("/")[0]} for name in strings if _REPOSITORY.fullmatch(name)
    }
    return repositories | {name: dict(WELL_KNOWN[name]) for name in strings if name in WELL_KNOWN}
