"""Who gives way to whom, with real threads and a clock that only waits move."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from serve_app.engine.decoding import PassKey, Utterance
from serve_app.engine.models import LoadedModel
from serve_app.engine.right_of_way import RightOfWay, decode_in_turn
from serve_app.transcript.types import Task

from .conftest import StandInWhisper

PATIENCE_S = 60.0
STANDS_S = 0.2


class Walker:
    """Calls something in a thread of its own."""

    def __init__(self, walk: Any) -> None:
        self.arrived = threading.Event()
        self._thread = threading.Thread(target=self._go, args=(walk,))
        self._thread.start()

    def _go(self, walk: Any) -> None:
        walk()
        self.arrived.set()

    def arrives(self) -> bool:
        return self.arrived.wait(PATIENCE_S)

    def stays_away(self) -> bool:
        """Who does not stand still arrives within this."""
        return not self.arrived.wait(STANDS_S)


def test_the_background_goes_on_at_once_where_nothing_else_works() -> None:
    assert Walker(RightOfWay().giving()).arrives()


def test_the_background_stands_still_until_all_others_have_ended() -> None:
    way = RightOfWay()
    with way.taken():
        with way.taken():
            walker = Walker(way.giving())
        stood_still = walker.stays_away()

    assert stood_still
    assert walker.arrives()


def test_the_background_goes_on_when_it_has_waited_long_enough_in_all() -> None:
    now_s = iter([0.0, 10.0, 10.0, 10.0])
    way = RightOfWay(longest_s=0.001, now=lambda: next(now_s))
    with way.taken():
        give_way = way.giving()
        give_way()
        walker = Walker(give_way)

        assert walker.arrives()


def test_a_batch_in_the_background_makes_no_step_while_another_one_works(
    model: LoadedModel, whisper: StandInWhisper
) -> None:
    whisper.says = [(" Ask not.", -0.1, 0.01)] * 2
    way = RightOfWay()
    with way.taken():
        walker = Walker(lambda: decode_in_turn(way, PassKey(model, 1000, 0, 5, 0.0, background=True), [utterance()]))
        decode_in_turn(way, PassKey(model, 1000, 0, 5, 0.0), [utterance()])
        stood_still = walker.stays_away()
        calls = len(whisper.calls)

    assert walker.arrives()
    assert (stood_still, calls, len(whisper.calls)) == (True, 1, 2)


def utterance() -> Utterance:
    return Utterance(np.zeros((80, 100), np.float32), (), Task.TRANSCRIBE, ("en",), False, False)
