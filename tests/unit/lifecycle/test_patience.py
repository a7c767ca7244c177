from __future__ import annotations

import asyncio

import pytest

from serve_app.errors import CoordinatorUnavailable, ModelLoadFailed, ModelNotReady, OutOfMemory, RayscribeError
from serve_app.lifecycle.patience import PatientRecognizer
from serve_app.models.types import ModelOverview, ModelState
from serve_app.pipeline.background import BackgroundRecognizer
from serve_app.testing import FakeModels, recognized
from serve_app.transcript.protocols import Recognizer
from serve_app.transcript.types import ChunkRequest, DecodingOptions, RecognizedChunk
from tests.unit.lifecycle.world import settled

MODEL = "tiny.en"
ANSWER = recognized("Hello.", 1.0, DecodingOptions(MODEL))


class SlowRecognizer(Recognizer):
    """Answers when told; counts who gave up."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[RecognizedChunk] = asyncio.get_running_loop().create_future()
        self.cancelled = 0

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        try:
            return await asyncio.shield(self.answer)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class CountingModels(FakeModels):
    """Lets a test wait until it was asked so many times."""

    def __init__(self) -> None:
        super().__init__((MODEL,))
        self.asked = asyncio.Semaphore(0)
        self.fails_with: Exception | None = None
        self.silent = False

    async def expect(self, model_id: str) -> ModelOverview:
        self.asked.release()
        if self.silent:
            await asyncio.Event().wait()
        if self.fails_with:
            raise self.fails_with
        return await super().expect(model_id)


def chunk(*, background: bool = False) -> ChunkRequest:
    return ChunkRequest(b"", DecodingOptions(MODEL), background=background)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (ModelState.UNLOADED, ModelNotReady),
        (ModelState.LOADING, ModelNotReady),
        (ModelState.FAILED, ModelNotReady),
        (ModelState.WAITING_FOR_GPU, OutOfMemory),
    ],
)
async def test_request_for_a_model_that_does_not_come_is_turned_away(
    state: ModelState, error: type[RayscribeError]
) -> None:
    slow, models = SlowRecognizer(), CountingModels()
    models.become(MODEL, state)

    with pytest.raises(error) as raised:
        await PatientRecognizer(slow, models, wait_s=0.01).recognize(chunk())

    assert raised.value.retry_after_s == (await models.overview(MODEL)).retry_after_s
    assert slow.cancelled == 1


@pytest.mark.parametrize("state", [ModelState.READY, ModelState.BUSY, ModelState.PARKED, ModelState.DRAINING])
async def test_request_for_a_model_that_has_much_to_do_waits_on(state: ModelState) -> None:
    slow, models = SlowRecognizer(), CountingModels()
    models.become(MODEL, state)
    patient = PatientRecognizer(slow, models, wait_s=0.01, looks_s=(0.001, 0.001))
    call = asyncio.create_task(patient.recognize(chunk()))
    for _ in range(20):
        await models.asked.acquire()

    slow.answer.set_result(ANSWER)

    assert await call == ANSWER


@pytest.mark.parametrize("error", [CoordinatorUnavailable("away"), ZeroDivisionError()])
async def test_request_waits_on_while_nobody_knows_of_models(error: Exception) -> None:
    slow, models = SlowRecognizer(), CountingModels()
    models.fails_with = error
    patient = PatientRecognizer(slow, models, wait_s=0.01, looks_s=(0.001, 0.001))
    call = asyncio.create_task(patient.recognize(chunk()))
    async with asyncio.timeout(10):
        for _ in range(2):
            await models.asked.acquire()

    slow.answer.set_result(ANSWER)

    assert await call == ANSWER


@pytest.mark.parametrize("state", sorted(set(ModelState) - {ModelState.WAITING_FOR_GPU, ModelState.FAILED}))
async def test_chunk_of_a_job_waits_for_a_load_without_end(state: ModelState) -> None:
    slow, models = SlowRecognizer(), CountingModels()
    models.become(MODEL, state)
    patient = PatientRecognizer(slow, models, wait_s=0.001, looks_s=(0.0, 0.001))
    call = asyncio.create_task(patient.recognize(chunk(background=True)))
    for _ in range(3):
        await models.asked.acquire()

    slow.answer.set_result(ANSWER)

    assert await call == ANSWER


@pytest.mark.parametrize(
    ("state", "error"), [(ModelState.FAILED, ModelNotReady), (ModelState.WAITING_FOR_GPU, OutOfMemory)]
)
async def test_jobs_whose_model_waits_for_memory_take_no_place_from_others(
    state: ModelState, error: type[RayscribeError]
) -> None:
    stuck, models = SlowRecognizer(), CountingModels()
    models.become(MODEL, state)
    patient = PatientRecognizer(stuck, models, wait_s=3600, looks_s=(0.0, 3600))
    jobs = BackgroundRecognizer(patient, at_once=1)

    for _ in range(2):
        with pytest.raises(error):
            await jobs.recognize(chunk())

    assert stuck.cancelled == 2


async def test_request_says_that_it_waits_long_before_it_waits_no_more() -> None:
    slow, models = SlowRecognizer(), CountingModels()
    patient = PatientRecognizer(slow, models, wait_s=3600, looks_s=(0.001, 0.001))
    call = asyncio.create_task(patient.recognize(chunk()))
    for _ in range(3):
        await models.asked.acquire()

    slow.answer.set_result(ANSWER)

    assert await call == ANSWER


async def test_coordinator_that_does_not_answer_holds_up_no_chunk_that_is_done() -> None:
    slow, models = SlowRecognizer(), CountingModels()
    models.silent = True
    call = asyncio.create_task(PatientRecognizer(slow, models, wait_s=0.0).recognize(chunk()))
    await models.asked.acquire()

    slow.answer.set_result(ANSWER)

    async with asyncio.timeout(10):
        assert await call == ANSWER


async def test_error_of_the_recogniser_is_that_of_the_call() -> None:
    slow = SlowRecognizer()
    slow.answer.set_exception(ModelLoadFailed("no weights"))

    with pytest.raises(ModelLoadFailed):
        await PatientRecognizer(slow, CountingModels(), wait_s=10).recognize(chunk())


async def test_caller_who_goes_cancels_the_call() -> None:
    slow = SlowRecognizer()
    call = asyncio.create_task(PatientRecognizer(slow, CountingModels(), wait_s=10).recognize(chunk()))
    await settled()

    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    assert slow.cancelled == 1
