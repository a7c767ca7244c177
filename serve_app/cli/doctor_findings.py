"""What `rayscribe doctor` says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # the service runs, but not as one may think
    PROBLEM = "problem"  # it does not run, or loses work


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What one check found.

    Attributes:
        said: What is so.
        fix: What to do about it, as a sentence; empty if nothing is to be done.
    """

    check: str
    level: Level
    said: str
    fix: str = ""


Check = Callable[[], Iterable[Finding]]


def fine(check: str, said: str) -> Finding:
    return Finding(check, Level.OK, said)


def guarded(name: str, check: Check) -> Iterator[Finding]:
    """The findings of a check; one that breaks is a finding too, so that the others are still made."""
    try:
        yield from check()
    except Exception as error:  # whatever a broken machine makes of a library
        yield Finding(
            name,
            Level.PROBLEM,
            f"the check itself failed: {type(error).__name__}: {error}",
            "Report it with this line.",
        )
