"""Tells receivers that a job has ended, or what became of a model, again and again if need be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus

import httpx
from standardwebhooks.webhooks import Webhook

from serve_app.errors import InvalidRequest, JobNotFound, StoreUnavailable
from serve_app.jobs.clock import wall_clock
from serve_app.jobs.hub import ENDED, Hub
from serve_app.jobs.job import Delivery, DeliveryStatus
from serve_app.jobs.places import FairPlaces
from serve_app.jobs.protocols import Clock, Sleep
from serve_app.jobs.store.deliveries import DeliveryStore
from serve_app.media.outbound import MAX_REDIRECTS, failure
from serve_app.settings import WebhookSettings
from serve_app.telemetry.context import working_on
from serve_app.telemetry.metrics import WEBHOOK_ATTEMPTS
from serve_app.telemetry.tally import Tally

logger = logging.getLogger(__name__)

RETRY_AFTER_S = (1, 2, 4, 8, 16)
LOOK_S = 1.0  # how late a retry may be
AT_ONCE = 32  # attempts, over all hosts: each has a whole transcript in memory
MOST_NEW = 1000  # begun at one look
STORE_RETRY_S = 10.0
OUTCOMES = {
    DeliveryStatus.DELIVERED: "delivered",
    DeliveryStatus.PENDING: "retried",
    DeliveryStatus.EXHAUSTED: "exhausted",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt came to: a status, or why there was none."""

    status: int | None = None
    error: str | None = None


