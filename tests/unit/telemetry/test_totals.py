"""Counts on their way from many processes into one sum."""

from __future__ import annotations

import asyncio

import pytest

from serve_app.errors import CoordinatorUnavailable
from serve_app.telemetry.courier import Courier
from serve_app.telemetry.tally import Counter, Counts, Histogram, Tally
from serve_app.telemetry.totals import Growth, TotalKeeper, Totals
from serve_app.testing import FakeClock, FakeSleep

CATS = Counter("cats_total", "Cats.")
DOGS = Counter("dogs_total", "Dogs.", ("breed",))
WEIGHT = Histogram("weight", "Weight.", (1.0, 5.0), ("animal",))

ONE_CAT: Counts = {("cats_total", ()): (1.0,)}


class LosingAnswers(TotalKeeper):
    """Adds what it is sent; the answers of the first calls never arrive."""

    def __init__(self, lost: int) -> None:
        self._totals = Totals()
        self._lost = lost

    async def grow(self, growth: Growth) -> None:
        await self._totals.grow(growth)
        self._lost -= 1
        if self._lost >= 0:
            raise CoordinatorUnavailable("gone")

    async def totals(self) -> Counts:
        return await self._totals.totals()


def test_a_tally_gives_what_has_grown_once() -> None:
    tally = Tally()

    tally.count(CATS)
    tally.count(CATS, by=2)
    tally.count(DOGS, "poodle", by=0.5)

    assert tally.take() == {("cats_total", ()): (3.0,), ("dogs_total", ("poodle",)): (0.5,)}
    assert tally.take() == {}


def test_a_value_falls_into_the_first_bucket_that_holds_it_and_into_the_sum() -> None:
    tally = Tally()

    for kg in (0.5, 1.0, 4.0, 30.0):
        tally.observe(WEIGHT, kg, "cat")

    assert tally.take() == {("weight", ("cat",)): (2.0, 1.0, 1.0, 35.5)}


def test_labels_that_a_metric_does_not_have_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="dogs_total has the labels"):
        Tally().count(DOGS)


async def test_processes_add_up_and_the_dead_stay_in_the_sum() -> None:
    totals = Totals()

    await totals.grow(Growth("dead", 1, ONE_CAT))
    await totals.grow(Growth("alive", 1, ONE_CAT))
    await totals.grow(Growth("alive", 2, {**ONE_CAT, ("dogs_total", ("poodle",)): (1.0,)}))

    assert await totals.totals() == {("cats_total", ()): (3.0,), ("dogs_total", ("poodle",)): (1.0,)}


async def test_growth_that_comes_twice_or_late_is_added_once() -> None:
    totals = Totals()

    for number in (1, 1, 2, 1):
        await totals.grow(Growth("a", number, ONE_CAT))

    assert await totals.totals() == {("cats_total", ()): (2.0,)}


async def test_what_the_keeper_itself_counts_is_part_of_the_sum() -> None:
    own = Tally()
    totals = Totals(own)
    await totals.grow(Growth("a", 1, ONE_CAT))
    own.count(CATS)

    assert await totals.totals() == {("cats_total", ()): (2.0,)}
    assert await totals.totals() == {("cats_total", ()): (2.0,)}


async def test_a_version_with_other_buckets_replaces_the_series_instead_of_garbling_it() -> None:
    totals = Totals()

    await totals.grow(Growth("old", 1, {("weight", ("cat",)): (1.0, 2.0)}))
    await totals.grow(Growth("new", 1, {("weight", ("cat",)): (1.0, 0.0, 2.0)}))

    assert await totals.totals() == {("weight", ("cat",)): (1.0, 0.0, 2.0)}


async def test_a_courier_whose_answers_are_lost_counts_nothing_twice_and_loses_nothing() -> None:
    tally, keeper = Tally(), LosingAnswers(2)
    courier = Courier("a", tally, keeper.grow)

    for _ in range(5):
        tally.count(CATS)
        await courier.bring()

    assert await keeper.totals() == {("cats_total", ()): (5.0,)}


async def test_a_new_keeper_is_told_what_happens_from_then_on() -> None:
    """Told all that ever was, its first totals would look like a burst."""
    tally, old, new = Tally(), Totals(), Totals()
    current = old
    courier = Courier("a", tally, lambda growth: current.grow(growth))
    tally.count(CATS, by=1000)
    await courier.bring()

    current = new
    tally.count(CATS)
    await courier.bring()

    assert await new.totals() == {("cats_total", ()): (1.0,)}


async def test_a_courier_sends_nothing_while_nothing_happens() -> None:
    sent: list[Growth] = []

    async def send(growth: Growth) -> None:
        sent.append(growth)

    sleep = FakeSleep(FakeClock())
    courier = Courier("a", tally := Tally(), send, every_s=2.0, sleep=sleep)
    courier.start()
    await passed(sleep, 2.0)
    assert sent == []

    tally.count(CATS)
    await passed(sleep, 1.0)
    assert sent == []
    await passed(sleep, 1.0)
    await passed(sleep, 2.0)
    await courier.close()

    assert sent == [Growth("a", 1, ONE_CAT)]


async def test_a_courier_that_closes_brings_the_last_of_it() -> None:
    tally, totals = Tally(), Totals()
    courier = Courier("a", tally, totals.grow)
    courier.start()
    tally.count(CATS)

    await courier.close()

    assert await totals.totals() == ONE_CAT


async def test_what_grew_while_an_earlier_send_failed_is_brought_at_the_close() -> None:
    tally, keeper = Tally(), LosingAnswers(1)
    courier = Courier("a", tally, keeper.grow)
    tally.count(CATS)
    await courier.bring()
    tally.count(CATS, by=2)

    await courier.close()

    assert await keeper.totals() == {("cats_total", ()): (3.0,)}


async def test_a_courier_closes_although_the_keeper_is_away() -> None:
    tally, keeper = Tally(), LosingAnswers(2)
    courier = Courier("a", tally, keeper.grow)
    tally.count(CATS)

    await courier.close()

    assert await keeper.totals() == ONE_CAT


async def passed(sleep: FakeSleep, seconds: float) -> None:
    await asyncio.sleep(0)
    sleep.advance(seconds)
    for _ in range(20):
        await asyncio.sleep(0)
