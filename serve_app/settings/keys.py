"""API keys: whose each is, and what it may do."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from serve_app.errors import ConfigError

OWNER_CHARACTERS = 32


class Scope(StrEnum):
    """What an API key may do, beyond what every key may: ask what models there are and how they are."""

    TRANSCRIBE = "transcribe"
    JOBS = "jobs"
    MODELS = "models"
    """To load and unload them."""
    ADMIN = "admin"
    """All of it, and for everybody: the jobs and uploads of all keys, and what all feel of models."""


CLIENT = frozenset({Scope.TRANSCRIBE, Scope.JOBS, Scope.MODELS})
ADMIN = frozenset({Scope.ADMIN})

_NAMED = re.compile(r"(?P<name>[\w.-]{1,64}):(?P<scopes>[^:]*):(?P<secret>.+)")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """
    One key.

    Attributes:
        secret: What a client sends; no printout of this value shows it.
        name: Keys of one name are one client; "" if it has none.
    """

    secret: str = field(repr=False)
    scopes: frozenset[Scope] = CLIENT
    name: str = ""

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def names_scopes(self) -> bool:
        """Whether it is meant for these alone: as it is written, scopes come with a name."""
        return bool(self.name)

    @property
    def digest(self) -> bytes:
        """To compare: of one length whatever the key, so that no time tells how long a right one is."""
        return hashlib.sha256(self.secret.encode()).digest()

    @property
    def owner(self) -> str:
        """Whose jobs and uploads these are; safe to keep. It outlives the key if that has a name."""
        identity = f"name {self.name}".encode() if self.name else self.secret.encode()
        return hashlib.sha256(identity).hexdigest()[:OWNER_CHARACTERS]


def keys_of(origin: str, entries: Iterable[str], scopes: frozenset[Scope]) -> list[ApiKey]:
    """
    Keys as they are written: `KEY`, or `NAME:SCOPE+SCOPE:KEY`.

    Args:
        origin: The variable or file, for an error.
        scopes: Of a key that names none.

    Raises:
        ConfigError: There is no such scope.
    """
    return [_key(f"{origin}, entry {n}", entry, scopes) for n, entry in enumerate(entries, start=1)]


def merged(keys: Iterable[ApiKey]) -> Sequence[ApiKey]:
    """Each key once, with all the scopes that it was given."""
    found: dict[str, ApiKey] = {}
    for key in keys:
        known = found.get(key.secret, key)
        found[key.secret] = replace(known, scopes=known.scopes | key.scopes, name=known.name or key.name)
    return tuple(found.values())


def _key(where: str, entry: str, scopes: frozenset[Scope]) -> ApiKey:
    match = _NAMED.fullmatch(entry)
    if match is None:
        return ApiKey(entry, scopes)
    try:
        named = frozenset(Scope(word) for word in match["scopes"].split("+"))
    except ValueError:
        # Not the word itself: of a key that happens to hold colons it would be a part.
        raise ConfigError(
            f"{where} looks like NAME:SCOPES:KEY, and its scopes are not transcribe, jobs, models or admin, joined by +"
        ) from None
    return ApiKey(match["secret"], named, match["name"])
