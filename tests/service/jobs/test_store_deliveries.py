"""What every job store promises to those who send webhooks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from serve_app.errors import DeliveryNotFound
from serve_app.jobs.job import DeliveryStatus
from serve_app.jobs.store import JobStore
from serve_app.testing import FakeClock
from tests.service.jobs.stores import ALICE, END, HOOK, claim, new_job


async def test_end_makes_a_delivery_that_is_due_at_once(store: JobStore, epoch: int, clock: FakeClock) -> None:
    await store.submit(new_job("a", webhook_url=HOOK))
    assert list(await store.due_deliveries(epoch, limit=9)) == []
    await store.record((await claim(store, epoch)).lease, END)
    (delivery,) = await store.due_deliveries(epoch, limit=9)

    assert (delivery.job_id, delivery.url, delivery.kind) == ("a", HOOK, "job.done")
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.PENDING, 0)
    assert (delivery.created_at, delivery.next_attempt_at) == (clock.utc(), clock.utc())
    assert list(await store.deliveries("a", ALICE)) == [delivery]


async def test_job_without_an_address_makes_none(store: JobStore) -> None:
    await store.submit(new_job("a"))
    await store.cancel("a")

    assert list(await store.deliveries("a")) == []


async def test_outcome_of_an_attempt_is_kept(store: JobStore, epoch: int, clock: FakeClock) -> None:
    await store.submit(new_job("a", webhook_url=HOOK))
    await store.cancel("a")
    (delivery,) = await store.due_deliveries(epoch, limit=9)
    later = replace(delivery, attempts=1, next_attempt_at=clock.utc() + timedelta(seconds=1), response_status=500)
    await store.update_delivery(delivery, later)

    assert list(await store.due_deliveries(epoch, limit=9)) == []
    clock.advance(1)
    assert list(await store.due_deliveries(epoch, limit=9)) == [later]


async def test_resent_delivery_begins_anew_under_the_same_id(store: JobStore, epoch: int, clock: FakeClock) -> None:
    await store.submit(new_job("a", webhook_url=HOOK))
    await store.cancel("a")
    (delivery,) = await store.due_deliveries(epoch, limit=9)
    exhausted = replace(delivery, status=DeliveryStatus.EXHAUSTED, attempts=1, next_attempt_at=None, error="no")
    await store.update_delivery(delivery, exhausted)
    assert list(await store.due_deliveries(epoch, limit=9)) == []
    clock.advance(60)
    resent = await store.resend("a", delivery.delivery_id, ALICE)

    assert resent == replace(delivery, next_attempt_at=clock.utc())
    assert list(await store.due_deliveries(epoch, limit=9)) == [resent]


@pytest.mark.parametrize("attempts", [0, 1])
async def test_delivery_that_is_resent_during_an_attempt_is_still_to_be_made(
    store: JobStore, epoch: int, clock: FakeClock, attempts: int
) -> None:
    await store.submit(new_job("a", webhook_url=HOOK))
    await store.cancel("a")
    (delivery,) = await store.due_deliveries(epoch, limit=9)
    tried = replace(delivery, attempts=attempts)
    await store.update_delivery(delivery, tried)
    clock.advance(1)
    resent = await store.resend("a", delivery.delivery_id)
    over = replace(tried, status=DeliveryStatus.EXHAUSTED, attempts=attempts + 1, next_attempt_at=None)
    await store.update_delivery(tried, over)

    assert list(await store.due_deliveries(epoch, limit=9)) == [resent]


async def test_unknown_delivery_cannot_be_resent(store: JobStore) -> None:
    await store.submit(new_job("a"))

    with pytest.raises(DeliveryNotFound):
        await store.resend("a", "unknown")


async def test_outcome_for_a_purged_job_is_no_error(store: JobStore, epoch: int) -> None:
    await store.submit(new_job("a", webhook_url=HOOK))
    await store.cancel("a")
    (delivery,) = await store.due_deliveries(epoch, limit=9)
    await store.purge("a")
    await store.update_delivery(delivery, delivery)

    assert list(await store.due_deliveries(epoch, limit=9)) == []
