"""Results that nobody measured."""

from benchmarks.results import Machine, Measure, RowResult, Unit

MACHINE = Machine(cores=2, cpu="a CPU", memory_gb=8, python="3.11", packages={"ray": "2.60.0"})
MEASURE = Measure("speed", "2 s", "4 s", 2.0, Unit.TIMES, at_least=1.6, lowest=1.9, highest=2.1)
ROW = RowResult("2026-01-31", MACHINE, "one against the other", (MEASURE,))
