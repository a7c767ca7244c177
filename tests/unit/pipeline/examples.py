"""Chunks, words and recognitions to test with."""

import numpy as np

from serve_app.transcript.types import Chunk, Engine, RecognizedChunk, Span, WarningCode, Word

ENGINE = Engine("tiny.en", "", "int8", "cpu")


def chunk(*spans: tuple[float, float], start: float = 0.0, channel: int = 0, index: int = 0) -> Chunk:
    end = spans[-1][1]
    samples = np.zeros(round((end - start) * 16000), dtype=np.int16)
    return Chunk(index, channel, start, samples, tuple(Span(*span) for span in spans))


def words(text: str, *times: tuple[float, float]) -> tuple[Word, ...]:
    parts = [" " + part for part in text.split()]
    return tuple(Word(*time, part, 0.9, (i,)) for i, (part, time) in enumerate(zip(parts, times, strict=True)))


def heard(
    text: str,
    words: tuple[Word, ...] = (),
    *,
    language: str = "en",
    probability: float = 1.0,
    temperature: float = 0.0,
    warnings: tuple[WarningCode, ...] = (),
) -> RecognizedChunk:
    return RecognizedChunk(
        text=text,
        tokens=tuple(range(len(text.split()))),
        language=language,
        language_probability=probability,
        temperature=temperature,
        avg_logprob=-0.2,
        compression_ratio=1.0,
        no_speech_prob=0.0,
        engine=ENGINE,
        words=words,
        warnings=warnings,
    )
