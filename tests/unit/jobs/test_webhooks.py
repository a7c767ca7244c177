"""Deliveries: when they are tried again, when they are given up, and what a receiver sees."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from serve_app.errors import JobNotFound, StoreUnavailable, Superseded
from serve_app.jobs.hub import Hub
from serve_app.jobs.job import Announcement, Delivery, DeliveryStatus, NewJob, News
from serve_app.jobs.webhooks import MOST_NEW, Deliverer, Outcome, attempted
from serve_app.settings import WebhookSettings
from serve_app.telemetry.tally import Tally
from serve_app.testing import FakeClock, InMemoryJobStore
from tests.unit.jobs.coordination import settled
from tests.unit.jobs.examples import MEDIA, NOON, OPTIONS

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
URL = "https://hooks.example/path?token=hidden"
PENDING = Delivery("msg_1", "job", URL, "job.done", DeliveryStatus.PENDING, NOON, next_attempt_at=NOON)
READY = Announcement(News.MODEL_READY, "tiny.en", "ready", "loaded", NOON)

Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


async def body_of(job_id: str) -> bytes:
    return f'{{"job_id":"{job_id}","text":"Grüße"}}'.encode()


@dataclass
class Post:
    """
    A deliverer with all that it needs.

    Attributes:
        heard: Requests that came to the receiver.
        statuses: What the receiver answers, in turn; the last one for ever.
        set_back: By what the clock on the wall was set back while the process ran.
    """

    statuses: list[int] = field(default_factory=lambda: [200])
    heard: list[httpx.Request] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)
    secret: str | None = None
    slept_s: list[float] = field(default_factory=list)
    set_back: timedelta = timedelta()
    body_of: Callable[[str], Awaitable[bytes]] = body_of
    settings: WebhookSettings = field(default_factory=WebhookSettings)
    receive: Handler | None = None

    def __post_init__(self) -> None:
        self.store = InMemoryJobStore(self.clock.utc)
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._receive))
        self.tally = Tally()
        self.deliverer = self.another()
        self.epoch = 0
        self.awake = asyncio.Event()

    def another(self) -> Deliverer:
        return Deliverer(
            self.store,
            lambda job_id: self.body_of(job_id),
            self.client,
            secret=self.secret,
            settings=self.settings,
            clock=self.clock.utc,
            tally=self.tally,
            wall=lambda: self.clock.utc() - self.set_back,
            sleep=self._sleep,
        )

    async def ended_job(self, url: str = URL) -> str:
        """A job whose end is to be told."""
        self.epoch = self.epoch or await self.store.take_over()
        job_id = str(uuid.uuid4())
        await self.store.submit(NewJob(job_id, "", MEDIA, OPTIONS, webhook_url=url))
        await self.store.cancel(job_id)
        return job_id

    async def announced(self, url: str = URL) -> None:
        """An announcement that is to be told to one address."""
        self.epoch = self.epoch or await self.store.take_over()
        await self.store.submit(NewJob(str(uuid.uuid4()), "", MEDIA, OPTIONS, webhook_url=url, tells_of_models=True))
        await self.store.announce(READY, self.epoch)

    async def deliver(self) -> int:
        begun = await self.deliverer.deliver_due(self.epoch)
        await self.deliverer.settle()
        return begun

    async def delivery_of(self, job_id: str) -> Delivery:
        (delivery,) = await self.store.deliveries(job_id)
        return delivery

    async def _receive(self, request: httpx.Request) -> httpx.Response:
        self.heard.append(request)
        if self.receive is not None:
            return await self.receive(request)
        return httpx.Response(self.statuses[min(len(self.heard), len(self.statuses)) - 1])

    async def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        await self.awake.wait()


@contextlib.asynccontextmanager
async def posting(**given: object) -> AsyncIterator[Post]:
    post = Post(**given)  # type: ignore[arg-type]
    try:
        yield post
    finally:
        await post.deliverer.close()
        await post.client.aclose()


def test_retries_come_after_1_2_4_8_and_16_seconds_and_then_it_is_given_up() -> None:
    delivery, waits = PENDING, []
    while delivery.status is DeliveryStatus.PENDING:
        delivery = attempted(delivery, Outcome(503), NOON)
        waits.append(delivery.next_attempt_at and (delivery.next_attempt_at - NOON).total_seconds())

    assert waits == [1, 2, 4, 8, 16, None]
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.EXHAUSTED, 6)
    assert (delivery.response_status, delivery.error) == (503, "answered 503")


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_every_2xx_is_a_delivery(status: int) -> None:
    after = attempted(replace(PENDING, error="it takes too long", attempts=2), Outcome(status), NOON)

    assert after == replace(
        PENDING,
        status=DeliveryStatus.DELIVERED,
        attempts=3,
        next_attempt_at=None,
        delivered_at=NOON,
        response_status=status,
        error=None,
    )


def test_a_receiver_that_is_gone_is_given_up_at_once() -> None:
    assert attempted(PENDING, Outcome(410), NOON).status is DeliveryStatus.EXHAUSTED


def test_an_attempt_without_an_answer_keeps_the_last_status() -> None:
    after = attempted(replace(PENDING, response_status=503), Outcome(error="it takes too long"), NOON)

    assert (after.response_status, after.error) == (503, "it takes too long")


async def test_the_job_object_is_posted_once_under_the_deliverys_id() -> None:
    async with posting() as post:
        job_id = await post.ended_job()
        assert [await post.deliver(), await post.deliver()] == [1, 0]
        delivery = await post.delivery_of(job_id)

    (request,) = post.heard
    assert (request.method, str(request.url), request.content) == ("POST", URL, await body_of(job_id))
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == delivery.delivery_id
    assert request.headers["webhook-timestamp"] == str(int(post.clock.utc().timestamp()))
    assert "webhook-signature" not in request.headers
    assert (delivery.status, delivery.delivered_at) == (DeliveryStatus.DELIVERED, post.clock.utc())


async def test_signatures_are_what_the_receivers_library_accepts() -> None:
    clock = FakeClock((datetime.now(UTC) - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds())
    async with posting(secret=SECRET, clock=clock) as post:
        await post.ended_job()
        await post.deliver()

    (request,) = post.heard
    assert "Grüße" in Webhook(SECRET).verify(request.content, dict(request.headers))["text"]
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.content + b" ", dict(request.headers))


@pytest.mark.parametrize("off", [timedelta(minutes=-6), timedelta(minutes=6)])
async def test_a_signature_is_not_accepted_later(off: timedelta) -> None:
    """Who records a webhook and sends it again is refused by the receivers' library, which allows five minutes."""
    clock = FakeClock((datetime.now(UTC) + off - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds())
    async with posting(secret=SECRET, clock=clock) as post:
        await post.ended_job()
        await post.deliver()

    (request,) = post.heard
    with pytest.raises(WebhookVerificationError, match="timestamp"):
        Webhook(SECRET).verify(request.content, dict(request.headers))


async def test_a_clock_that_was_set_back_signs_with_the_time_that_receivers_have() -> None:
    set_back = timedelta(hours=1)
    clock = FakeClock((datetime.now(UTC) + set_back - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds())
    async with posting(secret=SECRET, clock=clock, set_back=set_back) as post:
        await post.ended_job()
        await post.deliver()

    (request,) = post.heard
    Webhook(SECRET).verify(request.content, dict(request.headers))


async def test_each_retry_is_signed_anew_under_the_same_id() -> None:
    async with posting(secret=SECRET, statuses=[500, 200]) as post:
        job_id = await post.ended_job()
        await post.deliver()
        post.clock.advance(0.9)
        assert await post.deliver() == 0
        post.clock.advance(0.1)
        assert await post.deliver() == 1

        assert (await post.delivery_of(job_id)).attempts == 2
    first, second = (request.headers for request in post.heard)
    assert first["webhook-id"] == second["webhook-id"]
    assert first["webhook-signature"] != second["webhook-signature"]


async def test_what_is_given_up_is_logged_without_the_secrets_of_its_url(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="serve_app")
    async with posting(statuses=[500]) as post:
        job_id = await post.ended_job()
        for _ in range(6):
            await post.deliver()
            post.clock.advance(16)
        assert await post.deliver() == 0

        assert (await post.delivery_of(job_id)).status is DeliveryStatus.EXHAUSTED
    (record,) = caplog.records
    assert f"of job {job_id} to hooks.example is given up after 6 attempts: answered 500" in record.getMessage()
    assert "hidden" not in caplog.text
    assert "Grüße" not in caplog.text


async def test_announcement_is_posted_and_signed_as_it_was_made() -> None:
    clock = FakeClock((datetime.now(UTC) - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds())
    async with posting(secret=SECRET, clock=clock) as post:
        await post.announced()
        assert [await post.deliver(), await post.deliver()] == [1, 0]

    (request,) = post.heard
    assert Webhook(SECRET).verify(request.content, dict(request.headers)) == {
        "type": "model_ready",
        "model": "tiny.en",
        "state": "ready",
        "reason": "loaded",
        "at": "2026-05-05T12:00:00Z",
    }


async def test_announcement_is_tried_again_and_given_up_as_others_are(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="serve_app")
    async with posting(statuses=[500]) as post:
        await post.announced()
        begun = []
        for wait_s in (1, 2, 4, 8, 16, 32):
            begun.append(await post.deliver())
            post.clock.advance(wait_s)
        assert await post.deliver() == 0

    assert begun == [1] * 6
    (record,) = caplog.records
    assert "of model_ready to hooks.example is given up after 6 attempts: answered 500" in record.getMessage()
    assert "hidden" not in caplog.text


async def test_one_that_was_given_up_can_be_sent_again_under_its_id() -> None:
    async with posting(statuses=[410, 200]) as post:
        job_id = await post.ended_job()
        await post.deliver()
        given_up = await post.delivery_of(job_id)
        await post.store.resend(job_id, given_up.delivery_id)
        await post.deliver()

        assert (await post.delivery_of(job_id)).status is DeliveryStatus.DELIVERED
    assert len({request.headers["webhook-id"] for request in post.heard}) == 1


async def test_a_redirect_that_keeps_the_method_is_followed_with_the_body() -> None:
    async def moved(request: httpx.Request) -> httpx.Response:
        if request.url.host == "new.example":
            return httpx.Response(200)
        return httpx.Response(308, headers={"location": "https://new.example/"})

    async with posting(receive=moved) as post:
        job_id = await post.ended_job()
        await post.deliver()

        assert (await post.delivery_of(job_id)).status is DeliveryStatus.DELIVERED
    old, new = post.heard
    assert (new.method, new.content, new.headers["webhook-id"]) == ("POST", old.content, old.headers["webhook-id"])


@pytest.mark.parametrize(("status", "requests"), [(301, 1), (302, 1), (303, 1), (307, 6)])
async def test_other_redirects_and_endless_ones_are_failures(status: int, requests: int) -> None:
    async def away(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"location": "https://new.example/"})

    async with posting(receive=away) as post:
        job_id = await post.ended_job()
        await post.deliver()

        assert (await post.delivery_of(job_id)).error == f"answered {status}"
    assert len(post.heard) == requests


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (httpx.ConnectError("https://hooks.example/path?token=hidden"), "no connection can be made"),
        (httpx.ReadError(""), "the connection broke off"),
        (httpx.ReadTimeout(""), "it takes too long"),
        (httpx.InvalidURL("of a redirect, with token=hidden"), "InvalidURL while it was sent"),
    ],
)
async def test_a_receiver_that_is_away_is_tried_again(error: Exception, says: str) -> None:
    async def away(request: httpx.Request) -> httpx.Response:
        raise error

    async with posting(receive=away) as post:
        job_id = await post.ended_job()
        await post.deliver()

        delivery = await post.delivery_of(job_id)
    assert (delivery.status, delivery.error, delivery.response_status) == (DeliveryStatus.PENDING, says, None)


