"""Verdicts, and what stays of earlier runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.results import Measure, Unit, merged, read_results, write_results
from tests.unit.benchmarks.values import ROW


@pytest.mark.parametrize(
    ("value", "bounds", "reached"),
    [
        (3.0, {"at_least": 3.0}, True),
        (2.99, {"at_least": 3.0}, False),
        (0.0, {"at_most": 0.0}, True),
        (0.001, {"at_most": 0.0}, False),
        (1.0, {}, None),
    ],
)
def test_a_measure_is_held_to_its_bound(value: float, bounds: dict[str, float], reached: bool | None) -> None:
    assert Measure("", "", "", value, Unit.TIMES, **bounds).reached is reached


def test_a_partial_run_replaces_its_rows_and_keeps_the_others() -> None:
    old, new = ROW, replace(ROW, measured_on="2026-02-01")

    both = merged({"wer": old, "memory": old}, {"wer": new}, ["memory", "wer", "latency"])

    assert both == {"memory": old, "wer": new}
    assert list(both) == ["memory", "wer"]


def test_a_row_that_the_bench_no_longer_has_is_dropped() -> None:
    assert merged({"gone": ROW}, {}, ["wer"]) == {}


def test_results_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"

    write_results({"wer": ROW}, path)

    assert read_results(path) == {"wer": ROW}


def test_before_the_first_run_there_are_none(tmp_path: Path) -> None:
    assert read_results(tmp_path / "absent.json") == {}
