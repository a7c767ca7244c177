"""
The formats: pure functions of a `Transcript`.

Times are rounded once, to whole milliseconds. What is absent is left out; nothing is ever null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from serve_app.errors import InvalidRequest
from serve_app.transcript.languages import language_name
from serve_app.transcript.subtitles import Lines, srt, vtt
from serve_app.transcript.types import Segment, Task, TokenLogprob, Transcript, TranscriptWarning, Word

AUDIO_TOKENS_PER_S = 50  # positions of Whisper's encoder
UNKNOWN_LANGUAGE = "unknown"


class Format(StrEnum):
    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VERBOSE_JSON = "verbose_json"
    VTT = "vtt"
    DIARIZED_JSON = "diarized_json"


TIMED = frozenset({Format.SRT, Format.VERBOSE_JSON, Format.VTT, Format.DIARIZED_JSON})
"""The formats that carry times."""

MEDIA_TYPES: Mapping[Format, str] = {
    Format.JSON: "application/json",
    Format.TEXT: "text/plain; charset=utf-8",
    Format.SRT: "text/plain; charset=utf-8",
    Format.VERBOSE_JSON: "application/json",
    Format.VTT: "text/vtt; charset=utf-8",
    Format.DIARIZED_JSON: "application/json",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What an answer shows, and how wide."""

    segments: bool = True
    words: bool = False
    logprobs: bool = False
    lines: Lines = field(default_factory=Lines)


def render(transcript: Transcript, format: Format, layout: Layout = Layout()) -> str:
    return RENDERERS[format](transcript, layout)


def to_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def duration_usage(duration_s: float) -> dict[str, Any]:
    return {"type": "duration", "seconds": _whole_seconds(duration_s)}


def token_usage(duration_s: float, output_tokens: int) -> dict[str, Any]:
    """What the end of a stream carries: OpenAI's SDKs know tokens there, and nothing else."""
    audio_tokens = math.ceil(_seconds(duration_s) * AUDIO_TOKENS_PER_S)
    return {
        "type": "tokens",
        "input_tokens": audio_tokens,
        "output_tokens": output_tokens,
        "total_tokens": audio_tokens + output_tokens,
        "input_token_details": {"audio_tokens": audio_tokens, "text_tokens": 0},
        "seconds": _whole_seconds(duration_s),
    }


def logprobs_list(logprobs: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    return [{"token": p.token, "logprob": _finite(p.logprob), "bytes": list(p.bytes)} for p in logprobs]


def warnings_list(warnings: Iterable[TranscriptWarning]) -> list[dict[str, Any]]:
    return [_warning(warning) for warning in warnings]


def _json(transcript: Transcript, layout: Layout) -> str:
    answer: dict[str, Any] = {"text": transcript.text}
    if layout.logprobs:
        answer["logprobs"] = logprobs_list(transcript.logprobs)
    return to_json(answer | _ending(transcript))


def _text(transcript: Transcript, layout: Layout) -> str:
    return transcript.text + "\n"


def _verbose_json(transcript: Transcript, layout: Layout) -> str:
    answer: dict[str, Any] = {
        "task": transcript.task.value,
        "language": _language(transcript),
        "duration": _seconds(transcript.duration_s),
        "text": transcript.text,
    }
    if layout.segments:
        answer["segments"] = [_segment(n, s) for n, s in enumerate(transcript.segments)]
    if layout.words:
        answer["words"] = [_word(word) for segment in transcript.segments for word in segment.words]
    return to_json(answer | _ending(transcript))


def _diarized_json(transcript: Transcript, layout: Layout) -> str:
    answer = {
        "task": transcript.task.value,
        "duration": _seconds(transcript.duration_s),
        "text": transcript.text,
        "segments": [_spoken(n, s) for n, s in enumerate(transcript.segments)],
    }
    return to_json(answer | _ending(transcript))


def no_diarizer() -> InvalidRequest:
    return InvalidRequest(
        "diarized_json needs a file with one speaker on each of several channels, and `channels=separate`:"
        " this service tells channels apart, not voices.",
        param="response_format",
    )


def _ending(transcript: Transcript) -> dict[str, Any]:
    ending: dict[str, Any] = {"usage": duration_usage(transcript.duration_s)}
    if transcript.warnings:
        ending["warnings"] = warnings_list(transcript.warnings)
    return ending


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    return {
        "id": number,
        "seek": round(segment.chunk_start * 100),
        "start": _seconds(segment.start),
        "end": _seconds(segment.end),
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": segment.temperature,
        "avg_logprob": _finite(segment.avg_logprob),
        "compression_ratio": _finite(segment.compression_ratio),
        "no_speech_prob": _finite(segment.no_speech_prob),
    }


def _word(word: Word) -> dict[str, Any]:
    return {"word": word.text.strip(), "start": _seconds(word.start), "end": _seconds(word.end)}


def _spoken(number: int, segment: Segment) -> dict[str, Any]:
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{number}",
        "start": _seconds(segment.start),
        "end": _seconds(segment.end),
        "speaker": speaker(segment.channel),
        "text": segment.text,
    }


def speaker(channel: int) -> str:
    """A, B, … Z, AA, AB, …: a channel's name as a speaker."""
    before, letter = divmod(channel, 26)
    return (speaker(before - 1) if before else "") + chr(ord("A") + letter)


def _warning(warning: TranscriptWarning) -> dict[str, Any]:
    shown: dict[str, Any] = {"code": warning.code.value, "message": warning.message}
    if warning.start is not None:
        shown["start"] = _seconds(warning.start)
    if warning.end is not None:
        shown["end"] = _seconds(warning.end)
    return shown


def _language(transcript: Transcript) -> str:
    if transcript.task is Task.TRANSLATE:
        return "english"
    return language_name(transcript.language) or UNKNOWN_LANGUAGE


def _seconds(seconds: float) -> float:
    return round(seconds * 1000) / 1000


def _whole_seconds(seconds: float) -> int:
    return math.ceil(_seconds(seconds))


def _finite(number: float) -> float:
    return float(number) if math.isfinite(number) else 0.0


RENDERERS: Mapping[Format, Callable[[Transcript, Layout], str]] = {
    Format.JSON: _json,
    Format.TEXT: _text,
    Format.SRT: lambda transcript, layout: srt(transcript.segments, layout.lines),
    Format.VERBOSE_JSON: _verbose_json,
    Format.VTT: lambda transcript, layout: vtt(transcript.segments, layout.lines),
    Format.DIARIZED_JSON: _diarized_json,
}
