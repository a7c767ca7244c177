"""What a store does for those who look for what other processes wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class LookoutStore(Protocol):
    async def last_seqs(self, job_ids: Sequence[str]) -> Mapping[str, int]:
        """The number of the last event of each of these jobs; without those that there are not."""
        ...
