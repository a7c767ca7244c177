"""
Which deliveries there are, and what becomes of them in a store: pure functions that every store asks, as those of `machine`.

What an attempt comes to is decided by the Deliverer (`webhooks`).
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from uuid import uuid4

from serve_app.jobs.job import Announcement, Delivery, DeliveryStatus, Job, News
from serve_app.jobs.rendering import announcement_object
from serve_app.transcript.render import to_json

MOST_ADDRESSES = 1000  # of an owner that hear of models; the newest, because some clients give each job another one


def ended(job: Job, now: datetime) -> Delivery | None:
    """The delivery that the end of a job makes, if somebody is to hear of it."""
    if job.webhook_url is None:
        return None
    return _made(job.job_id, job.webhook_url, f"job.{job.status.value}", now)


def is_news(announcement: Announcement, last: News | None) -> bool:
    """Whether it is another than the last of its model: a Coordinator that starts hears again of all that is ready."""
    return announcement.news is not (last or News.MODEL_UNLOADED)


def announced(announcement: Announcement, url: str, now: datetime) -> Delivery:
    """The delivery that an announcement makes to an address."""
    return _made(None, url, announcement.news.value, now, body=to_json(announcement_object(announcement)))


def awaits(delivery: Delivery, tried: Delivery) -> bool:
    """Whether a delivery takes the outcome of an attempt: one that was sent again by hand meanwhile is due at another instant."""
    return (
        delivery.status is DeliveryStatus.PENDING
        and delivery.attempts == tried.attempts
        and delivery.next_attempt_at == tried.next_attempt_at
    )


def resent(delivery: Delivery, now: datetime) -> Delivery:
    return Delivery(
        delivery_id=delivery.delivery_id,
        job_id=delivery.job_id,
        url=delivery.url,
        kind=delivery.kind,
        status=DeliveryStatus.PENDING,
        created_at=delivery.created_at,
        next_attempt_at=now,
        body=delivery.body,
    )


def wants_no_more(outcome: Delivery) -> bool:
    """Whether an address answered that it is gone when it was told of a model."""
    return outcome.job_id is None and outcome.response_status == HTTPStatus.GONE


def _made(job_id: str | None, url: str, kind: str, now: datetime, body: str | None = None) -> Delivery:
    return Delivery(
        delivery_id=f"msg_{uuid4().hex}",
        job_id=job_id,
        url=url,
        kind=kind,
        status=DeliveryStatus.PENDING,
        created_at=now,
        next_attempt_at=now,
        body=body,
    )
