"""The events of a transcription as OpenAI streams them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from serve_app.api.middleware import log_surprise
from serve_app.api.problems import body_of
from serve_app.errors import RayscribeError
from serve_app.transcript.collect import TranscriptCollector
from serve_app.transcript.render import logprobs_list, to_json, token_usage, warnings_list
from serve_app.transcript.types import (
    ChunkTranscribed,
    TokenLogprob,
    TranscriptEvent,
    TranscriptionOptions,
)


async def text_events(
    first: TranscriptEvent | None,
    take: Callable[[], Awaitable[TranscriptEvent | None]],
    options: TranscriptionOptions,
    request_id: str,
) -> AsyncGenerator[bytes, None]:
    """A delta for each chunk that says something, and one event with the whole; or, where it fails, one with the error."""
    collector = TranscriptCollector(options)
    event = first
    try:
        while isinstance(event, ChunkTranscribed):
            if delta := collector.add(event):
                yield frame(_delta(delta, event.recognized.logprobs))
            event = await take()
        yield frame(_done(collector, event))
    except Exception as error:
        if not isinstance(error, RayscribeError):
            log_surprise(error, request_id)
        yield frame(body_of(error))


def frame(event: Mapping[str, Any]) -> bytes:
    return f"data: {to_json(event)}\n\n".encode()


def _delta(text: str, logprobs: tuple[TokenLogprob, ...]) -> dict[str, Any]:
    return {"type": "transcript.text.delta", "delta": text} | _logprobs(logprobs)


def _done(collector: TranscriptCollector, end: TranscriptEvent | None) -> dict[str, Any]:
    transcript = collector.finish(end)
    event: dict[str, Any] = {"type": "transcript.text.done", "text": transcript.text}
    event |= _logprobs(transcript.logprobs)
    event["usage"] = token_usage(transcript.duration_s, collector.tokens)
    if transcript.warnings:
        event["warnings"] = warnings_list(transcript.warnings)
    return event


def _logprobs(logprobs: tuple[TokenLogprob, ...]) -> dict[str, Any]:
    return {"logprobs": logprobs_list(logprobs)} if logprobs else {}