class Deliverer:
    """
    Works on all deliveries that are due, a few for each host at the same time.

    At least once: a delivery is written as made after the receiver has answered, so one whose process died in between is made
    again, under the same id.

    Args:
        body_of: The job object as JSON, by job id.
        client: One that keeps to the rules for outbound addresses.
        secret: As Standard Webhooks has it, `whsec_…`; None leaves deliveries unsigned.
        tally: Where attempts are counted.
        wall: For what is signed, because receivers compare it with their own clocks; `clock` may be ahead of it for long.
    """

    def __init__(
        self,
        store: DeliveryStore,
        body_of: Callable[[str], Awaitable[bytes]],
        client: httpx.AsyncClient,
        *,
        secret: str | None,
        settings: WebhookSettings,
        clock: Clock,
        tally: Tally | None = None,
        wall: Clock = wall_clock,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._store = store
        self._body_of = body_of
        self._client = client
        self._signer = Webhook(secret) if secret is not None else None
        self._settings = settings
        self._clock = clock
        self._tally = tally or Tally()
        self._wall = wall
        self._sleep = sleep
        self._places = FairPlaces(AT_ONCE, settings.max_per_host)
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self._hub = Hub()

    async def run(self, epoch: int, hub: Hub) -> None:
        """
        Deliver until cancelled; what is on its way then is made again by the next Coordinator.

        Raises:
            Superseded: Another Coordinator has taken over.
        """
        self._hub = hub
        try:
            with hub.listen(ENDED) as bell:
                while True:
                    await self._look(epoch)
                    await bell.wait(LOOK_S)
        finally:
            await self.close()

    async def deliver_due(self, epoch: int) -> int:
        """
        Begin what is due and not on its way yet; gives how many.

        Raises:
            Superseded: Another Coordinator has taken over.
            StoreUnavailable: As the store's verbs.
        """
        # What waits for a place of its host is due all the time; it must not hide what is due for others.
        due = await self._store.due_deliveries(epoch, limit=MOST_NEW + len(self._at_work))
        new = [delivery for delivery in due if delivery.delivery_id not in self._at_work]
        for delivery in new:
            self._at_work[delivery.delivery_id] = asyncio.create_task(self._work_on(delivery))
        return len(new)

    async def settle(self) -> None:
        """Wait for what is on its way."""
        await asyncio.gather(*self._at_work.values())

    async def close(self) -> None:
        """Give up what is on its way."""
        at_work = list(self._at_work.values())
        for task in at_work:
            task.cancel()
        await asyncio.gather(*at_work, return_exceptions=True)

    async def _look(self, epoch: int) -> None:
        try:
            await self.deliver_due(epoch)
        except StoreUnavailable as error:
            logger.warning("webhooks wait: %s", error.message)
            await self._sleep(STORE_RETRY_S)

    async def _work_on(self, delivery: Delivery) -> None:
        try:
            with working_on(job_id=delivery.job_id or ""):
                async with self._places.of(_host(delivery)):
                    await self._attempt(delivery)
        except JobNotFound:
            return  # purged, and its deliveries with it
        except Exception as error:
            # While the store keeps no outcome, a receiver must not hear the same every second.
            expected = isinstance(error, StoreUnavailable)
            logger.warning("webhook %s waits: %s", delivery.delivery_id, error, exc_info=not expected)
            await self._sleep(STORE_RETRY_S)
        finally:
            del self._at_work[delivery.delivery_id]

    async def _attempt(self, delivery: Delivery) -> None:
        outcome = await self._post(delivery, await self._body(delivery))
        after = attempted(delivery, outcome, self._clock())
        await self._store.update_delivery(delivery, after)
        self._tally.count(WEBHOOK_ATTEMPTS, OUTCOMES[after.status])
        if after.status is DeliveryStatus.DELIVERED and after.job_id is not None:
            self._hub.delivered(after.job_id)
        if after.status is DeliveryStatus.EXHAUSTED:
            about = after.kind if after.job_id is None else f"job {after.job_id}"
            logger.warning(
                "webhook %s of %s to %s is given up after %d attempts: %s",
                *(after.delivery_id, about, _host(after), after.attempts, after.error),
            )

    async def _body(self, delivery: Delivery) -> bytes:
        if delivery.job_id is None:
            return (delivery.body or "").encode()
        return await self._body_of(delivery.job_id)

    async def _post(self, delivery: Delivery, body: bytes) -> Outcome:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return Outcome(await self._answer(delivery, body))
        except InvalidRequest as error:
            return Outcome(error=error.message)
        except (httpx.HTTPError, TimeoutError) as error:
            return Outcome(error=failure(error))
        except Exception as error:  # a receiver's answer must not keep its delivery from ever being given up
            logger.warning("webhook %s could not be sent: %s", delivery.delivery_id, type(error).__name__)
            return Outcome(error=f"{type(error).__name__} while it was sent")

    async def _answer(self, delivery: Delivery, body: bytes) -> int:
        """The status in the end; only redirects that keep the method are followed."""
        request = self._client.build_request("POST", delivery.url, content=body, headers=self._headers(delivery, body))
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._client.send(request, stream=True)
            await response.aclose()  # the status says it all, and a body could be endless
            if response.next_request is None or response.next_request.method != "POST":
                break
            request = response.next_request
        return response.status_code

    def _headers(self, delivery: Delivery, body: bytes) -> dict[str, str]:
        now = self._wall()
        headers = {
            "content-type": "application/json",
            "webhook-id": delivery.delivery_id,
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if self._signer is not None:
            headers["webhook-signature"] = self._signer.sign(delivery.delivery_id, now, body.decode())
        return headers


def attempted(delivery: Delivery, outcome: Outcome, now: datetime) -> Delivery:
    """What becomes of a delivery by one more attempt."""
    tried = replace(
        delivery,
        attempts=delivery.attempts + 1,
        next_attempt_at=None,
        response_status=outcome.status or delivery.response_status,
        error=outcome.error,
    )
    if outcome.status is not None and 200 <= outcome.status < 300:
        return replace(tried, status=DeliveryStatus.DELIVERED, delivered_at=now)
    tried = replace(tried, error=outcome.error or f"answered {outcome.status}")
    if outcome.status == HTTPStatus.GONE or delivery.attempts >= len(RETRY_AFTER_S):
        return replace(tried, status=DeliveryStatus.EXHAUSTED)
    return replace(tried, next_attempt_at=now + timedelta(seconds=RETRY_AFTER_S[delivery.attempts]))


def _host(delivery: Delivery) -> str:
    """All of the URL that is logged: what follows it may hold keys."""
    return httpx.URL(delivery.url).netloc.decode("ascii")
