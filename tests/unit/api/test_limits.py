"""The Gateway's limits: who gets a place, when the others should come again, and how long a body may take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from starlette.types import Message, Receive, Scope, Send

from serve_app.api.limits import BodyLimit, RequestLimiter
from serve_app.errors import Overloaded, RateLimited
from serve_app.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def limiter(clock: FakeClock, *, places: int = 2, per_key: int = 0) -> RequestLimiter:
    return RequestLimiter(max_requests=places, max_per_key=per_key, max_retry_after_s=60, clock=clock)


def serve(limiter: RequestLimiter, clock: FakeClock, seconds: float) -> None:
    with limiter.place(None):
        clock.advance(seconds)


def refusal(limiter: RequestLimiter, key: str | None = None) -> float:
    with pytest.raises((Overloaded, RateLimited)) as caught, limiter.place(key):
        pass
    assert caught.value.retry_after_s is not None
    return caught.value.retry_after_s


def test_places_are_given_until_there_are_none(clock: FakeClock) -> None:
    limits = limiter(clock)
    with limits.place("a"), limits.place("b"):
        with pytest.raises(Overloaded), limits.place("c"):
            pass

        assert limits.in_progress == 2
    with limits.place("c"):
        assert limits.in_progress == 1


def test_failed_request_gives_its_place_back(clock: FakeClock) -> None:
    limits = limiter(clock)
    with pytest.raises(RuntimeError), limits.place("a"):
        raise RuntimeError

    assert limits.in_progress == 0


def test_wait_follows_the_measured_service_time(clock: FakeClock) -> None:
    limits = limiter(clock)
    serve(limits, clock, 20)
    with limits.place(None), limits.place(None):
        assert refusal(limits) == 10  # two places of 20 s each: one is free every 10 s


def test_each_who_was_refused_is_ahead_of_the_next(clock: FakeClock) -> None:
    limits = limiter(clock)
    serve(limits, clock, 20)
    with limits.place(None), limits.place(None):
        assert [refusal(limits) for _ in range(3)] == [10, 20, 30]


def test_queue_of_the_refused_shrinks_as_places_come_free(clock: FakeClock) -> None:
    limits = limiter(clock)
    serve(limits, clock, 20)
    with limits.place(None), limits.place(None):
        refusal(limits)
    with limits.place(None), limits.place(None):
        assert refusal(limits) <= 10


def test_wait_is_never_longer_than_the_setting(clock: FakeClock) -> None:
    limits = limiter(clock)
    serve(limits, clock, 10_000)
    with limits.place(None), limits.place(None):
        assert refusal(limits) == 60


def test_wait_is_a_second_before_anything_was_measured(clock: FakeClock) -> None:
    limits = limiter(clock)
    with limits.place(None), limits.place(None):
        assert refusal(limits) == 1


def test_newer_times_count_more(clock: FakeClock) -> None:
    limits = limiter(clock, places=1)
    serve(limits, clock, 50)
    for _ in range(30):
        serve(limits, clock, 5)
    with limits.place(None):
        assert refusal(limits) == 6  # 5.06 s, rounded up


def test_key_may_not_take_all_places(clock: FakeClock) -> None:
    limits = limiter(clock, places=5, per_key=1)
    with limits.place("a"):
        with pytest.raises(RateLimited), limits.place("a"):
            pass
        with limits.place("b"), limits.place(None), limits.place(None):
            assert limits.in_progress == 4
    with limits.place("a"):
        assert limits.in_progress == 1


async def test_wait_after_the_whole_body_is_no_stall() -> None:
    seen: list[Message] = []
    messages: Iterator[Message] = iter(
        [{"type": "http.request", "body": b"x", "more_body": False}, {"type": "http.disconnect", "late": True}]
    )

    async def receive() -> Message:
        message = next(messages)
        for _ in range(100 if "late" in message else 0):
            await asyncio.sleep(0)  # gives way, so that a time limit of a microsecond would strike
        return message

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend([await receive(), await receive()])

    async def send(message: Message) -> None:
        raise AssertionError("something was answered")

    await BodyLimit(application, max_bytes=1, idle_s=1e-6)({"type": "http", "headers": []}, receive, send)

    assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]
    assert seen[1]["late"]


@pytest.mark.parametrize(("block", "is_cut"), [(b"x", True), (b"x" * 4096 * 30, False)])
async def test_body_that_trickles_is_cut_although_it_never_stops(clock: FakeClock, block: bytes, is_cut: bool) -> None:
    """One byte each half minute is no stall, and would hold its place for years."""
    sent: list[Message] = []
    read: list[Message] = []

    async def receive() -> Message:
        for _ in range(3):
            await asyncio.sleep(0)  # gives way, so that a time limit in the past strikes
        clock.advance(30)
        return {"type": "http.request", "body": block, "more_body": len(read) < 19}

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        while not read or read[-1].get("more_body"):
            read.append(await receive())

    async def send(message: Message) -> None:
        sent.append(message)

    limit = BodyLimit(application, max_bytes=10_000_000, idle_s=60, clock=clock)
    await limit({"type": "http", "headers": []}, receive, send)

    assert (read[-1]["type"], len(read)) == (("http.disconnect", 4) if is_cut else ("http.request", 20))
    assert [message.get("status") for message in sent[:1]] == ([408] if is_cut else [])


def test_changed_limit_holds_for_who_comes_next(clock: FakeClock) -> None:
    limits = limiter(clock, places=2)
    with limits.place("a"), limits.place("b"):
        limits.resize(max_requests=1, max_per_key=1)
        refusal(limits)
    with limits.place("a"):
        refusal(limits, "a")

        assert limits.in_progress == 1
