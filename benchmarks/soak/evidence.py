"""What a run left behind, and whether it is as it should be."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.chaos.evidence import Check
from benchmarks.soak.clients import Ledger
from benchmarks.soak.probe import Probe

HEALTH_P99_S = 0.2
MOST_GROWTH = 0.05  # of memory, from the second fifth of the run to the last

Memory = Mapping[str, int]  # bytes by kind of process


@dataclass(frozen=True, slots=True)
class Evidence:
    ledger: Ledger
    ends: Mapping[str, str]  # job id → status, of all that the service lists when everybody has ended
    probes: Sequence[Probe]
    memory: Sequence[Memory]  # as often as it was looked at


def checks(evidence: Evidence) -> list[Check]:
    return [
        _answers(evidence),
        _jobs(evidence),
        _streams(evidence),
        _healthy(evidence),
        _prompt(evidence),
        _flat(evidence),
    ]


def _answers(evidence: Evidence) -> Check:
    by_status: Counter[int] = Counter()
    for (_, status), count in evidence.ledger.answers.items():
        by_status[status] += count
    found = ", ".join(f"{count} × {status}" for status, count in sorted(by_status.items()))
    return Check("answers are well, or 429 or 503 with Retry-After", found, tuple(evidence.ledger.broken))


def _jobs(evidence: Evidence) -> Check:
    allowed = {False: {"done"}, True: {"done", "cancelled"}}
    ends = {job_id: evidence.ends.get(job_id, "lost") for job_id in evidence.ledger.jobs}
    wrong = [f"{i}: {ends[i]}" for i, cancelled in evidence.ledger.jobs.items() if ends[i] not in allowed[cancelled]]
    found = ", ".join(f"{count} {status}" for status, count in sorted(Counter(ends.values()).items()))
    return Check("every job that was accepted is done, or cancelled by its client", found, tuple(wrong))


def _streams(evidence: Evidence) -> Check:
    return Check(
        "streams reach their end", str(evidence.ledger.streams), () if evidence.ledger.streams else ("none did",)
    )


def _healthy(evidence: Evidence) -> Check:
    wrong = Counter(probe.status for probe in evidence.probes if probe.status != 200)
    return Check("/health is 200", f"{len(evidence.probes)} times", tuple(f"{n} × {s}" for s, n in wrong.items()))


def _prompt(evidence: Evidence) -> Check:
    took_s = percentile([probe.took_s for probe in evidence.probes], 99)
    late_s = percentile([probe.late_s for probe in evidence.probes], 99)
    median_s = statistics.median(probe.took_s for probe in evidence.probes)
    found = (
        f"{1000 * took_s:.0f} ms, median {1000 * median_s:.0f}; the prober itself waits for a core {1000 * late_s:.0f}"
    )
    name = f"99 of 100 times /health takes less than {1000 * HEALTH_P99_S:.0f} ms"
    return Check(name, found, () if took_s < HEALTH_P99_S else _slowest(evidence.probes))


def _slowest(probes: Sequence[Probe]) -> tuple[str, ...]:
    slow = sorted(probes, key=lambda probe: probe.took_s, reverse=True)
    return tuple(f"{1000 * probe.took_s:.0f} ms, {probe.at_s:.1f} s after the start" for probe in slow)


def _flat(evidence: Evidence) -> Check:
    totals = [sum(memory.values()) for memory in evidence.memory]
    early, late = (statistics.median(totals[slice(*part)]) for part in (fifth(len(totals), 1), fifth(len(totals), 4)))
    grown = late / early - 1
    found = f"{early / 1e6:.0f} MB in the second fifth, {late / 1e6:.0f} in the last: {grown:+.1%}"
    return Check(
        f"memory grows by at most {MOST_GROWTH:.0%}", found, _growth(evidence.memory) if grown > MOST_GROWTH else ()
    )


def _growth(memory: Sequence[Memory]) -> tuple[str, ...]:
    """Of each kind of process."""
    early, late = memory[slice(*fifth(len(memory), 1))], memory[slice(*fifth(len(memory), 4))]
    kinds = sorted({kind for sample in memory for kind in sample})
    median = {kind: [statistics.median(s.get(kind, 0) for s in part) for part in (early, late)] for kind in kinds}
    return tuple(f"{kind}: {before / 1e6:.0f} → {after / 1e6:.0f} MB" for kind, (before, after) in median.items())


def fifth(count: int, number: int) -> tuple[int, int]:
    """Where the fifth of so many begins and ends; the first is number 0."""
    return count * number // 5, count * (number + 1) // 5


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest of them that so many percent do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]
