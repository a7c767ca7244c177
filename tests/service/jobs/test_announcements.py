"""What every job store promises of those who are told of models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from serve_app.errors import JobNotFound, Superseded
from serve_app.jobs import outbox
from serve_app.jobs.job import Delivery, DeliveryStatus, Idempotency, News
from serve_app.jobs.store import JobStore
from serve_app.testing import FakeClock
from tests.service.jobs.stores import ALICE, BOB, HOOK, Opened, announcement, new_job

OTHER = "https://example.org/other"
READY, UNLOADED = announcement(), announcement(News.MODEL_UNLOADED)


async def give(store: JobStore, url: str, owner: str = ALICE, *, tells_of_models: bool = True) -> None:
    """A job with this address, which is purged at once."""
    await store.submit(new_job("giver", owner, webhook_url=url, tells_of_models=tells_of_models))
    await store.purge("giver")


async def due(store: JobStore, epoch: int) -> Sequence[Delivery]:
    return await store.due_deliveries(epoch, limit=9)


async def told(store: JobStore, epoch: int) -> list[str]:
    """Who is told, without what it is."""
    return sorted(delivery.url for delivery in await due(store, epoch))


async def test_every_address_that_was_ever_given_is_told_once(store: JobStore, epoch: int, clock: FakeClock) -> None:
    for url, owner in ((HOOK, ALICE), (OTHER, BOB), (HOOK, ALICE), (HOOK, BOB)):
        await give(store, url, owner)

    assert await store.announce(READY, epoch)
    first, second = sorted(await due(store, epoch), key=lambda delivery: delivery.url)
    assert (first.url, second.url) == (HOOK, OTHER)
    assert (first.job_id, first.kind, first.status) == (None, "model_ready", DeliveryStatus.PENDING)
    assert (first.created_at, first.next_attempt_at) == (clock.utc(), clock.utc())
    assert json.loads(first.body or "") == {
        "type": "model_ready",
        "model": "tiny.en",
        "state": "ready",
        "reason": "loaded",
        "at": "2026-05-05T12:00:00Z",
    }


async def test_address_of_a_job_that_does_not_say_so_is_not_told(store: JobStore, epoch: int) -> None:
    await give(store, HOOK, tells_of_models=False)
    await store.submit(new_job("without", tells_of_models=True))

    assert await store.announce(READY, epoch)
    assert await told(store, epoch) == []


async def test_address_of_a_repeated_submit_is_not_kept(store: JobStore, epoch: int) -> None:
    key = Idempotency("key", "f1")
    await store.submit(new_job("a", idempotency=key))
    await store.submit(new_job("b", idempotency=key, webhook_url=HOOK, tells_of_models=True))
    await store.announce(READY, epoch)

    assert await told(store, epoch) == []


async def test_ready_and_unloaded_take_turns_for_each_model_and_begin_with_ready(store: JobStore, epoch: int) -> None:
    turns = (UNLOADED, READY, READY, UNLOADED, UNLOADED, READY, announcement(model_id="base"))

    assert [await store.announce(turn, epoch) for turn in turns] == [False, True, False, True, False, True, True]


async def test_another_coordinator_tells_nothing_again_and_an_older_one_nothing_at_all(opened: Opened) -> None:
    old = await opened.store.take_over()
    await opened.store.announce(READY, old)
    successor = await opened.again()
    new = await successor.take_over()

    assert not await successor.announce(READY, new)
    with pytest.raises(Superseded):
        await opened.store.announce(UNLOADED, old)


async def test_announcement_survives_a_take_over_and_is_due_then(opened: Opened) -> None:
    epoch = await opened.store.take_over()
    await give(opened.store, HOOK)
    await opened.store.announce(READY, epoch)
    (delivery,) = await due(opened.store, epoch)
    late = replace(delivery, attempts=1, next_attempt_at=opened.clock.utc() + timedelta(hours=1))
    await opened.store.update_delivery(delivery, late)
    successor = await opened.again()

    assert list(await due(successor, await successor.take_over())) == [
        replace(late, next_attempt_at=opened.clock.utc())
    ]


async def test_outcome_of_an_attempt_is_kept(store: JobStore, epoch: int) -> None:
    await give(store, HOOK)
    await store.announce(READY, epoch)
    (delivery,) = await due(store, epoch)
    await store.update_delivery(delivery, replace(delivery, status=DeliveryStatus.DELIVERED, next_attempt_at=None))

    assert await told(store, epoch) == []


async def test_announcement_belongs_to_nobodys_job(store: JobStore, epoch: int) -> None:
    await store.submit(new_job("a", webhook_url=HOOK, tells_of_models=True))
    await store.announce(READY, epoch)
    (delivery,) = await due(store, epoch)

    assert list(await store.deliveries("a")) == []
    with pytest.raises(JobNotFound):
        await store.resend("a", delivery.delivery_id)


async def test_address_that_is_gone_is_told_no_more_until_it_is_given_again(store: JobStore, epoch: int) -> None:
    for url in (HOOK, OTHER):
        await give(store, url)
    await store.announce(READY, epoch)
    for delivery in await due(store, epoch):
        status = 410 if delivery.url == HOOK else 500
        over = replace(
            delivery, status=DeliveryStatus.EXHAUSTED, attempts=1, next_attempt_at=None, response_status=status
        )
        await store.update_delivery(delivery, over)

    await store.announce(UNLOADED, epoch)
    assert await told(store, epoch) == [OTHER]
    await give(store, HOOK)
    await store.announce(READY, epoch)
    assert await told(store, epoch) == [HOOK, OTHER, OTHER]


async def test_of_an_owner_the_newest_addresses_are_kept(
    store: JobStore, epoch: int, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_ADDRESSES", 2)
    await give(store, OTHER, BOB)
    for n in range(4):
        clock.advance(1)
        await give(store, f"{HOOK}/{n}")
    await store.announce(READY, epoch)

    assert await told(store, epoch) == [f"{HOOK}/2", f"{HOOK}/3", OTHER]


async def test_old_announcements_are_forgotten_and_deliveries_of_jobs_are_not(
    store: JobStore, epoch: int, clock: FakeClock
) -> None:
    await store.submit(new_job("a", webhook_url=HOOK, tells_of_models=True))
    await store.cancel("a")
    await store.announce(READY, epoch)
    clock.advance(60)
    await store.announce(UNLOADED, epoch)
    await store.forget_announcements(timedelta(seconds=60))

    assert sorted(delivery.kind for delivery in await due(store, epoch)) == ["job.cancelled", "model_unloaded"]


async def test_forgotten_addresses_take_what_was_to_be_told_along(store: JobStore, epoch: int) -> None:
    await store.submit(new_job("a", webhook_url=HOOK, tells_of_models=True))
    await store.cancel("a")
    await store.announce(READY, epoch)
    await store.forget_addresses()

    assert [delivery.kind for delivery in await due(store, epoch)] == ["job.cancelled"]
    assert await store.announce(READY, epoch)
    assert [delivery.kind for delivery in await due(store, epoch)] == ["job.cancelled"]
