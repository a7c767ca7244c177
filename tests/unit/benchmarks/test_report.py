"""The page of figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.__main__ import ROWS
from benchmarks.report import HEADINGS, PAGE, page, table
from benchmarks.results import Measure, Unit, read_results
from tests.unit.benchmarks.values import MACHINE, MEASURE, ROW


def test_a_measure_is_a_line_of_the_table() -> None:
    assert "| speed | 2 s | 4 s | 2.00× (1.90× to 2.10×) | ≥ 1.60× | yes |" in page({"throughput": ROW})


@pytest.mark.parametrize(
    ("measure", "cells"),
    [
        (Measure("m", "a", "b", 41.2, Unit.MS, at_most=40), "+41 ms | ≤ +40 ms | **no** |"),
        (Measure("m", "a", "b", -3.0, Unit.MB, at_most=150), "-3 MB | ≤ +150 MB | yes |"),
        (Measure("m", "a", "b", -0.00123, Unit.WER), "-0.0012 | – | – |"),
    ],
)
def test_each_unit_is_written_in_its_own_way(measure: Measure, cells: str) -> None:
    assert f"| m | a | b | {cells}" in page({"row": replace(ROW, measures=(measure,))})


def test_a_machine_is_named_once_however_many_rows_it_measured() -> None:
    other = replace(ROW, machine=replace(MACHINE, cores=64))

    text = page({"wer": ROW, "memory": ROW, "replicas": other})

    assert text.count("2 cores of") == 1
    assert text.count("64 cores of") == 1


def test_each_row_says_how_and_when_it_was_measured() -> None:
    assert "- **wer**, 2026-01-31: one against the other" in page({"wer": ROW})


def test_the_terminal_shows_the_same_columns() -> None:
    drawn = table({"wer": ROW})

    assert [column.header for column in drawn.columns] == list(HEADINGS)
    assert drawn.row_count == len(ROW.measures) == len([MEASURE])


def test_the_committed_page_is_what_the_committed_results_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(read_results())


def test_only_rows_of_the_bench_are_committed() -> None:
    assert set(read_results()) <= set(ROWS)
