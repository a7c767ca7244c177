from __future__ import annotations

from datetime import UTC, datetime, timedelta

from serve_app.jobs.clock import SteadyClock

NOON = datetime(2026, 5, 5, 12, tzinfo=UTC)


class Wall:
    def __init__(self) -> None:
        self.now = NOON
        self.elapsed_s = 0.0

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.elapsed_s += seconds


def test_clock_follows_the_wall() -> None:
    wall = Wall()
    clock = SteadyClock(lambda: wall.now, lambda: wall.elapsed_s)

    wall.advance(5)

    assert clock() == NOON + timedelta(seconds=5)


def test_clock_goes_on_where_it_was_when_the_wall_is_set_back() -> None:
    wall = Wall()
    clock = SteadyClock(lambda: wall.now, lambda: wall.elapsed_s)
    wall.advance(10)
    before = clock()

    wall.now -= timedelta(hours=1)
    at_once = clock()
    wall.advance(30)

    assert at_once == before
    assert clock() == before + timedelta(seconds=30)


def test_clock_follows_a_jump_ahead() -> None:
    wall = Wall()
    clock = SteadyClock(lambda: wall.now, lambda: wall.elapsed_s)

    wall.now += timedelta(hours=8)  # the machine slept, and the monotonic clock with it

    assert clock() == NOON + timedelta(hours=8)
