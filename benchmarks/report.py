"""What a bench says: a table on the terminal, and `docs/benchmarks.md`."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from benchmarks.results import Machine, Measure, Results, Unit

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
HEADINGS = ("what", "rayscribe", "against", "ratio or difference", "target", "reached")

_INTRODUCTION = """\
# Benchmarks

Written by `make bench`; what it measured is kept in `benchmarks/results.json`. Service and reference run in one run, on the
same machine and the same audio, taking turns, each in processes of its own while the other is idle. What counts is the ratio
or the difference: seconds depend on the machine. Where there are several rounds, the figure is the median of the rounds'
ratios, with the lowest and the highest behind it.

WER is the word error rate of the whole set (all edits over all words), after Whisper's English normaliser. References run with
the same model, compute type and number of threads as the service, and at the same priority: Ray would start its workers 15
steps nicer (`RAY_worker_niceness`), which costs nothing on an idle machine and much on a busy one.
"""

_REPEAT = """\
## Again

    make bench                                           # all rows; about forty minutes on two cores
    make bench AUDIO=folder                              # other recordings, with a manifest.jsonl of the same form
    .venv/bin/python -m benchmarks --rows wer,latency    # some rows; the others stay as they were
    .venv/bin/python -m benchmarks --quick               # a try of minutes, not written here

A line of `manifest.jsonl` is a JSON object with `file`, `duration_s`, `language` and `reference`; rows with a `ref_origin` other
than "in source repo/package" are left out, because their text was not checked by a human. Whisper base, for the row on replicas,
comes from two wheels of the package index (`benchmarks/base_model.py`).
"""


def table(results: Results) -> Table:
    """For the terminal."""
    drawn = Table(*HEADINGS, title="rayscribe, side by side", show_lines=True)
    for row in results.values():
        for measure in row.measures:
            cells = _cells(measure)
            style = {True: "green", False: "red", None: "dim"}[measure.reached]
            drawn.add_row(*cells[:-1], f"[{style}]{cells[-1]}[/]")
    return drawn


def page(results: Results) -> str:
    """For the documentation."""
    lines = [f"| {' | '.join(_cells(measure))} |" for row in results.values() for measure in row.measures]
    header = [f"| {' | '.join(HEADINGS)} |", "|" + "---|" * len(HEADINGS)]
    how = [f"- **{name}**, {row.measured_on}: {row.how}" for name, row in results.items()]
    machines = list(dict.fromkeys(_sentence(row.machine) for row in results.values()))
    parts = [
        _INTRODUCTION,
        "\n".join([*header, *lines]) + "\n",
        "## How each row was measured\n\n" + "\n".join(how) + "\n",
        "## Machine\n\n" + "\n\n".join(machines) + "\n",
        _REPEAT,
    ]
    return "\n".join(parts)


def _cells(measure: Measure) -> tuple[str, ...]:
    verdict = {True: "yes", False: "**no**", None: "–"}[measure.reached]
    return (measure.what, measure.ours, measure.against, _value(measure), _target(measure), verdict)


def _value(measure: Measure) -> str:
    text = _in_unit(measure.value, measure.unit)
    if measure.lowest is None or measure.highest is None:
        return text
    return f"{text} ({_in_unit(measure.lowest, measure.unit)} to {_in_unit(measure.highest, measure.unit)})"


def _target(measure: Measure) -> str:
    if measure.at_least is not None:
        return f"≥ {_in_unit(measure.at_least, measure.unit)}"
    if measure.at_most is not None:
        return f"≤ {_in_unit(measure.at_most, measure.unit)}"
    return "–"


def _in_unit(value: float, unit: Unit) -> str:
    match unit:
        case Unit.TIMES:
            return f"{value:.2f}×"
        case Unit.WER:
            return f"{value:+.4f}"
        case _:
            return f"{value:+.0f} {unit}"


def _sentence(machine: Machine) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    gpu = f" one {machine.gpu}," if machine.gpu else ""
    return (
        f"{machine.cores} cores of an {machine.cpu},{gpu} {machine.memory_gb} GB, Python {machine.python}; {packages}."
    )
