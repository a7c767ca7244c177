"""What is counted of transcriptions."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from serve_app.errors import AudioTooShort, RecognizerUnavailable
from serve_app.pipeline.measured import MeasuredTranscriber
from serve_app.telemetry.tally import Tally
from serve_app.testing import FakeClock, FakeTranscriber, silent_wav
from serve_app.transcript.protocols import InlineMedia
from serve_app.transcript.types import ChunkTranscribed, DecodingOptions, TranscriptionOptions

WAV = InlineMedia(silent_wav(30))
OPTIONS = TranscriptionOptions(DecodingOptions("tiny.en"))

AUDIO = ("rayscribe_audio_seconds_total", ("request",))
FACTOR = ("rayscribe_real_time_factor", ("request",))


def ended(outcome: str) -> tuple[str, tuple[str, str]]:
    return "rayscribe_transcriptions_total", ("request", outcome)


class House:
    """A transcriber that takes a second for each chunk, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.clock, self.tally = FakeClock(), Tally()
        self._failure = failure
        fake = FakeTranscriber(before_chunk=self._work)
        self.transcriber = MeasuredTranscriber(fake, self.tally, "request", self.clock)

    async def transcribe(self, known: list[ChunkTranscribed] | None = None) -> list[ChunkTranscribed]:
        events = [event async for event in self.transcriber.run(WAV, OPTIONS, known or [])]
        return [event for event in events if isinstance(event, ChunkTranscribed)]

    async def _work(self, index: int) -> None:
        self.clock.advance(1)
        if self._failure and index == 2:
            raise self._failure


async def test_audio_and_the_time_it_took_are_counted() -> None:
    house = House()

    await house.transcribe()

    counts = house.tally.take()
    assert counts[AUDIO] == pytest.approx((30.0,))
    assert counts[ended("done")] == (1.0,)
    assert counts[FACTOR][-1] == pytest.approx(4 / 30)  # three chunks and the end took a second each


async def test_an_attempt_that_goes_on_counts_only_what_is_new_and_no_factor() -> None:
    known = (await House().transcribe())[:2]
    house = House()

    await house.transcribe(known)

    counts = house.tally.take()
    assert counts[AUDIO] == pytest.approx((10.0,))
    assert FACTOR not in counts


@pytest.mark.parametrize(
    ("failure", "counted"),
    [
        (AudioTooShort("too short"), {("rayscribe_media_failures_total", ("request", "audio_too_short")): (1.0,)}),
        (RecognizerUnavailable("died"), {}),
    ],
)
async def test_a_failure_is_counted_and_one_of_the_media_by_its_code(
    failure: Exception, counted: dict[object, object]
) -> None:
    house = House(failure)

    with pytest.raises(type(failure)):
        await house.transcribe()

    counts = dict(house.tally.take())
    assert counts.pop(AUDIO) == pytest.approx((20.0,))
    assert counts == {ended("failed"): (1.0,), **counted}


async def test_a_client_that_goes_away_is_counted_as_cancelled() -> None:
    house = House()

    async with aclosing(house.transcriber.run(WAV, OPTIONS)) as events:
        await anext(events)

    assert house.tally.take()[ended("cancelled")] == (1.0,)


async def test_who_stops_listening_after_the_end_has_had_it_all() -> None:
    house = House()

    async with aclosing(house.transcriber.run(WAV, OPTIONS)) as events:
        async for event in events:
            if not isinstance(event, ChunkTranscribed):
                break

    assert house.tally.take()[ended("done")] == (1.0,)
