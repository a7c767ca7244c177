"""Many channels to one, without losing a voice that is recorded in opposite phase."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serve_app.transcript.types import Samples

FloatBlock = NDArray[np.float32]

# Energy of the mean over that of the loudest channel. A voice in one of two channels gives 0.25, an anti-phase pair 0.
CANCELS_BELOW = 0.1
SURVIVES_ABOVE = 0.2
LOUDER_BY = 2.0  # a channel must be that much louder than the chosen one to replace it


class Downmix:
    """
    The mean of the channels, or the loudest channel where the mean cancels.

    Changes its mind late (hysteresis), because every change is a step in the sound.
    """

    def __init__(self) -> None:
        self._chosen: int | None = None  # None: the mean

    def mix(self, block: FloatBlock) -> Samples:
        """Shape (channels, n), values beyond ±1 are clipped, to shape (n,)."""
        block = clipped(block)
        if len(block) == 1:
            return to_int16(block[0])
        mean = block.mean(axis=0)
        energies = np.square(block).sum(axis=1)
        loudest = int(energies.argmax())
        if energies[loudest] > 0:  # silence says nothing about phase
            self._choose(float(np.square(mean).sum() / energies[loudest]), energies, loudest)
        return to_int16(mean if self._chosen is None else block[self._chosen])

    def _choose(self, surviving: float, energies: NDArray[np.float32], loudest: int) -> None:
        if surviving > SURVIVES_ABOVE or (self._chosen is None and surviving >= CANCELS_BELOW):
            self._chosen = None
        elif self._chosen is None or energies[loudest] > LOUDER_BY * energies[self._chosen]:
            self._chosen = loudest


def clipped(block: FloatBlock) -> FloatBlock:
    """
    Within ±1; what the resampler made of absurd values (infinities, NaN) too.

    Channel after channel in memory, as which several are added up ten times as fast as sample after sample.
    """
    within: FloatBlock = np.clip(np.ascontiguousarray(block), -1.0, 1.0)
    within[np.isnan(within)] = 0.0
    return within


def to_int16(block: FloatBlock) -> Samples:
    samples: Samples = np.rint(block * np.float32(32767)).astype(np.int16)
    return samples
