"""`python -m benchmarks.chaos`: a table of deaths, a table of what held, and an exit code."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from benchmarks.chaos.evidence import checks, failed, verdicts
from benchmarks.chaos.run import Death, Plan, Run

console = Console()


def main(
    seed: Annotated[int, typer.Option(help="Decides the order of deaths, the jobs and the pauses.")] = 1,
    jobs: Annotated[int, typer.Option(min=2, help="Jobs of mixed length.")] = 40,
    rounds: Annotated[int, typer.Option(min=1, help="How often each process is killed.")] = 2,
) -> None:
    """Kill everything that can die while jobs run, at last all at once, and look whether anything was lost."""
    console.print(f"seed {seed}, {jobs} jobs, {rounds} rounds")
    results = checks(Run(Plan(seed, jobs, rounds), _say)())
    console.print(verdicts(results))
    for check in failed(results):
        console.print(f"{check.name}:", *check.violations[:10], sep="\n  ", style="red", markup=False)
    raise typer.Exit(bool(failed(results)))


def _say(death: Death) -> None:
    console.print(
        f"{death.at_s:6.1f} s  kill -9 {death.victim} ({death.processes} processes), {death.unfinished} jobs unfinished"
    )


if __name__ == "__main__":
    typer.run(main)
