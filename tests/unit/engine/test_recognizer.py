"""The recogniser with a model that says what it is told to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from serve_app.engine.decoding import PassKey
from serve_app.engine.features import FULL_WINDOW, window_for
from serve_app.engine.keeper import ModelKeeper
from serve_app.engine.models import LoadedModel
from serve_app.engine.passes import batch_wait_s, largest_batch
from serve_app.engine.recognizer import BatchingRecognizer
from serve_app.errors import ModelNotFound, RecognizerUnavailable, UnsupportedLanguage
from serve_app.settings import TINY_EN, RecognizerSettings
from serve_app.telemetry.tally import Tally
from serve_app.transcript.types import ChunkRequest, DecodingOptions, Samples, WarningCode

from .conftest import StandInLoader, StandInWhisper

GOOD = (" Ask not.", -0.1, 0.01)
DOUBTFUL = (" Ask knot.", -2.0, 0.01)
LOOP = (" and so on" * 8, -0.1, 0.01)
SILENCE = (" Thank you.", -2.0, 0.9)
FLUENT = " ".join(str(n) for n in range(100, 160))
ENDLESS = " ".join(str(n) for n in range(400))


def samples(seconds: float = 1.0) -> Samples:
    return np.zeros(int(seconds * 16_000), np.int16)


def request(seconds: float = 1.0, **options: object) -> ChunkRequest:
    return ChunkRequest(samples(seconds), DecodingOptions("tiny.en", **options))  # type: ignore[arg-type]


@pytest.fixture
async def recognizer(model: LoadedModel) -> AsyncIterator[BatchingRecognizer]:
    recognizer = BatchingRecognizer({"tiny.en": TINY_EN}, ModelKeeper(StandInLoader(model)), batch_wait_s=0)
    yield recognizer
    await recognizer.close()


async def test_a_good_decoding_is_the_answer(recognizer: BatchingRecognizer, whisper: StandInWhisper) -> None:
    whisper.says = [GOOD]

    heard = await recognizer.recognize(request())

    assert (heard.text, heard.language, heard.attempts, heard.warnings) == (" Ask not.", "en", 1, ())
    assert heard.engine.model_id == "tiny.en"
    assert [call.frames for call in whisper.calls] == [window_for(1.0)]


async def test_a_failing_chunk_is_decoded_in_the_full_window_and_then_warmer(
    recognizer: BatchingRecognizer, whisper: StandInWhisper
) -> None:
    whisper.says = [DOUBTFUL, LOOP, DOUBTFUL, GOOD]

    heard = await recognizer.recognize(request(temperatures=(0.0, 0.2, 0.4, 0.6)))

    assert (heard.text, heard.temperature, heard.attempts) == (" Ask not.", 0.4, 4)
    assert [(c.frames, c.options.get("sampling_temperature", 0.0)) for c in whisper.calls] == [
        (window_for(1.0), 0.0),
        (FULL_WINDOW, 0.0),
        (FULL_WINDOW, 0.2),
        (FULL_WINDOW, 0.4),
    ]


async def test_a_chunk_that_fills_the_window_is_not_decoded_twice_in_it(
    recognizer: BatchingRecognizer, whisper: StandInWhisper
) -> None:
    whisper.says = [(FLUENT, -2.0, 0.01)]

    heard = await recognizer.recognize(request(30.0, temperatures=(0.0,)))

    assert heard.attempts == 1
    assert heard.warnings == (WarningCode.LOW_CONFIDENCE,)


async def test_only_the_failing_chunks_of_a_batch_are_decoded_again(
    model: LoadedModel, whisper: StandInWhisper
) -> None:
    whisper.says = [*[GOOD, DOUBTFUL, GOOD, DOUBTFUL], *[GOOD] * 4, *[GOOD, GOOD]]
    # The first batch starts when it is full, however long its chunks take to prepare, and the second one when the first has ended.
    recognizer = BatchingRecognizer(
        {"tiny.en": TINY_EN}, ModelKeeper(StandInLoader(model)), max_batch_size=8, batch_wait_s=600
    )

    heard = await asyncio.gather(*(recognizer.recognize(request()) for _ in range(8)))
    await recognizer.close()

    assert [len(call.prompts) for call in whisper.calls] == [8, 2]
    assert sorted(h.attempts for h in heard) == [1, 1, 1, 1, 1, 1, 2, 2]


async def test_a_device_that_fails_in_a_batch_has_the_chunk_repeated_and_the_process_replaced(
    recognizer: BatchingRecognizer, whisper: StandInWhisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA failed with error unspecified launch failure")

    monkeypatch.setattr(whisper, "generate", fail)
    with pytest.raises(RecognizerUnavailable, match="unspecified launch failure"):
        await recognizer.recognize(request())

    assert recognizer.models.must_recycle


async def test_silence_is_no_text(recognizer: BatchingRecognizer, whisper: StandInWhisper) -> None:
    whisper.says = [SILENCE]

    heard = await recognizer.recognize(request())

    assert (heard.text, heard.tokens, heard.no_speech_prob, heard.warnings) == ("", (), 0.9, ())


async def test_of_an_endless_loop_one_round_is_kept_with_a_warning(
    recognizer: BatchingRecognizer, whisper: StandInWhisper
) -> None:
    whisper.says = [LOOP, LOOP]

    heard = await recognizer.recognize(request(temperatures=(0.0,)))

    assert heard.text == " and so on"
    assert heard.warnings == (WarningCode.REPETITION,)


async def test_a_calm_doubtful_text_is_better_than_a_confident_loop(
    recognizer: BatchingRecognizer, whisper: StandInWhisper
) -> None:
    whisper.says = [DOUBTFUL, LOOP]

    heard = await recognizer.recognize(request(temperatures=(0.0,)))

    assert heard.text == " Ask knot."


async def test_chunks_with_prompts_of_other_lengths_never_share_a_batch(
    model: LoadedModel, whisper: StandInWhisper
) -> None:
    whisper.says = [GOOD] * 3
    # Long enough for three chunks to be prepared, so that those that may share a batch do.
    recognizer = BatchingRecognizer({"tiny.en": TINY_EN}, ModelKeeper(StandInLoader(model)), batch_wait_s=0.1)

    await asyncio.gather(*(recognizer.recognize(request(prompt=p)) for p in ("", "Hello.", "Hello there.")))
    await recognizer.close()

    assert [len({len(p) for p in call.prompts}) for call in whisper.calls] == [1, 1, 1]


async def test_a_text_that_runs_to_the_limit_of_a_short_window_is_decoded_again(
    recognizer: BatchingRecognizer, whisper: StandInWhisper
) -> None:
    whisper.says = [(ENDLESS, -0.1, 0.01), GOOD]

    heard = await recognizer.recognize(request())

    assert heard.attempts == 2


async def test_a_text_that_is_cut_off_is_mended_by_decoding_the_halves_at_once(
    recognizer: BatchingRecognizer, whisper: StandInWhisper
) -> None:
    rest = " ".join(str(n * n) for n in range(30, 70))
    whisper.says = [(ENDLESS, -0.1, 0.01), (FLUENT, -0.1, 0.01), (rest, -0.2, 0.01)]

    heard = await recognizer.recognize(request(20.0))

    assert (heard.text, heard.attempts, heard.warnings) == (FLUENT + rest, 3, ())
    assert all("sampling_temperature" not in call.options for call in whisper.calls)


async def test_a_text_that_stays_cut_off_carries_a_warning(
    recognizer: BatchingRecognizer, whisper: StandInWhisper
) -> None:
    whisper.says = [(ENDLESS, -0.1, 0.01)] * 5

    heard = await recognizer.recognize(request(12.0, temperatures=(0.0,)))

    assert heard.text == ENDLESS
    assert (heard.attempts, heard.warnings) == (5, (WarningCode.LOW_CONFIDENCE,))


async def test_a_sparse_text_is_mended_by_decoding_the_halves_of_its_chunk(
    recognizer: BatchingRecognizer, whisper: StandInWhisper
) -> None:
    whisper.says = [GOOD, (FLUENT, -0.1, 0.01), (FLUENT, -0.2, 0.01)]

    heard = await recognizer.recognize(request(20.0))

    assert heard.text == FLUENT * 2
    assert heard.attempts == 3


async def test_halves_that_find_nothing_more_change_nothing(
    recognizer: BatchingRecognizer, whisper: StandInWhisper
) -> None:
    whisper.says = [GOOD, GOOD, SILENCE, SILENCE, SILENCE, SILENCE, SILENCE]

    heard = await recognizer.recognize(request(12.0))

    assert heard.text == GOOD[0]


async def test_unknown_models_and_languages_are_refused(recognizer: BatchingRecognizer) -> None:
    with pytest.raises(ModelNotFound, match=r"no model huge; the catalogue has tiny\.en"):
        await recognizer.recognize(ChunkRequest(samples(), DecodingOptions("huge")))
    with pytest.raises(UnsupportedLanguage):
        await recognizer.recognize(request(language="de"))


@pytest.mark.parametrize(
    ("said_ms", "on_gpu", "waits_s"), [(None, False, 0.0), (None, True, 0.003), (20.0, False, 0.02), (0.0, True, 0.0)]
)
def test_an_idle_recogniser_waits_for_a_batch_to_fill_where_that_saves_something(
    said_ms: float | None, on_gpu: bool, waits_s: float
) -> None:
    settings = RecognizerSettings(min_replicas=1, max_replicas=1, batch_wait_ms=said_ms)

    assert batch_wait_s(settings, on_gpu=on_gpu) == waits_s


@pytest.mark.parametrize(("window", "most"), [(500, 8), (1500, 8), (2000, 4), (2500, 2), (3000, 2)])
def test_a_batch_of_long_chunks_takes_no_more_memory_than_one_of_short_chunks(
    model: LoadedModel, window: int, most: int
) -> None:
    assert largest_batch(8, PassKey(model, window, 0, beam_size=5, temperature=0.0)) == most


@pytest.mark.parametrize(("window", "most"), [(500, 3), (1500, 3), (2000, 1), (3000, 1)])
def test_a_text_that_is_drawn_counts_as_a_chunk_of_its_batch(model: LoadedModel, window: int, most: int) -> None:
    assert largest_batch(16, PassKey(model, window, 0, beam_size=5, temperature=0.2)) == most


async def test_a_batch_that_never_ends_has_the_process_replaced(
    model: LoadedModel, whisper: StandInWhisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, ends = threading.Event(), threading.Event()

    def generate(*_: Any, **__: Any) -> None:
        hangs.set()
        ends.wait()
        raise RuntimeError("ended at last")

    monkeypatch.setattr(whisper, "generate", generate)
    keeper = ModelKeeper(StandInLoader(model))
    recognizer = BatchingRecognizer({"tiny.en": TINY_EN}, keeper, stuck_after_s=0.0)
    recognizer.check_health()
    asked = asyncio.create_task(recognizer.recognize(request()))
    await asyncio.to_thread(hangs.wait)

    with pytest.raises(RecognizerUnavailable, match="has not ended for"):
        recognizer.check_health()

    ends.set()
    with pytest.raises(RuntimeError, match="at last"):
        await asked
    recognizer.check_health()
    await recognizer.close()


async def test_chunks_and_batches_are_counted(model: LoadedModel, whisper: StandInWhisper) -> None:
    whisper.says = [DOUBTFUL, GOOD]
    tally = Tally()
    recognizer = BatchingRecognizer({"tiny.en": TINY_EN}, ModelKeeper(StandInLoader(model), tally=tally), tally=tally)

    await recognizer.recognize(request(2.0))
    await recognizer.close()

    counts = {name: vector for (name, labels), vector in tally.take().items() if labels[0] == "tiny.en"}
    assert counts["rayscribe_chunks_total"] == (1.0,)
    assert counts["rayscribe_recognized_audio_seconds_total"] == (2.0,)
    assert counts["rayscribe_fallbacks_total"] == (1.0,)
    assert counts["rayscribe_batch_size"][-1] == 2  # two batches of one chunk
    assert counts["rayscribe_batch_fill"][-1] == 0.125 + 0.5  # of eight, and of the two full windows that go together
    assert sum(counts["rayscribe_batch_duration_seconds"][:-1]) == 2
    assert sum(counts["rayscribe_model_load_seconds"][:-1]) == 1
