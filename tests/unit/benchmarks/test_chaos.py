from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.chaos.evidence import Evidence, checks, failed, same_speech
from benchmarks.chaos.faults import Victim, deck

WORD = {"word": "Hello.", "start": 0.0, "end": 1.0, "probability": 0.9}
SEGMENT = {"index": 0, "start": 0.0, "end": 1.0, "text": " Hello.", "words": [WORD]}
JOB = {"status": "done", "error": None, "attempts": 1, "segments": [SEGMENT]}
EVENTS = [
    {"type": "queued", "seq": 1},
    {"type": "segment", "seq": 2, **SEGMENT},
    {"type": "done", "seq": 3},
]
SOUND = Evidence(
    recordings={"a": "4"},
    listed=["a"],
    jobs={"a": JOB},
    events={"a": EVENTS},
    deliveries=[("a", "msg_1"), ("a", "msg_1")],
    undisturbed={"4": [SEGMENT]},
    chunks_asked=12,
    chunks_kept=10,
    chunks_in_flight=4,
)


def test_run_without_losses_passes_every_check() -> None:
    assert failed(checks(SOUND)) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("every job that was accepted is done", {"jobs": {"a": JOB | {"status": "failed"}}}),
        ("a submit that was repeated made one job", {"listed": ["a", "b"]}),
        ("a submit that was repeated made one job", {"listed": []}),
        ("no job ends twice", {"events": {"a": [*EVENTS, {"type": "done", "seq": 4}]}}),
        ("each segment is told once, in order", {"events": {"a": [EVENTS[0], EVENTS[1], EVENTS[1], EVENTS[2]]}}),
        ("events are numbered without gaps", {"events": {"a": [EVENTS[0], EVENTS[1], {"type": "done", "seq": 4}]}}),
        ("transcripts equal the undisturbed ones", {"undisturbed": {"4": []}}),
        ("each webhook came, under one id", {"deliveries": []}),
        ("each webhook came, under one id", {"deliveries": [("a", "msg_1"), ("a", "msg_2")]}),
        ("only chunks in flight are recognised again", {"chunks_asked": 15}),
    ],
)
def test_each_loss_is_found(name: str, change: dict[str, Any]) -> None:
    assert name in [check.name for check in failed(checks(replace(SOUND, **change)))]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"probability": 0.9001}, True),
        ({"end": 1.04}, True),
        ({"end": 1.2}, False),
        ({"word": "Hallo."}, False),
    ],
)
def test_words_may_differ_in_what_a_batch_changes_and_in_nothing_else(change: dict[str, Any], same: bool) -> None:
    assert same_speech([SEGMENT], [SEGMENT | {"words": [WORD | change]}]) is same


def test_seed_decides_the_order_in_which_everything_dies() -> None:
    assert deck(1, 2) == deck(1, 2) != deck(2, 2)
    assert Counter(deck(1, 2)) == dict.fromkeys(Victim, 2)
