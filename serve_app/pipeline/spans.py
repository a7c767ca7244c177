"""Speech probabilities to speech spans."""

from __future__ import annotations

import math
from dataclasses import dataclass

from serve_app.pipeline.speech import WINDOW_S
from serve_app.transcript.types import SpeechOptions

HYSTERESIS = 0.15  # a span ends that much below the threshold that began it, as in Silero's own code


@dataclass(frozen=True, slots=True)
class WindowSpan:
    """From window `start` to before window `end`."""

    start: int
    end: int


class SpanTracker:
    """
    Follows the probabilities window by window.

    A span begins at the threshold, and ends where the probability falls below the threshold less the hysteresis and stays
    below the threshold for `min_silence_s`. Without `vad_filter` one span lasts from the start to the end.
    """

    def __init__(self, options: SpeechOptions) -> None:
        self._on = options.threshold if options.vad_filter else 0.0
        self._off = max(self._on - HYSTERESIS, 0.01) if options.vad_filter else -math.inf
        self._min_silence = max(1, round(options.min_silence_s / WINDOW_S))
        self._silent_since: int | None = None
        self.start: int | None = None  # of the span that is still open
        self.now = 0

    @property
    def end(self) -> int:
        """Where the open span would end if nothing more were said."""
        return self.now if self._silent_since is None else self._silent_since

    def feed(self, probability: float) -> WindowSpan | None:
        """The span that ended before this window, if one did."""
        window = self.now
        self.now += 1
        if probability >= self._on:
            self._silent_since = None
            self.start = window if self.start is None else self.start
        elif probability < self._off and self.start is not None:
            self._silent_since = window if self._silent_since is None else self._silent_since
        if self._silent_since is None or self.now - self._silent_since < self._min_silence:
            return None
        return self.finish()

    def finish(self) -> WindowSpan | None:
        """End the open span here."""
        if self.start is None:
            return None
        span = WindowSpan(self.start, self.end)
        self.start = self._silent_since = None
        return span

    def cut(self, window: int) -> WindowSpan:
        """End the open span at a window inside it, and begin another there."""
        if self.start is None or not self.start < window < self.end:
            raise ValueError(f"no open span around window {window}")
        span = WindowSpan(self.start, window)
        self.start = window
        return span
