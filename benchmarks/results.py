"""What was measured: values that are kept as JSON, and the verdict on each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")


class Unit(StrEnum):
    TIMES = "times"  # a ratio
    WER = "wer"  # a difference of two word error rates
    MS = "ms"  # a difference
    MB = "MB"  # a difference, in 10⁶ bytes


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the table. Without a bound it is there to be known, not to be reached."""

    what: str
    ours: str
    against: str
    value: float
    unit: Unit
    at_least: float | None = None
    at_most: float | None = None
    lowest: float | None = None  # of the single rounds, where there were several
    highest: float | None = None

    @property
    def reached(self) -> bool | None:
        if self.at_least is not None:
            return self.value >= self.at_least
        if self.at_most is not None:
            return self.value <= self.at_most
        return None


@dataclass(frozen=True, slots=True)
class Machine:
    """Where something was measured, so far as it matters to the figures."""

    cores: int
    cpu: str
    memory_gb: int
    python: str
    packages: Mapping[str, str]  # name → version
    gpu: str = ""  # name and driver; empty where there is none


@dataclass(frozen=True, slots=True)
class RowResult:
    """A row of the bench, measured in one run."""

    measured_on: str  # date, ISO 8601
    machine: Machine
    how: str  # what was run against what, on which audio
    measures: tuple[Measure, ...]


Results = dict[str, RowResult]  # by the name of the row


def merged(before: Results, now: Results, order: list[str]) -> Results:
    """The rows of an earlier run, except those that were measured again, in the order of the bench."""
    both = {**before, **now}
    return {name: both[name] for name in order if name in both}


def read_results(path: Path = RESULTS) -> Results:
    if not path.exists():
        return {}
    return {name: _row(row) for name, row in json.loads(path.read_text(encoding="utf-8")).items()}


def write_results(results: Results, path: Path = RESULTS) -> None:
    rows = {name: asdict(row) for name, row in results.items()}
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _row(row: dict[str, Any]) -> RowResult:
    measures = tuple(Measure(**{**measure, "unit": Unit(measure["unit"])}) for measure in row.pop("measures"))
    return RowResult(machine=Machine(**row.pop("machine")), measures=measures, **row)
