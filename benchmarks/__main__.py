"""`python -m benchmarks`: measure, print, write `docs/benchmarks.md`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import report
from benchmarks.corpus import read_corpus
from benchmarks.failure import BenchFailed, NotHere
from benchmarks.gpu_rows import GPU_ROWS
from benchmarks.job_rows import JOB_ROWS
from benchmarks.lifecycle_rows import LIFECYCLE_ROWS
from benchmarks.machine import this_machine
from benchmarks.results import Results, RowResult, merged, read_results, write_results
from benchmarks.rows import TRANSCRIPTION_ROWS, Finding, Plan
from tests.recordings import SHARED_AUDIO

ROWS = {**TRANSCRIPTION_ROWS, **JOB_ROWS, **LIFECYCLE_ROWS, **GPU_ROWS}

console = Console()


def main(
    audio: Annotated[Path, typer.Option(help="Folder of recordings with a manifest.jsonl.")] = SHARED_AUDIO,
    rows: Annotated[str, typer.Option(help=f"Rows to measure, of {', '.join(ROWS)}.")] = ",".join(ROWS),
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of rows that have several.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="A few clips and one round; nothing is written.")] = False,
) -> None:
    """Measure the service beside what it is built on."""
    names = rows.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        raise typer.BadParameter(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    try:
        corpus = read_corpus(audio)
    except BenchFailed as error:
        raise typer.BadParameter(str(error)) from error
    plan = Plan(corpus, rounds=1, calls=5, most_clips=8, long_s=900) if quick else Plan(corpus, rounds=rounds)
    measured, failed = measure({name: ROWS[name] for name in names}, plan)
    if measured:
        console.print(report.table(measured))
    if measured and not quick:
        results = merged(read_results(), measured, list(ROWS))
        write_results(results)
        report.PAGE.write_text(report.page(results), encoding="utf-8")
    if failed:
        raise typer.Exit(1)


def measure(rows: Mapping[str, Callable[[Plan], Finding]], plan: Plan) -> tuple[Results, list[str]]:
    """The rows that could be measured, and the names of those that should have been: one does not take the others along."""
    measured: Results = {}
    failed = []
    for name, row in rows.items():
        console.rule(name)
        try:
            finding = row(plan)
        except NotHere as error:
            console.print(f"{name} is left out: {error}", style="yellow", markup=False)
        except (BenchFailed, AssertionError, TimeoutError) as error:  # the last two: the service did not start
            console.print(f"{name} could not be measured: {error}", style="red", markup=False)
            failed.append(name)
        else:
            today = datetime.now(UTC).date().isoformat()
            measured[name] = RowResult(today, this_machine(), finding.how, finding.measures)
    return measured, failed


if __name__ == "__main__":
    typer.run(main)
