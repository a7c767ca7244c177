"""A run of several rows."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import measure
from benchmarks.corpus import Corpus
from benchmarks.failure import BenchFailed, NotHere
from benchmarks.rows import Finding, Plan
from tests.unit.benchmarks.values import MEASURE

PLAN = Plan(Corpus(()))


def found(_: Plan) -> Finding:
    return Finding("one against the other", (MEASURE,))


def broken(_: Plan) -> Finding:
    raise BenchFailed("the service answered 500")


def elsewhere(_: Plan) -> Finding:
    raise NotHere("needs a GPU")


def test_what_hinders_one_row_does_not_take_the_others_along() -> None:
    measured, failed = measure({"broken": broken, "found": found}, PLAN)

    assert list(measured) == ["found"]
    assert failed == ["broken"]


def test_row_that_needs_another_machine_is_left_out_and_has_not_failed(capsys: pytest.CaptureFixture[str]) -> None:
    measured, failed = measure({"elsewhere": elsewhere}, PLAN)

    assert not measured
    assert not failed
    assert "elsewhere is left out: needs a GPU" in capsys.readouterr().out
