"""Webhooks at a real receiver that verifies them with the library of Standard Webhooks."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from serve_app.jobs.job import Delivery, DeliveryStatus, NewJob
from serve_app.jobs.webhooks import Deliverer
from serve_app.media.addresses import AddressRules
from serve_app.media.outbound import outbound_client
from serve_app.settings import WebhookSettings
from serve_app.testing import InMemoryJobStore
from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import DecodingOptions, TranscriptionOptions
from tests.loopback import serving

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OPTIONS = TranscriptionOptions(DecodingOptions("tiny.en"))


@dataclass
class Receiver:
    """
    Attributes:
        verified: Job objects whose signature was right.
    """

    url: str = ""
    verified: list[dict[str, str]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await (await self._answer(Request(scope, receive)))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        match request.url.path:
            case "/moved":
                return RedirectResponse("/", 307)
            case "/inner":
                return RedirectResponse("http://169.254.169.254/latest/meta-data", 307)
            case "/endless":
                return StreamingResponse(_endless())
        self.verified.append(Webhook(SECRET).verify(await request.body(), dict(request.headers)))
        return Response()


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(65536)
        await asyncio.sleep(0)  # lets the server see that nobody listens any more


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    with serving(receiver) as url:
        receiver.url = url
        yield receiver


async def body_of(job_id: str) -> bytes:
    return f'{{"job_id":"{job_id}","text":"Grüße"}}'.encode()


async def delivered_to(url: str, allow: tuple[str, ...] = ("127.0.0.1",)) -> Delivery:
    store = InMemoryJobStore(lambda: datetime.now(UTC))
    epoch, job_id = await store.take_over(), str(uuid.uuid4())
    await store.submit(NewJob(job_id, "", StoredMedia("memory/1"), OPTIONS, webhook_url=url))
    await store.cancel(job_id)
    async with outbound_client(AddressRules(allow)) as client:
        settings = WebhookSettings(timeout_s=30)
        deliverer = Deliverer(store, body_of, client, secret=SECRET, settings=settings, clock=lambda: datetime.now(UTC))
        await deliverer.deliver_due(epoch)
        await deliverer.settle()
    (delivery,) = await store.deliveries(job_id)
    return delivery


@pytest.mark.parametrize("path", ["/", "/moved"])
async def test_a_receiver_gets_the_job_object_and_can_verify_it(receiver: Receiver, path: str) -> None:
    delivery = await delivered_to(receiver.url + path)

    assert (delivery.status, delivery.response_status) == (DeliveryStatus.DELIVERED, 200)
    assert receiver.verified[-1] == {"job_id": delivery.job_id, "text": "Grüße"}


async def test_an_answer_without_end_does_not_hold_a_delivery_up(receiver: Receiver) -> None:
    assert (await delivered_to(f"{receiver.url}/endless")).status is DeliveryStatus.DELIVERED


async def test_a_private_address_hears_nothing_unless_it_is_allowed(receiver: Receiver) -> None:
    known = len(receiver.verified)
    delivery = await delivered_to(receiver.url, allow=())

    assert (delivery.status, len(receiver.verified)) == (DeliveryStatus.PENDING, known)
    assert "not public" in (delivery.error or "")


async def test_a_redirect_to_a_private_address_is_a_failure(receiver: Receiver) -> None:
    delivery = await delivered_to(f"{receiver.url}/inner")

    assert delivery.status is DeliveryStatus.PENDING
    assert "not public" in (delivery.error or "")
