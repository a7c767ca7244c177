"""How a command ends: the exit codes, and the errors that choose them."""

from __future__ import annotations

from serve_app.errors import RayscribeError

FAILED = 1
WRONG_USAGE = 2  # Click's own
NO_SERVICE = 3
INTERRUPTED = 130  # as a shell names Ctrl-C


class NoService(RayscribeError):
    """Nothing answers at the URL."""


class Refused(RayscribeError):
    """
    The service answered with an error.

    Attributes:
        status: Of HTTP.
        code: As in the answer's envelope.
    """

    def __init__(self, message: str, *, status: int, code: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.status = status
        self.code = code

    @property
    def too_large(self) -> bool:
        return self.status == 413


class JobEndedBadly(RayscribeError):
    """
    The job failed, or somebody cancelled it.

    Attributes:
        code: Of the job's error, or how it ended.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


def exit_code(error: RayscribeError) -> int:
    return NO_SERVICE if isinstance(error, NoService) else FAILED
