"""Work in the background gives way, between its steps, to work that somebody waits for; until it is its turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from serve_app.engine.decoding import Decoding, PassKey, Utterance, decode

MOST_FIRST = 8
"""Work that somebody waits for goes first for so many times what a batch in the background holds, which thus gets a ninth where that never
ceases."""
LONGEST_S = 30.0
"""And no batch stands still for longer: it counts as running, and one that runs for `recognizer.stuck_after_s` as hung."""


@dataclass(slots=True, eq=False)
class Piece:
    """Of work in the background."""

    frames: int
    since: int  # of the others' frames, how many had begun when it was last free to go
    in_turn: bool = False


class Turns:
    """
    Which piece of work in the background may go on beside the others.

    What is counted is frames and not batches nor seconds, so the share is about the same whether clips are short or long, and on a
    slow device or on a fast one.

    Args:
        most_first: As `MOST_FIRST`.
    """

    def __init__(self, most_first: int = MOST_FIRST) -> None:
        self._most_first = most_first
        self._going = 0  # batches of the others
        self._begun = 0  # frames of the others, ever
        self._last_turn = 0  # how many frames had begun at the last turn of a piece

    def begin(self, frames: int) -> None:
        """Work begins that has the right of way."""
        self._going += 1
        self._begun += frames

    def end(self) -> None:
        self._going -= 1

    def piece(self, frames: int) -> Piece:
        """A piece of work in the background begins."""
        return Piece(frames, self._begun)

    def may_go(self, piece: Piece) -> bool:
        """
        Whether nothing else is at work, or it is the piece's turn, which it keeps to its end.

        A pause of the others is worth a step and no turn: what comes one after the other, with pauses, meets none.
        """
        if piece.in_turn:
            return True
        if self._going == 0:
            piece.since = self._begun
            return True
        if self._begun - max(piece.since, self._last_turn) < self._most_first * piece.frames:
            return False
        self.give_turn(piece)
        return True

    def give_turn(self, piece: Piece) -> None:
        """It has waited for long enough."""
        self._last_turn, piece.in_turn = self._begun, True


class RightOfWay:
    """
    `Turns` for threads. A processor that two batches share makes each of them take twice as long, and where a model has one
    worker, one's next step would wait for the other's.

    Args:
        longest_s: As `LONGEST_S`.
        now: A clock in seconds.
    """

    def __init__(self, *, longest_s: float = LONGEST_S, now: Callable[[], float] = time.monotonic) -> None:
        self._longest_s = longest_s
        self._now = now
        self._changed = threading.Condition()
        self._turns = Turns()

    @contextmanager
    def taken(self, frames: int) -> Iterator[None]:
        """Others give way while the context is open."""
        self._tell(partial(self._turns.begin, frames))
        try:
            yield
        finally:
            self._tell(self._turns.end)

    def giving(self, frames: int) -> Callable[[], None]:
        """What a piece of work in the background calls before each of its steps; blocks while it has to give way."""
        left_s = self._longest_s
        with self._changed:
            piece = self._turns.piece(frames)

        def give_way() -> None:
            nonlocal left_s
            began_s = self._now()
            with self._changed:
                if not self._changed.wait_for(lambda: self._turns.may_go(piece), timeout=left_s):
                    self._turns.give_turn(piece)
            left_s = max(0.0, left_s - (self._now() - began_s))

        return give_way

    def _tell(self, change: Callable[[], None]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()


def decode_in_turn(right_of_way: RightOfWay, key: PassKey, batch: Sequence[Utterance]) -> Sequence[Decoding]:
    """`decode`; a batch in the background stands still, between two of its steps, while another one works."""
    frames = key.window * len(batch)
    if key.background:
        return decode(key, batch, right_of_way.giving(frames))
    with right_of_way.taken(frames):
        return decode(key, batch)
