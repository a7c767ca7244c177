"""`python -m benchmarks.soak`: a table of what the clients did, a table of what held, and an exit code."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.chaos.evidence import failed, verdicts
from benchmarks.soak.clients import Deed, Ledger
from benchmarks.soak.evidence import checks
from benchmarks.soak.run import Plan, soak

console = Console()


def main(
    clients: Annotated[int, typer.Option(min=1, help="At once.")] = 200,
    seconds: Annotated[float, typer.Option(min=10, help="How long they begin new work.")] = 300,
    seed: Annotated[int, typer.Option(help="Decides what each of them does.")] = 1,
) -> None:
    """Have clients transcribe, stream, leave, submit, follow, poll and cancel, and look whether the service stays well."""
    console.print(f"{clients} clients for {seconds:g} s, seed {seed}")
    evidence = soak(Plan(clients, seconds, seed))
    console.print(_answers(evidence.ledger))
    results = checks(evidence)
    console.print(verdicts(results))
    for check in failed(results):
        console.print(f"{check.name}:", *check.violations[:20], sep="\n  ", style="red", markup=False)
    console.print("the service held" if not failed(results) else f"{len(failed(results))} bounds are broken")
    raise typer.Exit(bool(failed(results)))


def _answers(ledger: Ledger) -> Table:
    statuses = sorted({status for _, status in ledger.answers})
    table = Table("answers to clients that", *map(str, statuses))
    for deed in Deed:
        table.add_row(deed, *(str(ledger.answers[deed, status]) for status in statuses))
    return table


if __name__ == "__main__":
    typer.run(main)
