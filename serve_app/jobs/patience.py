"""How often an attempt may die before its job fails. The store counts; here is what follows from the count."""

from __future__ import annotations

from serve_app.jobs.job import Claim, JobError

LONGEST_WAIT_S = 60.0
SILENT = JobError("unavailable", "The attempt fell silent.")


def given_up(claim: Claim, most: int) -> JobError | None:
    """
    Why a job is to fail instead of being tried again, if it is.

    Args:
        most: Attempts in a row without a new chunk before a job fails.
    """
    if claim.failures < most:
        return None
    last = claim.last_error or SILENT
    return JobError(last.code, f"Given up after {most} attempts without progress. The last: {last.message}")


def wait_s(claim: Claim, first_s: float) -> float:
    """
    How long the next attempt waits after one that came to nothing.

    Args:
        first_s: After the first of them; doubles with each, up to a minute.
    """
    return min(first_s * 2.0 ** min(claim.waits, 10), LONGEST_WAIT_S)
