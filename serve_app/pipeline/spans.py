"""Speech probabilities to speech spans."""

from __future__ import annotations

import math
from dataclasses import dataclass

from serve_app.pipeline.speech import WINDOW_S
from serve_app.transcript.types import SpeechOptions

HYSTERESIS = 0.15  # a span ends that much below the threshold that began it, as in Silero's own code

# After silence the network wakes slowly: on a first word it can stay at 0.2 to 0.4 for a quarter of a second.
ONSET_SHARE = 0.2  # of the threshold
ONSET_WINDOWS = 10


@dataclass(frozen=True, slots=True)
class WindowSpan:
    """From window `start` to before window `end`."""

    start: int
    end: int


class SpanTracker:
    """
    Follows the probabilities window by window.

    A span begins where the probability rises to the threshold, and ends where it falls below the threshold less the
    hysteresis and stays below the threshold for `min_silence_s`. Without `vad_filter` one span lasts from the start to the end.
    """

    def __init__(self, options: SpeechOptions) -> None:
        self._on = options.threshold if options.vad_filter else 0.0
        self._off = max(self._on - HYSTERESIS, 0.01) if options.vad_filter else -math.inf
        self._min_silence = max(1, round(options.min_silence_s / WINDOW_S))
        self._silent_since: int | None = None
        self._rising_since: int | None = None
        self._ended = 0  # where the last span did
        self.start: int | None = None  # of the span that is still open
        self.now = 0

    @property
    def end(self) -> int:
        """Where the open span would end if nothing more were said."""
        return self.now if self._silent_since is None else self._silent_since

    @property
    def earliest_start(self) -> int:
        """Where the open span started, or the next one may yet: its onset can lie in windows that were fed before."""
        return self._onset(self.now) if self.start is None else self.start

    def feed(self, probability: float) -> WindowSpan | None:
        """The span that ended before this window, if one did."""
        window = self.now
        self.now += 1
        self._follow_rise(probability, window)
        if probability >= self._on:
            self._silent_since = None
            self.start = self._onset(window) if self.start is None else self.start
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
        self._ended = span.end
        return span

    def cut(self, window: int) -> WindowSpan:
        """End the open span at a window inside it, and begin another there."""
        if self.start is None or not self.start < window < self.end:
            raise ValueError(f"no open span around window {window}")
        span = WindowSpan(self.start, window)
        self.start = window
        return span

    def _follow_rise(self, probability: float, window: int) -> None:
        if probability < ONSET_SHARE * self._on:
            self._rising_since = None
        elif self._rising_since is None:
            self._rising_since = window

    def _onset(self, window: int) -> int:
        since = window if self._rising_since is None else self._rising_since
        return max(since, window - ONSET_WINDOWS, self._ended)
