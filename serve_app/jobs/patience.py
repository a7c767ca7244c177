"""How often an attempt may die before its job fails."""

from __future__ import annotations

from dataclasses import dataclass

from serve_app.jobs.job import Claim, JobError

LONGEST_WAIT_S = 60.0
SILENT = JobError("unavailable", "The attempt fell silent.")


@dataclass(slots=True)
class _Tries:
    """Attempts since a job last made progress."""

    known: int  # chunks that the last attempt began with
    count: int = 0
    waits: int = 0
    last_error: JobError = SILENT


class Patience:
    """
    Counts the attempts of each job that came to nothing in a row.

    An attempt counts from its begin, so that one that fell silent, or took its process along, counts too, unless it is excused.

    Args:
        most: Attempts in a row without a new chunk before a job fails.
        wait_s: After the first of them; doubles with each, up to a minute.
    """

    def __init__(self, most: int, wait_s: float) -> None:
        self._most = most
        self._wait_s = wait_s
        self._tries: dict[str, _Tries] = {}

    def begin(self, claim: Claim) -> JobError | None:
        """Count an attempt; gives why the job is to fail instead, if it is."""
        tries = self._tries.setdefault(claim.lease.job_id, _Tries(len(claim.known)))
        if len(claim.known) > tries.known:
            tries.known, tries.count, tries.waits = len(claim.known), 0, 0
        tries.count += 1
        return self._given_up(tries) if tries.count > self._most else None

    def died(self, claim: Claim, error: JobError) -> JobError | None:
        """Remember what an attempt died of; gives why the job is to fail, if it was the last."""
        tries = self._tries[claim.lease.job_id]
        tries.last_error = error
        return self._given_up(tries) if tries.count >= self._most else None

    def wait_s(self, claim: Claim) -> float:
        """How long the next attempt waits: longer each time that this is asked."""
        tries = self._tries[claim.lease.job_id]
        tries.waits += 1
        return min(self._wait_s * 2.0 ** min(tries.waits - 1, 10), LONGEST_WAIT_S)

    def excuse(self, claim: Claim) -> None:
        """The attempt ended through no fault of the job: it does not count."""
        self._tries[claim.lease.job_id].count -= 1

    def forget(self, job_id: str) -> None:
        """The job has ended."""
        self._tries.pop(job_id, None)

    def _given_up(self, tries: _Tries) -> JobError:
        last = tries.last_error
        return JobError(last.code, f"Given up after {self._most} attempts without progress. The last: {last.message}")
