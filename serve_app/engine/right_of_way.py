"""Work in the background gives way, between its steps, to work that somebody waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from serve_app.engine.decoding import Decoding, PassKey, Utterance, decode

LONGEST_S = 10.0
"""What one piece of work in the background waits in all: so it makes progress however much there is to give way to."""


class RightOfWay:
    """
    To be used from several threads. A processor that two batches share makes each of them take twice as long, and where a model
    has one worker, one's next step would wait for the other's.

    Args:
        longest_s: As `LONGEST_S`.
        now: A clock in seconds.
    """

    def __init__(self, *, longest_s: float = LONGEST_S, now: Callable[[], float] = time.monotonic) -> None:
        self._longest_s = longest_s
        self._now = now
        self._free = threading.Condition()
        self._going = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Others give way while the context is open."""
        with self._free:
            self._going += 1
        try:
            yield
        finally:
            with self._free:
                self._going -= 1
                self._free.notify_all()

    def giving(self) -> Callable[[], None]:
        """What a piece of work in the background calls before each of its steps; blocks while it has to give way."""
        left_s = self._longest_s

        def give_way() -> None:
            nonlocal left_s
            began_s = self._now()
            with self._free:
                self._free.wait_for(lambda: self._going == 0, timeout=left_s)
            left_s = max(0.0, left_s - (self._now() - began_s))

        return give_way


def decode_in_turn(right_of_way: RightOfWay, key: PassKey, batch: Sequence[Utterance]) -> Sequence[Decoding]:
    """`decode`; a batch in the background stands still, between two of its steps, while another one works."""
    if key.background:
        return decode(key, batch, right_of_way.giving())
    with right_of_way.taken():
        return decode(key, batch)
