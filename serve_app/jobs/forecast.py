"""When jobs will end, from the speed measured so far."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from serve_app.jobs.job import Job, Status
from serve_app.jobs.protocols import Clock

REMEMBERED = 50  # jobs that the mean is taken of


@dataclass(slots=True)
class _Heard:
    """How far a running job is: seconds of its audio, first and last, and when that was said."""

    first_at: datetime
    first_s: float
    last_at: datetime
    last_s: float

    @property
    def speed(self) -> float | None:
        """Seconds of audio in a second; None until two chunks were heard."""
        took_s = (self.last_at - self.first_at).total_seconds()
        return (self.last_s - self.first_s) / took_s if took_s > 0 else None


class Forecast:
    """
    Learns how fast jobs go, and says how long others will take.

    Args:
        places: Jobs worked on at the same time.
    """

    def __init__(self, clock: Clock, places: int) -> None:
        self._clock = clock
        self._places = places
        self._heard: dict[str, _Heard] = {}
        self._took_s: deque[float] = deque(maxlen=REMEMBERED)

    def heard(self, job_id: str, end_s: float) -> None:
        """The audio of a running job was transcribed up to here."""
        now = self._clock()
        heard = self._heard[job_id] = self._heard.pop(job_id, _Heard(now, end_s, now, end_s))
        if len(self._heard) > self._places + REMEMBERED:
            del self._heard[next(iter(self._heard))]  # the one that was silent longest: nobody says when a job fails
        heard.last_at, heard.last_s = now, max(heard.last_s, end_s)

    def ended(self, job: Job) -> None:
        """Learn from a job that ran to its end."""
        self.forget(job.job_id)
        if job.started_at and job.completed_at:
            self._took_s.append((job.completed_at - job.started_at).total_seconds())

    def forget(self, job_id: str) -> None:
        """The job runs no more."""
        self._heard.pop(job_id, None)

    def eta_s(self, job: Job) -> float | None:
        """Until it ends; None if it has, or if there is nothing to tell by."""
        if job.status is Status.RUNNING:
            left_s = self._left_s(job)
            return self._mean_s() if left_s is None else left_s
        if job.status is Status.QUEUED and not job.waiting_for:
            return self._queued_s(job)
        return None

    def _left_s(self, job: Job) -> float | None:
        heard = self._heard.get(job.job_id)
        if heard is None or not heard.speed or job.duration_s is None:
            return None
        since_s = (self._clock() - heard.last_at).total_seconds()
        return max(0.0, (job.duration_s - heard.last_s) / heard.speed - since_s)

    def _queued_s(self, job: Job) -> float | None:
        """Those before it go in rounds of as many as there are places, and then it takes as long as the others."""
        mean_s = self._mean_s()
        if mean_s is None or job.queue_position is None:
            return None
        return mean_s * (1 + (job.queue_position - 1) / self._places)

    def _mean_s(self) -> float | None:
        return sum(self._took_s) / len(self._took_s) if self._took_s else None
