"""Reports that come late, twice, in another order or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serve_app.lifecycle.fleet import SILENT_FOR, Fleet, Told, settled
from serve_app.models.types import ModelChange, ModelSnapshot, ModelState, Reason, ReplicaReport
from serve_app.testing import FakeClock

REPLICAS = ("r1", "r2", "r3")
MODELS = ("tiny.en", "base")
STATES = st.sampled_from(ModelState)


def report(number: int, *models: ModelSnapshot, changes: tuple[ModelChange, ...] = ()) -> ReplicaReport:
    return ReplicaReport("r1", number, models, changes)


def test_report_that_was_overtaken_says_nothing() -> None:
    now, fleet = FakeClock().utc(), Fleet()
    ready = ModelSnapshot("base", ModelState.READY, now, Reason.LOADED)
    loading = ModelSnapshot("base", ModelState.LOADING, now, Reason.REQUEST)
    fleet.fold(report(2, ready), now)

    told = fleet.fold(report(1, loading), now)

    assert told == ()
    assert [its.model for its in fleet.of("base")] == [ready]


def test_late_report_does_not_bring_a_stopped_replica_back() -> None:
    now, fleet = FakeClock().utc(), Fleet()
    ready = ModelSnapshot("base", ModelState.READY, now, Reason.LOADED)
    fleet.fold(ReplicaReport("r1", 2, (ready,), stopping=True), now)

    fleet.fold(report(1, ready), now)

    assert fleet.of("base") == ()


def test_change_that_is_reported_again_because_the_answer_was_lost_is_told_once() -> None:
    now, fleet = FakeClock().utc(), Fleet()
    change = ModelChange("base", ModelState.LOADING, Reason.REQUEST, now)
    loading = ModelSnapshot("base", ModelState.LOADING, now, Reason.REQUEST)
    first = fleet.fold(report(1, loading, changes=(change,)), now)

    again = fleet.fold(report(2, loading, changes=(change,)), now)

    assert [its.change for its in first] == [change]
    assert again == []


def test_chunks_that_come_and_go_are_no_news() -> None:
    now, fleet = FakeClock().utc(), Fleet()
    fleet.fold(report(1, ModelSnapshot("base", ModelState.READY, now, Reason.LOADED)), now)

    told = fleet.fold(report(2, ModelSnapshot("base", ModelState.BUSY, now, Reason.REQUEST)), now)

    assert told == []


def test_wall_clock_that_is_set_ahead_makes_no_replica_silent() -> None:
    clock, fleet = FakeClock(), Fleet(FakeClock())
    fleet.fold(report(1, ModelSnapshot("base", ModelState.READY, clock.utc(), Reason.LOADED)), clock.utc())
    clock.advance(3600)

    told = fleet.forget_silent(clock.utc())

    assert told == []


@dataclass
class Real:
    """What a replica truly has."""

    states: dict[str, ModelState] = field(default_factory=dict)
    changes: list[ModelChange] = field(default_factory=list)  # not yet reported
    number: int = 0


class ReplicasTalk(RuleBasedStateMachine):
    """Replicas load and unload as they like, and the network loses, repeats and reorders what they say."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.fleet = Fleet(self.clock)
        self.replicas = {replica_id: Real() for replica_id in REPLICAS}
        self.on_the_way: list[ReplicaReport] = []
        self.heard: dict[str, ReplicaReport] = {}  # what a perfect listener would know
        self.heard_at: dict[str, datetime] = {}
        self.latest: dict[str, int] = {}
        self.subscriber: dict[tuple[str, str], ModelState] = {}

    @rule(replica_id=st.sampled_from(REPLICAS), model_id=st.sampled_from(MODELS), state=STATES)
    def model_changes(self, replica_id: str, model_id: str, state: ModelState) -> None:
        self.clock.advance(0.01)
        real = self.replicas[replica_id]
        before = real.states.get(model_id, ModelState.UNLOADED)
        real.states[model_id] = state
        if settled(before) is not settled(state):
            real.changes.append(ModelChange(model_id, state, Reason.REQUEST, self.clock.utc()))

    @rule(
        replica_id=st.sampled_from(REPLICAS),
        keeps_changes=st.booleans(),
        stopping=st.sampled_from([False] * 5 + [True]),
    )
    def replica_reports(self, replica_id: str, keeps_changes: bool, stopping: bool) -> None:
        real = self.replicas[replica_id]
        real.number += 1
        models = tuple(ModelSnapshot(m, s, self.clock.utc(), Reason.REQUEST) for m, s in real.states.items())
        self.on_the_way.append(ReplicaReport(replica_id, real.number, models, tuple(real.changes), stopping=stopping))
        if not keeps_changes:
            real.changes.clear()

    @precondition(lambda self: self.on_the_way)
    @rule(data=st.data(), again=st.booleans(), lost=st.sampled_from([False] * 4 + [True]))
    def report_arrives(self, data: st.DataObject, again: bool, lost: bool) -> None:
        at = data.draw(st.integers(0, len(self.on_the_way) - 1))
        its = self.on_the_way[at]
        if not again:
            del self.on_the_way[at]
        if lost:
            return
        told = self.fleet.fold(its, self.clock.utc())
        self._hear(told)
        if its.number <= self.latest.get(its.replica_id, 0):
            assert not told
            return
        self.latest[its.replica_id] = its.number
        self.heard.pop(its.replica_id, None)
        if not its.stopping:
            self.heard[its.replica_id] = its
            self.heard_at[its.replica_id] = self.clock.utc()

    @rule(seconds=st.sampled_from([0.1, 5.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        now = self.clock.utc()
        self._hear(self.fleet.forget_silent(now))
        for replica_id in list(self.heard):
            if now - self.heard_at[replica_id] > SILENT_FOR:
                del self.heard[replica_id]

    @invariant()
    def fleet_knows_the_latest_report_of_each_replica(self) -> None:
        for model_id in MODELS:
            known = {its.replica_id: its.model for its in self.fleet.of(model_id)}
            true = {i: m for i, its in self.heard.items() for m in its.models if m.model_id == model_id}
            assert known == true

    @invariant()
    def subscriber_knows_what_the_fleet_knows(self) -> None:
        for replica_id in REPLICAS:
            states = {m.model_id: m.state for m in self.heard[replica_id].models} if replica_id in self.heard else {}
            for model_id in MODELS:
                known = self.subscriber.get((replica_id, model_id), ModelState.UNLOADED)
                assert known is settled(states.get(model_id, ModelState.UNLOADED))

    def _hear(self, told: Sequence[Told]) -> None:
        for its in told:
            self.subscriber[its.replica_id, its.change.model_id] = settled(its.change.state)


TestReplicasTalk = ReplicasTalk.TestCase
TestReplicasTalk.settings = settings(stateful_step_count=40)