async def test_an_attempt_takes_no_longer_than_it_may() -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with posting(receive=never, settings=WebhookSettings(timeout_s=0.01)) as post:
        job_id = await post.ended_job()
        await post.deliver()

        assert (await post.delivery_of(job_id)).error == "it takes too long"


async def test_a_host_hears_a_few_at_a_time_and_holds_no_other_host_up() -> None:
    open_door = asyncio.Event()
    at_once: list[int] = []

    async def slow(request: httpx.Request) -> httpx.Response:
        if request.url.host == "slow.example":
            at_once.append(sum(r.url.host == "slow.example" for r in post.heard))
            await open_door.wait()
        return httpx.Response(200)

    async with posting(receive=slow, settings=WebhookSettings(max_per_host=2)) as post:
        for _ in range(5):
            await post.ended_job("https://slow.example/")
        quick = await post.ended_job("https://quick.example/")
        begun = [await post.deliverer.deliver_due(post.epoch), await post.deliverer.deliver_due(post.epoch)]
        await settled()
        assert (begun, at_once) == ([6, 0], [1, 2])
        assert await delivered(post, quick)

        open_door.set()
        await post.deliverer.settle()
    assert len(post.heard) == 6


async def test_any_number_of_deliveries_to_a_dead_host_hold_no_other_host_up() -> None:
    async def dead(request: httpx.Request) -> httpx.Response:
        if request.url.host == "dead.example":
            await asyncio.Event().wait()
        return httpx.Response(200)

    async with posting(receive=dead) as post:
        for _ in range(MOST_NEW):
            await post.ended_job("https://dead.example/")
        alive = await post.ended_job("https://alive.example/")
        begun = [await post.deliverer.deliver_due(post.epoch), await post.deliverer.deliver_due(post.epoch)]
        await settled()

        assert begun == [MOST_NEW, 1]
        assert await delivered(post, alive)


