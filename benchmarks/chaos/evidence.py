"""What a run left behind, and whether it is as it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

ENDS = frozenset({"done", "failed", "cancelled"})

JsonObject = dict[str, Any]

FRAMES_S = 0.041


@dataclass(frozen=True, slots=True)
class Evidence:
    """Jobs by id, each with the name of its recording, and what was seen of it."""

    recordings: Mapping[str, str]
    listed: Sequence[str]  # ids that the service lists
    jobs: Mapping[str, JsonObject]
    events: Mapping[str, Sequence[JsonObject]]
    deliveries: Sequence[tuple[str, str]]  # (job id, delivery id) that a receiver got
    undisturbed: Mapping[str, Sequence[JsonObject]]  # segments, by recording
    chunks_asked: int  # that recognisers were asked for
    chunks_kept: int  # that the store holds
    chunks_in_flight: int  # that may have been lost with what was killed


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    found: str
    violations: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.violations


def checks(evidence: Evidence) -> list[Check]:
    """Everything that must hold after any number of deaths."""
    return [
        _nothing_lost(evidence),
        _nothing_made_up(evidence),
        _ended_once(evidence),
        _no_segment_twice(evidence),
        _events_without_gaps(evidence),
        _same_text(evidence),
        _delivered(evidence),
        _few_repeats(evidence),
    ]


def _nothing_lost(evidence: Evidence) -> Check:
    done = [i for i in evidence.recordings if evidence.jobs[i]["status"] == "done"]
    lost = [
        f"{i}: {evidence.jobs[i]['status']}, {evidence.jobs[i]['error']}" for i in evidence.recordings if i not in done
    ]
    return Check("every job that was accepted is done", f"{len(done)} of {len(evidence.recordings)}", tuple(lost))


def _nothing_made_up(evidence: Evidence) -> Check:
    foreign = sorted(set(evidence.listed) - set(evidence.recordings))
    twice = [i for i, n in Counter(evidence.listed).items() if n > 1]
    missing = sorted(set(evidence.recordings) - set(evidence.listed))
    return Check(
        "a submit that was repeated made one job", f"{len(evidence.listed)} jobs", (*foreign, *twice, *missing)
    )


def _ended_once(evidence: Evidence) -> Check:
    ends = {i: sum(e["type"] in ENDS for e in evidence.events[i]) for i in evidence.recordings}
    return Check(
        "no job ends twice", f"{sum(ends.values())} ends", tuple(f"{i}: {n} ends" for i, n in ends.items() if n != 1)
    )


def _no_segment_twice(evidence: Evidence) -> Check:
    wrong, total = [], 0
    for job_id in evidence.recordings:
        indexes = [e["index"] for e in evidence.events[job_id] if e["type"] == "segment"]
        total += len(indexes)
        if indexes != list(range(len(evidence.jobs[job_id]["segments"]))):
            wrong.append(f"{job_id}: {indexes}")
    return Check("each segment is told once, in order", f"{total} segments", tuple(wrong))


def _events_without_gaps(evidence: Evidence) -> Check:
    gaps = [
        job_id
        for job_id in evidence.recordings
        if [e["seq"] for e in evidence.events[job_id]] != list(range(1, len(evidence.events[job_id]) + 1))
    ]
    total = sum(map(len, evidence.events.values()))
    return Check("events are numbered without gaps", f"{total} events", tuple(gaps))


def _same_text(evidence: Evidence) -> Check:
    wrong = [
        f"{job_id} ({name}): {evidence.jobs[job_id]['attempts']} attempts"
        for job_id, name in evidence.recordings.items()
        if not same_speech(evidence.jobs[job_id]["segments"], evidence.undisturbed[name])
    ]
    equal = len(evidence.recordings) - len(wrong)
    return Check("transcripts equal the undisturbed ones", f"{equal} of {len(evidence.recordings)}", tuple(wrong))


def same_speech(segments: Sequence[JsonObject], others: Sequence[JsonObject]) -> bool:
    """
    Whether the same was said in the same segments, at the same times.

    Probabilities are not looked at, and times are allowed two frames of attention: who shares its batch changes the last
    digits of a chunk's probabilities, and where a word ends when two frames are equally likely.
    """
    ours, theirs = [*_pieces(segments)], [*_pieces(others)]
    if [text for text, _, _ in ours] != [text for text, _, _ in theirs]:
        return False
    pairs = zip(ours, theirs, strict=True)
    return all(max(abs(a[1] - b[1]), abs(a[2] - b[2])) <= FRAMES_S for a, b in pairs)


def _pieces(segments: Sequence[JsonObject]) -> Iterator[tuple[str, float, float]]:
    for segment in segments:
        yield segment["text"], segment["start"], segment["end"]
        for word in segment["words"]:
            yield word["word"], word["start"], word["end"]


def _delivered(evidence: Evidence) -> Check:
    ids: dict[str, set[str]] = {job_id: set() for job_id in evidence.recordings}
    for job_id, delivery_id in evidence.deliveries:
        ids.setdefault(job_id, set()).add(delivery_id)
    wrong = tuple(f"{job_id}: {len(found)} delivery ids" for job_id, found in ids.items() if len(found) != 1)
    repeated = len(evidence.deliveries) - sum(map(len, ids.values()))
    found = f"{len(evidence.deliveries)} came, {repeated} of them again"
    return Check("each webhook came, under one id", found, wrong)


def _few_repeats(evidence: Evidence) -> Check:
    repeats = evidence.chunks_asked - evidence.chunks_kept
    too_many = () if repeats <= evidence.chunks_in_flight else (f"{repeats} chunks",)
    found = f"{repeats} of {evidence.chunks_kept} asked for again; up to {evidence.chunks_in_flight} were in flight"
    return Check("only chunks in flight are recognised again", found, too_many)


def verdicts(results: Sequence[Check]) -> Table:
    """What is printed of them."""
    table = Table("what must hold", "found", "")
    for check in results:
        table.add_row(check.name, check.found, "yes" if check.passed else "NO")
    return table


def failed(results: Iterable[Check]) -> list[Check]:
    return [check for check in results if not check.passed]
