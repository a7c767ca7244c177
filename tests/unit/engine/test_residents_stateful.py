"""Any sequence of requests, loads, failures and time: nothing is freed in use, nothing is lost, and all is served in the end."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from serve_app.engine.resident import Load, Park
from serve_app.settings.lifecycle import LifecycleSettings
from serve_app.testing.gpu import GIB

from .world import NEEDS, World

MODELS = st.sampled_from(["a", "a", "b", "b", "c", "giant"])
AGO_S = st.sampled_from([0.0, 0.0, 1.0, 20.0])
BUDGETS_BYTES = (0, 5 * GIB)  # none, and room for one


class AnyReplica(RuleBasedStateMachine):
    """Whatever can happen to a replica."""

    on_gpu = True

    @initialize(
        places=st.integers(1, 3),
        budget=st.sampled_from(BUDGETS_BYTES),
        unload_after_s=st.sampled_from([-1.0, 0.0, 20.0]),
        falls_back=st.booleans(),
    )
    def begin(self, places: int, budget: int, unload_after_s: float, falls_back: bool) -> None:
        lifecycle = LifecycleSettings(
            max_models=places, vram_budget_bytes=budget, unload_after_s=unload_after_s, cpu_fallback=falls_back
        )
        self.world = World(lifecycle, on_gpu=self.on_gpu)
        self.ordered: dict[str, datetime] = {}

    @rule(model_id=MODELS, ago_s=AGO_S)
    def request(self, model_id: str, ago_s: float) -> None:
        self.world.request(model_id, self.world.instant(ago_s))

    @rule(model_id=MODELS, ago_s=AGO_S)
    def hold(self, model_id: str, ago_s: float) -> None:
        self.world.hold(model_id, self.world.instant(ago_s))

    @precondition(lambda self: self.world.waiting + self.world.using + self.world.holding)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        world = self.world
        world.leave(data.draw(st.sampled_from([*world.waiting, *world.using, *world.holding])))

    @precondition(lambda self: self.world.using)
    @rule(data=st.data())
    def begin_work(self, data: st.DataObject) -> None:
        self.world.begin_work(data.draw(st.sampled_from(self.world.using)).model_id)

    @precondition(lambda self: self.world.at_work)
    @rule(data=st.data())
    def end_work(self, data: st.DataObject) -> None:
        self.world.end_work(data.draw(st.sampled_from(self.world.at_work)))

    @precondition(lambda self: self.world.using and self.on_gpu)
    @rule(data=st.data())
    def run_out_of_memory(self, data: st.DataObject) -> None:
        self.world.run_out_of_memory(data.draw(st.sampled_from(self.world.using)))

    @rule(model_id=MODELS, force=st.booleans(), ago_s=AGO_S)
    def unload(self, model_id: str, force: bool, ago_s: float) -> None:
        at = self.world.instant(ago_s)
        self.ordered[model_id] = max(self.ordered.get(model_id, at), at)
        self.world.unload(model_id, force=force, at=at)

    @precondition(lambda self: self.world.pending)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.world.finish(data.draw(st.sampled_from(sorted(self.world.pending))))

    @precondition(lambda self: self.world.pending or self.world.is_asked)
    @rule()
    def all_that_was_begun_ends(self) -> None:
        self.world.finish_all()

    @precondition(lambda self: any(isinstance(action, Load) for action in self.world.pending.values()))
    @rule(data=st.data())
    def fail_to_load(self, data: st.DataObject) -> None:
        loads = [model_id for model_id, action in self.world.pending.items() if isinstance(action, Load)]
        self.world.finish(data.draw(st.sampled_from(loads)), fails=True)

    @precondition(lambda self: self.world.is_asked)
    @rule()
    def answer(self) -> None:
        self.world.answer()

    @rule(gib=st.integers(0, 8))
    def others_take_memory(self, gib: int) -> None:
        self.world.gpu.others_bytes = min(gib * GIB, self.world.gpu.total_bytes - self.world.gpu.ours_bytes)

    @rule(is_lost=st.booleans())
    def lose_the_gpu(self, is_lost: bool) -> None:
        self.world.gpu.lost = is_lost

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @invariant()
    def places_and_budget_are_kept(self) -> None:
        world = self.world
        loading = {m for m, action in world.pending.items() if isinstance(action, Load)}
        held = world.loaded | world.parked | loading

        assert len(held) <= world.settings.max_models
        on_device = sum(NEEDS[m] for m in (world.loaded | loading) - world.on_cpu)
        if self.on_gpu:
            assert on_device <= (world.settings.vram_budget_bytes or on_device)
            assert world.gpu.ours_bytes <= world.gpu.total_bytes

    @invariant()
    def everybody_who_waits_is_known_to_wait(self) -> None:
        known = [ticket for resident in self.world.machine for ticket in resident.waiters]

        assert sorted(map(id, known)) == sorted(map(id, self.world.waiting))
        used = [ticket for resident in self.world.machine for ticket in resident.leases]
        assert sorted(map(id, used)) == sorted(map(id, self.world.using))

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.gpu.lost, world.gpu.others_bytes = False, 0
        for _ in range(60):
            for model_id in list(world.at_work):
                world.end_work(model_id)
            world.finish_all()
            for ticket in [*world.using, *world.holding]:
                world.leave(ticket)
            if not (world.waiting or world.pending or world.using or world.holding):
                break
            world.advance(2.0)
        for _ in range(20):
            world.advance(2.0)
            world.finish_all()
        assert not world.waiting, "whoever waits is served when there is memory"
        assert not any(isinstance(action, Park) for action in world.pending.values())
        for model_id, at in self.ordered.items():
            stays = model_id in world.loaded | world.parked
            assert not stays or world.newest[model_id] >= at, "what was unloaded comes back only for what began later"


class CpuReplica(AnyReplica):
    on_gpu = False


@pytest.mark.hypothesis
@pytest.mark.parametrize("replica", [AnyReplica, CpuReplica])
def test_any_sequence_of_events_keeps_the_rules(replica: type[AnyReplica]) -> None:
    examples = 2 * settings().max_examples
    run_state_machine_as_test(replica, settings=settings(max_examples=examples, stateful_step_count=40))