async def test_eight_hosts_that_time_out_leave_places_for_the_others() -> None:
    async def dead(request: httpx.Request) -> httpx.Response:
        if request.url.host.startswith("dead"):
            await asyncio.Event().wait()
        return httpx.Response(200)

    async with posting(receive=dead) as post:
        for n in range(8):
            for _ in range(10):
                await post.ended_job(f"https://dead-{n}.example/")
        await post.deliverer.deliver_due(post.epoch)
        await settled()
        alive = [await post.ended_job(f"https://alive-{n}.example/") for n in range(10)]
        await post.deliverer.deliver_due(post.epoch)
        await settled()

        assert [await delivered(post, job_id) for job_id in alive] == [True] * 10


async def test_one_that_is_sent_again_by_hand_during_its_first_attempt_is_sent_again() -> None:
    answer = asyncio.Event()

    async def slow_once(request: httpx.Request) -> httpx.Response:
        if len(post.heard) == 1:
            await answer.wait()
        return httpx.Response(410 if len(post.heard) == 1 else 200)

    async with posting(receive=slow_once) as post:
        job_id = await post.ended_job()
        await post.deliverer.deliver_due(post.epoch)
        await settled()
        post.clock.advance(1)
        await post.store.resend(job_id, (await post.delivery_of(job_id)).delivery_id)
        answer.set()
        await post.deliverer.settle()
        await post.deliver()

        assert await delivered(post, job_id)
    assert len(post.heard) == 2


