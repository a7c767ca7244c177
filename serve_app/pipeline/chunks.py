"""Speech spans packed into chunks of at most 30 s, as a stream."""

from __future__ import annotations

import math

import numpy as np

from serve_app.pipeline.spans import SpanTracker, WindowSpan
from serve_app.pipeline.speech import WINDOW, WINDOW_S, Probabilities
from serve_app.transcript.types import MAX_CHUNK_S, SAMPLE_RATE_HZ, Chunk, Samples, Span, SpeechOptions

# WER of tiny.en on long and on short recordings decided these: padding of 0.2 s everywhere gave 0.106 and 0.086, of
# 0.4 s 0.110 and 0.081. With less where speech goes on and more at the edge of a silence it is 0.104 and 0.081.
SILENCE_PADDING = 2  # times the padding, where a long silence or the file's edge is
FULL_CHUNK_S = 25.0  # as good as 30 s, and leaves the encoder its margin
LONG_SILENCE_S = 2.0  # ends a chunk: the encoder's time for it is lost, and Whisper invents words in silence
EARLIEST_CUT = 0.5  # of a full chunk: from there on the longest pause is the best place to cut
EARLIEST_FORCED_CUT = 2 / 3  # of a full chunk: where speech without a pause is cut
QUIET_WINDOWS = 5  # a cut wants 160 ms of quiet


class Chunker:
    """
    Packs one channel. Results do not depend on how the sound is divided into blocks; holds at most one chunk of it and
    the pause that follows.

    A chunk is one piece of the file: from its first span to its last, with the pauses between and padding at both ends.
    """

    def __init__(self, options: SpeechOptions, channel: int = 0) -> None:
        self._channel = channel
        self._padding = round(options.padding_s * SAMPLE_RATE_HZ)
        self._full = int(min(FULL_CHUNK_S, MAX_CHUNK_S - 2 * SILENCE_PADDING * options.padding_s) / WINDOW_S)
        self._long_silence = math.ceil(max(LONG_SILENCE_S, SILENCE_PADDING * options.padding_s) / WINDOW_S)
        self._tracker = SpanTracker(options)
        self._spans: list[WindowSpan] = []  # ended, and in no chunk yet
        self._sound: Samples = np.zeros(0, dtype=np.int16)
        self._sound_start = 0  # sample of the file
        self._chunked = 0  # samples before this are in a chunk
        self._spoken: int | None = None  # the window before which the last chunk's speech ended
        self._index = 0

    def feed(self, samples: Samples, probabilities: Probabilities) -> list[Chunk]:
        """Shape (n,) of sound, and a probability for each window that it completes; gives the chunks that are full."""
        self._sound = np.concatenate([self._sound, samples])
        chunks = [chunk for probability in probabilities.tolist() for chunk in self._step(probability)]
        self._forget()
        return chunks

    def finish(self) -> list[Chunk]:
        """What is left when the file has ended."""
        if (span := self._tracker.finish()) is not None:
            self._spans.append(span)
        return self._emit(len(self._spans))

    def _step(self, probability: float) -> list[Chunk]:
        if (span := self._tracker.feed(probability)) is not None:
            self._spans.append(span)
        if self._tracker.start is None:
            silent = self._tracker.now - self._spans[-1].end if self._spans else 0
            return self._emit(len(self._spans)) if silent >= self._long_silence else []
        chunks: list[Chunk] = []
        while self._tracker.end - (first := self._first()) >= self._full:  # by seconds, after a pause inside a span
            if not self._spans:
                self._spans.append(self._tracker.cut(self._quietest(first)))
            chunks += self._emit(self._best_pause(first))
        return chunks

    def _first(self) -> int:
        """The window where the speech that is in no chunk yet begins, or may."""
        return self._spans[0].start if self._spans else self._tracker.earliest_start

    def _best_pause(self, first: int) -> int:
        """How many of the ended spans to take, so that the chunk ends in a long pause and is not short."""
        starts = [span.start for span in self._spans[1:]] + [self._tracker.start or 0]
        pauses = [start - span.end for span, start in zip(self._spans, starts, strict=True)]
        late = [i for i, span in enumerate(self._spans) if span.end - first >= EARLIEST_CUT * self._full]
        return 1 + max(late, key=lambda i: (pauses[i], i), default=len(pauses) - 1)

    def _quietest(self, first: int) -> int:
        """The window in the last third of a full chunk with the least energy around it."""
        earliest = first + int(self._full * EARLIEST_FORCED_CUT)
        latest = first + self._full - 1  # the window there may be the file's last, and not whole
        start, end = earliest * WINDOW - self._sound_start, latest * WINDOW - self._sound_start
        windows = self._sound[start:end].astype(np.float32).reshape(-1, WINDOW)
        energy = np.convolve(np.square(windows).mean(axis=1), np.ones(QUIET_WINDOWS), mode="valid")
        return earliest + int(energy.argmin()) + QUIET_WINDOWS // 2

    def _emit(self, count: int) -> list[Chunk]:
        if count == 0:
            return []
        taken, self._spans = self._spans[:count], self._spans[count:]
        first, last = taken[0].start, taken[-1].end
        following = self._spans[0].start if self._spans else self._tracker.start
        start = max(self._chunked, first * WINDOW - self._padding_between(self._spoken, first))
        end = min(self._end_of_sound, last * WINDOW + self._padding_between(last, following))
        if following is not None:
            end = min(end, (last + following) * WINDOW // 2)
        samples = self._sound[start - self._sound_start : end - self._sound_start].copy()
        chunk = Chunk(self._index, self._channel, start / SAMPLE_RATE_HZ, samples, self._in_seconds(taken))
        self._chunked, self._spoken = end, last
        self._index += 1
        return [chunk]

    def _padding_between(self, before: int | None, after: int | None) -> int:
        """In samples, on each side of the silence between two windows; None is where the file begins or ends."""
        silent = before is None or after is None or after - before >= self._long_silence
        return self._padding * (SILENCE_PADDING if silent else 1)

    def _in_seconds(self, spans: list[WindowSpan]) -> tuple[Span, ...]:
        duration_s = self._end_of_sound / SAMPLE_RATE_HZ  # the last window may be filled up with silence
        return tuple(Span(span.start * WINDOW_S, min(span.end * WINDOW_S, duration_s)) for span in spans)

    @property
    def _end_of_sound(self) -> int:
        return self._sound_start + len(self._sound)

    def _forget(self) -> None:
        """Drop the sound that no chunk can need."""
        needed = max(self._chunked, self._first() * WINDOW - SILENCE_PADDING * self._padding, self._sound_start)
        self._sound = self._sound[needed - self._sound_start :].copy()
        self._sound_start = needed
