"""Gives jobs to runners, and decides what becomes of attempts that die."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from datetime import timedelta

from serve_app.errors import (
    InsufficientMemory,
    InvalidRequest,
    LeaseLost,
    MediaError,
    MediaUnavailable,
    ModelLoadFailed,
    ModelNotFound,
    ModelNotReady,
    OutOfMemory,
    PullFailed,
    RayscribeError,
    RecognizerUnavailable,
    RemoteUnavailable,
    StoreUnavailable,
    Superseded,
)
from serve_app.jobs.hub import Bell, Hub
from serve_app.jobs.job import Claim, JobError, Priority, Status, WaitingFor
from serve_app.jobs.patience import given_up, wait_s
from serve_app.jobs.protocols import Clock, JobRunner
from serve_app.jobs.store.queue import QueueStore
from serve_app.settings import JobSettings
from serve_app.telemetry.context import working_on
from serve_app.telemetry.metrics import JOBS_ENDED
from serve_app.telemetry.tally import Tally

logger = logging.getLogger(__name__)

LOOK_S = 5.0  # how long a job that another process submitted may lie unseen
STORE_RETRY_S = 2.0

HOPELESS = (MediaError, InvalidRequest, ModelNotFound, ModelLoadFailed, InsufficientMemory)
TOO_EARLY: dict[type[Exception], WaitingFor] = {
    ModelNotReady: WaitingFor.MODEL,
    PullFailed: WaitingFor.MODEL,  # the hub is away, or the disk is full
    OutOfMemory: WaitingFor.GPU,
}


@dataclass(frozen=True, slots=True)
class _Run:
    claim: Claim
    task: asyncio.Task[None]


class Dispatcher:
    """
    Keeps as many jobs running as there are places.

    It knows nothing that the store does not: one that starts anew goes on where the last one was.

    Args:
        tally: Where jobs that failed are counted.
    """

    def __init__(
        self, store: QueueStore, hub: Hub, settings: JobSettings, clock: Clock, *, tally: Tally | None = None
    ) -> None:
        self._store = store
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._tally = tally or Tally()
        self._bell = Bell()
        self._runs: dict[str, _Run] = {}

    @property
    def running(self) -> int:
        """Attempts at work now."""
        return len(self._runs)

    def wake(self) -> None:
        """Something may be due."""
        self._bell.ring()

    def stop(self, job_id: str) -> None:
        """The job has ended in another way: end its attempt here, if there is one."""
        if run := self._runs.get(job_id):
            run.task.cancel()

    async def run(self, epoch: int, runner: JobRunner) -> None:
        """
        Dispatch until cancelled, or until another Coordinator takes over.

        However it ends, its attempts end too, and their jobs are queued again.

        Args:
            epoch: What the store's `take_over` gave.
        """
        try:
            while True:
                await self._bell.wait(await self._step(epoch, runner))
        except Superseded:
            logger.warning("another Coordinator has taken over; this one gives no more jobs to runners")
        finally:
            await self._stop_all()

    async def _step(self, epoch: int, runner: JobRunner) -> float:
        """Fill the places; gives after how many seconds to look again."""
        try:
            await self._requeue_expired()
            await self._fill(epoch, runner)
            return await self._next_look_s()
        except StoreUnavailable as error:
            logger.error("cannot dispatch: %s", error.message)
            return STORE_RETRY_S

    async def _requeue_expired(self) -> None:
        """Queue again what fell silent, and give its places to others."""
        for lease in await self._store.requeue_expired():
            if run := self._runs.pop(lease.job_id, None):
                run.task.cancel()

    async def _fill(self, epoch: int, runner: JobRunner) -> None:
        while (free := self._settings.max_running - len(self._runs)) > 0:
            # At least one place is for everyone, or else jobs of priority batch would never run.
            kept = min(self._settings.kept_for_interactive, self._settings.max_running - 1)
            only = Priority.INTERACTIVE if free <= kept else None
            claim = await self._store.claim(epoch, lease_s=self._settings.lease_s, only=only)
            if claim is None:
                return
            await self._start(claim, runner)

    async def _next_look_s(self) -> float:
        due_at = await self._store.next_due_at()
        if due_at is None:
            return LOOK_S
        left_s = (due_at - self._clock()).total_seconds()
        # What is due already has no place now, and the end of an attempt wakes us.
        return min(left_s, LOOK_S) if left_s > 0 else LOOK_S

    async def _start(self, claim: Claim, runner: JobRunner) -> None:
        job_id = claim.lease.job_id
        if silent := self._runs.pop(job_id, None):  # its lease has expired, or we would not have got another
            silent.task.cancel()
        if error := given_up(claim, self._settings.max_failures):
            with contextlib.suppress(LeaseLost):  # somebody cancelled the job just now
                await self._fail(claim, error, excused=True)
            return
        task = asyncio.create_task(self._attempt(claim, runner))
        self._runs[job_id] = _Run(claim, task)
        task.add_done_callback(lambda ended: self._ended(job_id, ended))

    def _ended(self, job_id: str, task: asyncio.Task[None]) -> None:
        if (run := self._runs.get(job_id)) and run.task is task:
            del self._runs[job_id]
        if not task.cancelled() and (error := task.exception()):
            logger.error("job %s: what became of an attempt was not recorded", job_id, exc_info=error)
        self._bell.ring()

    async def _attempt(self, claim: Claim, runner: JobRunner) -> None:
        with working_on(job_id=claim.lease.job_id):
            await self._try(claim, runner)

    async def _try(self, claim: Claim, runner: JobRunner) -> None:
        logger.info("attempt %d begins", claim.attempt)
        try:
            await runner.run(claim)
        except LeaseLost:
            logger.info("job %s: attempt %d lost its lease", claim.lease.job_id, claim.attempt)
        except Exception as error:
            # Without the store nothing can be recorded; the lease expires, and the job is queued again.
            with contextlib.suppress(LeaseLost, StoreUnavailable):
                await self._settle(claim, error)

    async def _settle(self, claim: Claim, error: Exception) -> None:
        """Decide what becomes of a job whose attempt died."""
        if isinstance(error, HOPELESS):
            await self._fail(claim, _reason(error))
        elif waiting_for := TOO_EARLY.get(type(error)):
            wait = self._settings.wait_poll_s
            await self._release(claim, wait, _reason(error), waiting_for=waiting_for, excused=True)
        elif await self._is_outage(claim, error):
            await self._release(claim, wait_s(claim, self._settings.backoff_s), _reason(error), excused=True)
        else:
            await self._try_again(claim, error)

    async def _is_outage(self, claim: Claim, error: Exception) -> bool:
        """Whether the attempt died of something that is away, and through no fault of the job."""
        if isinstance(error, MediaUnavailable):  # counts for the client's server, but not for our disk or bucket
            return not isinstance(error, RemoteUnavailable)
        if isinstance(error, RecognizerUnavailable):  # counts for a process that had begun with it
            return not await self._store.was_extended(claim.lease)
        return isinstance(error, StoreUnavailable)

    async def _try_again(self, claim: Claim, error: Exception) -> None:
        foreign = None if isinstance(error, RayscribeError) else error
        logger.warning("job %s: attempt %d died", claim.lease.job_id, claim.attempt, exc_info=foreign)
        # The last one does not wait: at the next claim the store says whether it made progress after all.
        is_last = claim.failures + 1 >= self._settings.max_failures
        await self._release(claim, 0.0 if is_last else wait_s(claim, self._settings.backoff_s), _reason(error))

    async def _fail(self, claim: Claim, error: JobError, *, excused: bool = False) -> None:
        await self._store.fail(claim.lease, error, excused=excused)
        self._tally.count(JOBS_ENDED, Status.FAILED)
        self._hub.ring_end(claim.lease.job_id)

    async def _release(
        self,
        claim: Claim,
        after_s: float,
        error: JobError,
        *,
        waiting_for: WaitingFor | None = None,
        excused: bool = False,
    ) -> None:
        not_before = self._clock() + timedelta(seconds=after_s)
        await self._store.release(
            claim.lease, not_before=not_before, waiting_for=waiting_for, error=error, excused=excused
        )

    async def _stop_all(self) -> None:
        runs, self._runs = list(self._runs.values()), {}
        for run in runs:
            run.task.cancel()
        await asyncio.gather(*(run.task for run in runs), return_exceptions=True)
        for run in runs:
            with contextlib.suppress(LeaseLost, StoreUnavailable):
                await self._store.release(run.claim.lease, excused=True)


def _reason(error: Exception) -> JobError:
    if isinstance(error, RayscribeError):
        return JobError(error.code, error.message)
    # The text of a foreign error may hold anything, also what was said in the audio.
    return JobError(RayscribeError.code, f"The attempt died ({type(error).__name__}); the log says more.")
