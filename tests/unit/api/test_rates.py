"""The bucket of requests that each client has."""

from __future__ import annotations

import pytest

from serve_app.api.rates import RateLimiter, shown
from serve_app.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def waits(limiter: RateLimiter, times: int, client: str = "a") -> list[float]:
    taken = [limiter.take(client) for _ in range(times)]
    return [round(allowance.wait_s, 6) for allowance in taken if allowance]


def test_a_minutes_worth_may_come_at_once_and_the_next_is_told_when(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=3, clock=clock)

    assert waits(limiter, 5) == [0, 0, 0, 20, 20]


def test_requests_come_back_evenly(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=3, clock=clock)
    waits(limiter, 3)
    clock.advance(20)

    assert waits(limiter, 2) == [0, 20]


def test_who_waits_as_told_is_served(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=7, clock=clock)
    waits(limiter, 7)
    for _ in range(50):
        (wait_s,) = waits(limiter, 1)
        clock.advance(wait_s)

        assert waits(limiter, 1) == [0]


def test_no_client_has_more_than_a_minutes_worth(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=2, clock=clock)
    clock.advance(3600)

    assert waits(limiter, 3) == [0, 0, 30]


def test_clients_do_not_share(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=1, clock=clock)

    assert (waits(limiter, 2, "a"), waits(limiter, 1, "b")) == ([0, 60], [0])


def test_what_is_left_counts_down_and_comes_back(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=3, clock=clock)
    left = []
    for _ in range(4):
        allowance = limiter.take("a")
        assert allowance
        left.append((allowance.remaining, round(allowance.reset_s)))

    assert left == [(2, 20), (1, 40), (0, 60), (0, 60)]


def test_what_is_given_back_can_be_taken_again(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=2, clock=clock)
    waits(limiter, 2)
    back = limiter.give_back("a")

    assert back
    assert (back.remaining, back.reset_s) == (1, 30)
    assert waits(limiter, 2) == [0, 30]


def test_what_comes_back_late_makes_the_bucket_no_larger(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=2, clock=clock)
    waits(limiter, 1)
    clock.advance(3600)
    back = limiter.give_back("a")

    assert back
    assert (back.remaining, back.reset_s) == (2, 0)
    assert waits(limiter, 3) == [0, 0, 30]


def test_limit_that_changes_holds_at_once(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=0, clock=clock)
    unlimited = waits(limiter, 100)
    limiter.resize(per_minute=2)

    assert (unlimited, waits(limiter, 3)) == ([], [0, 0, 30])


def test_without_a_limit_or_a_key_nothing_is_counted(clock: FakeClock) -> None:
    assert RateLimiter(per_minute=0, clock=clock).take("a") is None
    assert RateLimiter(per_minute=1, clock=clock).take("") is None
    assert RateLimiter(per_minute=1, clock=clock).give_back("") is None


@pytest.mark.parametrize(("seconds", "as_text"), [(0, "0ms"), (0.02, "20ms"), (1, "1s"), (59.2, "1m0s"), (90, "1m30s")])
def test_times_are_written_as_openai_does(seconds: float, as_text: str) -> None:
    assert shown(seconds) == as_text
