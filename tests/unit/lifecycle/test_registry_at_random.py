"""Loads, unloads, uses and deaths in any order."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from serve_app.errors import ModelLoadFailed, RecognizerUnavailable
from serve_app.models.types import BEST_FIRST, FOREVER, ModelState, Reason
from tests.unit.lifecycle.world import A, B, World, settled

MODELS = st.sampled_from((A, B))
REPLICAS = st.sampled_from(("r1", "r2"))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("load"), MODELS, st.sampled_from([None, -1.0, 0.0, 5.0, 60.0])),
        st.tuples(st.just("want"), MODELS),
        st.tuples(st.just("unload"), MODELS, st.booleans()),
        st.tuples(st.just("report"), REPLICAS, st.dictionaries(MODELS, st.sampled_from(ModelState))),
        st.tuples(st.just("stop"), REPLICAS),
        st.tuples(st.just("advance"), st.sampled_from([0.5, 1.0, 8.0, 25.0])),
        st.tuples(st.just("hold_ends"), st.sampled_from(["well", "died", "cannot"])),
    ),
    max_size=40,
)
ERRORS = {"well": None, "died": RecognizerUnavailable("died"), "cannot": ModelLoadFailed("no weights")}


class Walk:
    def __init__(self) -> None:
        self.world = World(slice_s=0.001)
        self.registry = self.world.registry

    async def load(self, model_id: str, ttl_s: float | None) -> None:
        pinned = await self.registry.load(model_id, ttl_s=ttl_s)
        assert pinned.pinned_until
        assert pinned.state is not ModelState.UNLOADED

    async def want(self, model_id: str) -> None:
        await self.registry.want(model_id)

    async def unload(self, model_id: str, force: bool) -> None:
        unloaded = await self.registry.unload(model_id, force=force)
        assert unloaded.pinned_until is None

    async def report(self, replica: str, states: dict[str, ModelState]) -> None:
        now = self.world.clock.utc()
        models = [self.world.snapshot(m, s, Reason.REQUEST, last_used_at=now) for m, s in states.items()]
        await self.world.report(*models, replica=replica)

    async def stop(self, replica: str) -> None:
        await self.world.report(replica=replica, stopping=True)

    async def advance(self, seconds: float) -> None:
        await self.world.advance(seconds)

    async def hold_ends(self, how: str) -> None:
        if open_ := [call for call in self.world.holder.calls if not call.ended.done()]:
            error = ERRORS[how]
            if error:
                open_[0].ended.set_exception(error)
            else:
                open_[0].ended.set_result(None)

    async def check(self) -> None:
        for model in (await self.registry.status()).models:
            states = [its.model.state for its in model.replicas]
            best = min(states, key=BEST_FIRST.index, default=ModelState.UNLOADED)
            waiting = [call for call in self.world.holder.calls if not call.ended.done()]
            held = [call for call in waiting if call.model_id == model.model_id]
            assert len(held) <= 1, "two holds of one model"
            assert model.state is best or (model.state is ModelState.LOADING and best in BEST_FIRST[-2:])
            if model.state is ModelState.READY and model.pinned_until not in (None, FOREVER):
                assert model.last_used_at
                assert model.pinned_until >= model.last_used_at

    async def run(self, steps: list[tuple[Any, ...]]) -> None:
        seen = (await self.world.seen()) if steps else 0
        async with self.world.running():
            for verb, *arguments in steps:
                await getattr(self, verb)(*arguments)
                await settled()
                await self.check()
        if steps:
            numbers = [event.seq for event in await self.world.slice_of(seen)]
            assert numbers == list(range(seen + 1, seen + 1 + len(numbers)))


@given(steps=STEPS)
def test_whatever_happens_the_picture_is_that_of_the_replicas(steps: list[tuple[Any, ...]]) -> None:
    asyncio.run(Walk().run(steps))


@given(
    ttl_s=st.floats(0, 10**6),
    used_after_s=st.lists(st.floats(0, 10**5), min_size=1, max_size=5),
)
def test_pin_ends_its_ttl_after_the_last_use_whenever_that_is(ttl_s: float, used_after_s: list[float]) -> None:
    async def check() -> None:
        world = World()
        await world.registry.load(A, ttl_s=ttl_s)
        for seconds in used_after_s:
            world.clock.advance(seconds)
            used_at = world.clock.utc()
            await world.report(world.snapshot(A, ModelState.READY, last_used_at=used_at))
        world.clock.advance(1)
        pinned = await world.registry.overview(A)
        assert pinned.pinned_until == used_at + timedelta(seconds=ttl_s)
        await world.registry.unload(A)

    asyncio.run(check())