async def test_what_was_on_its_way_when_a_process_died_is_sent_again_under_its_id() -> None:
    hangs = asyncio.Event()

    async def hang_once(request: httpx.Request) -> httpx.Response:
        if len(post.heard) == 1:
            hangs.set()
            await asyncio.Event().wait()
        return httpx.Response(200)

    async with posting(receive=hang_once) as post:
        job_id = await post.ended_job()
        await post.deliverer.deliver_due(post.epoch)
        await hangs.wait()
        await post.deliverer.close()
        post.epoch = await post.store.take_over()
        post.deliverer = post.another()
        await post.deliver()

        assert await delivered(post, job_id)
    assert len({request.headers["webhook-id"] for request in post.heard}) == 1


async def test_a_purged_job_is_no_longer_told() -> None:
    async def gone(job_id: str) -> bytes:
        raise JobNotFound("There is no such job.")

    async with posting(body_of=gone) as post:
        await post.ended_job()
        await post.deliver()

    assert (post.heard, post.slept_s) == ([], [])


async def test_while_the_store_keeps_no_outcome_a_receiver_does_not_hear_the_same_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def full(*_: Delivery) -> None:
        raise StoreUnavailable("The disk is full.")

    async with posting() as post:
        job_id = await post.ended_job()
        monkeypatch.setattr(post.store, "update_delivery", full)
        await post.deliverer.deliver_due(post.epoch)
        await settled()
        assert await post.deliverer.deliver_due(post.epoch) == 0
        assert post.slept_s == [10.0]

        monkeypatch.undo()
        post.awake.set()
        await post.deliverer.settle()
        await post.deliver()
        assert await delivered(post, job_id)


async def test_deliveries_go_on_until_another_coordinator_takes_over() -> None:
    hub, told = Hub(), list[str]()
    hub.on_delivered(told.append)
    async with posting(statuses=[500, 200]) as post:
        job_id = await post.ended_job()
        running = asyncio.create_task(post.deliverer.run(post.epoch, hub))
        await settled()
        post.clock.advance(1)
        hub.ring_end(job_id)
        await settled()
        assert await delivered(post, job_id)
        assert told == [job_id]

        await post.store.take_over()
        hub.ring_end(job_id)
        with pytest.raises(Superseded):
            await running


async def delivered(post: Post, job_id: str) -> bool:
    return (await post.delivery_of(job_id)).status is DeliveryStatus.DELIVERED


async def test_attempts_are_counted_by_what_became_of_them() -> None:
    async with posting(statuses=[503, 200, 410]) as post:
        await post.ended_job()
        await post.deliver()
        post.clock.advance(1)
        await post.deliver()
        await post.ended_job()
        await post.deliver()

    assert post.tally.take() == {
        ("rayscribe_webhook_attempts_total", (outcome,)): (1.0,) for outcome in ("retried", "delivered", "exhausted")
    }
