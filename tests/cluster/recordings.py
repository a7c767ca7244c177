"""Recordings that are made, because they would be too large to keep."""

from __future__ import annotations

import wave
from pathlib import Path

from tests.recordings import DATA


def long_recording(path: Path, *, repeats: int) -> Path:
    """The recordings of the test data one after the other, so often; eight times are two minutes."""
    parts = sorted(DATA.glob("LJ*.wav"))
    with wave.open(str(path), "wb") as out:
        for n in range(repeats * len(parts)):
            with wave.open(str(parts[n % len(parts)]), "rb") as part:
                if n == 0:
                    out.setparams(part.getparams())
                out.writeframes(part.readframes(part.getnframes()))
    return path
