"""When models are loaded, parked, freed and waited for."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from serve_app.settings.section import NEVER, Count, Positive, Section, Size

Idle = Annotated[float, Field(ge=NEVER)]

PARK_SHARE = 0.2
ZERO_LATER_S = 60.0


class LifecycleSettings(Section):
    """
    Models in memory, and the idle ladder: parked, then unloaded, then no replica at all.

    Each step of the ladder counts from the last use: -1 is never, 0 at once, which is after a second: between two chunks of one
    transcription nobody uses its model.
    """

    max_models: Count = 2
    """Models in the memory of one replica; the least recently used one makes room for another."""
    vram_budget_bytes: Size = 0
    """GPU memory that the models of one replica may take together, in bytes; 0 = all that is free."""
    vram_margin_bytes: Size = 256 * 1024 * 1024
    """GPU memory that a load leaves free for others, in bytes."""
    unload_residue_bytes: Size = 1024**3
    """GPU memory that may stay behind when the last model is unloaded, in bytes: CUDA itself keeps some. With more, the process
    is replaced."""
    park_after_s: Idle | None = None
    """On a GPU: seconds of idleness until weights go to host memory, from where they are back in a fraction of a second. Not
    set: a fifth of `unload_after_s`."""
    unload_after_s: Idle = 300.0
    """Seconds of idleness until weights are dropped."""
    zero_after_s: Idle | None = None
    """Where `recognizer.min_replicas` is 0: seconds of idleness until the last replica goes. Not set: a minute after
    `unload_after_s`."""
    switch_after_s: Positive = 5.0
    """How long a chunk waits for a model that finds no room because others are in use, in seconds; then one of these is drained
    for it."""
    gpu_poll_interval_s: Positive = 30.0
    """How often a model that waits for GPU memory looks whether it is free, in seconds."""
    cpu_fallback: bool = False
    """Load on the CPU what finds no room on the GPU, instead of waiting; the result says so."""
    cold_start: Literal["queue", "reject"] = "queue"
    """What becomes of a request for a model that is not loaded. `queue`: it waits. `reject`: 503 with `Retry-After`; the load
    begins all the same."""
    cold_start_wait_s: Positive = 120.0
    """How long a request waits for its model with `queue`, in seconds; then it is answered 503. Jobs wait without end."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        steps = {
            "park_after_s": self.parks_after_s,
            "unload_after_s": self.unloads_after_s,
            "zero_after_s": self.zeroes_after_s,
        }
        for (earlier, early_s), (later, late_s) in zip(list(steps.items())[:-1], list(steps.items())[1:], strict=True):
            if early_s > late_s and not (earlier == "park_after_s" and math.isinf(early_s)):
                raise ValueError(
                    f"{earlier} ({early_s:g} s) comes after {later} ({late_s:g} s): an idle model is first parked, then"
                    " unloaded, then its replica goes"
                )
        return self

    @property
    def parks_after_s(self) -> float:
        """Infinite: never."""
        if self.park_after_s is None:
            return PARK_SHARE * self.unloads_after_s
        return _seconds(self.park_after_s)

    @property
    def unloads_after_s(self) -> float:
        """Infinite: never."""
        return _seconds(self.unload_after_s)

    @property
    def zeroes_after_s(self) -> float:
        """Infinite: never."""
        if self.zero_after_s is None:
            return self.unloads_after_s + ZERO_LATER_S
        return _seconds(self.zero_after_s)


def _seconds(value: float) -> float:
    """
    Raises:
        ValueError: Negative, and not -1.
    """
    if value < 0 and value != NEVER:
        raise ValueError(f"{value:g} is no time: -1 is never, 0 at once")
    return math.inf if value == NEVER else value
