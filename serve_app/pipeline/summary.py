"""What a transcription says at its end."""

from __future__ import annotations

from collections import defaultdict

from serve_app.pipeline.records import EndOfSound
from serve_app.transcript.types import (
    Chunk,
    RecognizedChunk,
    TranscriptionFinished,
    TranscriptionOptions,
    TranscriptWarning,
    WarningCode,
)

CERTAIN = 0.5
MESSAGES = {
    WarningCode.REPETITION: "The text repeats itself; the speech may be unclear here.",
    WarningCode.LOW_CONFIDENCE: "The model does not trust what it heard here.",
    WarningCode.LANGUAGE_UNCERTAIN: "The language could not be told with certainty.",
}


class Summary:
    """Adds up the chunks of one transcription."""

    def __init__(self, options: TranscriptionOptions) -> None:
        self._given = options.decoding.language
        self._warnings: list[TranscriptWarning] = []
        self._spoken_s: defaultdict[str, float] = defaultdict(float)  # by language, where there is text
        self._probability: dict[str, float] = {}  # of each language when it was first detected
        self._speech_s = 0.0

    def add(self, chunk: Chunk, recognized: RecognizedChunk) -> None:
        self._speech_s += sum(span.end - span.start for span in chunk.spans)
        if recognized.text.strip():
            self._hear(chunk, recognized)
        for code in recognized.warnings:
            self._warn(code, chunk)

    def finish(self, end: EndOfSound, channels: int) -> TranscriptionFinished:
        if end.damage:
            self._warnings.append(TranscriptWarning(WarningCode.TRUNCATED_MEDIA, end.damage))
        if not self._spoken_s:
            self._warnings.append(TranscriptWarning(WarningCode.NO_SPEECH, "No speech was found in the audio."))
        language = max(self._spoken_s, key=self._spoken_s.__getitem__, default=self._given or "")
        return TranscriptionFinished(
            duration_s=end.duration_s,
            language=language,
            language_probability=self._probability.get(language, 1.0 if self._given else 0.0),
            warnings=tuple(self._warnings),
            speech_s=self._speech_s,
            channels=channels,
        )

    def _hear(self, chunk: Chunk, recognized: RecognizedChunk) -> None:
        first = recognized.language not in self._probability
        self._spoken_s[recognized.language] += chunk.duration_s
        self._probability.setdefault(recognized.language, recognized.language_probability)
        uncertain = self._given is None and first and recognized.language_probability < CERTAIN
        if uncertain and WarningCode.LANGUAGE_UNCERTAIN not in recognized.warnings:
            self._warn(WarningCode.LANGUAGE_UNCERTAIN, chunk)

    def _warn(self, code: WarningCode, chunk: Chunk) -> None:
        self._warnings.append(TranscriptWarning(code, MESSAGES.get(code, ""), chunk.start, chunk.end))
