"""How much one owner may have on the way."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from serve_app.api.upload_files import Upload
from serve_app.errors import AudioTooLarge, RateLimited


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """
    What the uploads of one owner may be together, until they become jobs, are ended or expire.

    Attributes:
        max_uploads: How many; 0 = no limit.
        max_bytes: As announced, since so much may still come; 0 = no limit.
    """

    max_uploads: int = 0
    max_bytes: int = 0

    def check(self, length: int, others: Collection[Upload], now: datetime) -> None:
        """
        Whether there is room for one more, of so many bytes.

        Raises:
            AudioTooLarge: Not even if it were the only one.
            RateLimited: Not beside the others.
        """
        if self.max_bytes and length > self.max_bytes:
            raise AudioTooLarge(
                f"The upload is {length} bytes, and the uploads of one API key may be {self.max_bytes} bytes together.",
                param="Upload-Length",
            )
        if self.max_uploads and len(others) >= self.max_uploads:
            raise _full(f"{len(others)} uploads", f"{self.max_uploads}", others, now)
        announced = sum(other.length for other in others)
        if self.max_bytes and announced + length > self.max_bytes:
            raise _full(f"Uploads of {announced} bytes", f"{self.max_bytes} bytes", others, now)


def _full(there_are: str, there_may_be: str, others: Collection[Upload], now: datetime) -> RateLimited:
    first_end = min(other.expires_at for other in others)
    return RateLimited(
        f"{there_are} are no jobs yet, and one API key may have {there_may_be}."
        " Submit them as jobs, or DELETE those that you do not need.",
        retry_after_s=(first_end - now).total_seconds(),
    )
