"""The fault matrix in short; `python -m benchmarks.chaos` runs it at length."""

from __future__ import annotations

import pytest

from benchmarks.chaos.evidence import checks, failed
from benchmarks.chaos.run import Plan, Run

LONGEST_S = 900


@pytest.mark.slow
@pytest.mark.timeout(LONGEST_S)
def test_nothing_is_lost_whatever_dies() -> None:
    run = Run(Plan(seed=1, jobs=10, rounds=1))

    evidence = run()

    assert failed(checks(evidence)) == []
    assert all(death.processes for death in run.deaths)
    assert run.deaths[-1].unfinished
