"""Server-sent events: those of a transcription, as OpenAI streams them, and what all streams have in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import Depends, Request

from serve_app.api.middleware import log_surprise
from serve_app.api.problems import body_of
from serve_app.errors import InvalidRequest, RayscribeError
from serve_app.transcript.collect import TranscriptCollector
from serve_app.transcript.render import logprobs_list, to_json, token_usage, warnings_list
from serve_app.transcript.types import (
    ChunkTranscribed,
    TokenLogprob,
    TranscriptEvent,
    TranscriptionOptions,
)

MAX_ID_DIGITS = 15


async def last_seen(request: Request, last_event_id: str = "") -> int | None:
    """
    The last event that the client has, from `Last-Event-ID` or `?last_event_id=`; None if it has none.

    Raises:
        InvalidRequest: That is no id of an event.
    """
    given = request.headers.get("last-event-id", "") or last_event_id
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= MAX_ID_DIGITS):
        raise InvalidRequest("Last-Event-ID should be the id of an event of this stream.", param="Last-Event-ID")
    return int(given)


LastSeen = Annotated[int | None, Depends(last_seen)]


async def or_error(blocks: AsyncGenerator[bytes, None], request_id: str) -> AsyncGenerator[bytes, None]:
    """The blocks; a failure is the last of them, since the answer has begun."""
    try:
        async with aclosing(blocks):
            async for block in blocks:
                yield block
    except Exception as error:
        if not isinstance(error, RayscribeError):
            log_surprise(error, request_id)
        yield frame(body_of(error))


def text_events(
    first: TranscriptEvent | None,
    take: Callable[[], Awaitable[TranscriptEvent | None]],
    options: TranscriptionOptions,
    request_id: str,
) -> AsyncGenerator[bytes, None]:
    """A delta for each chunk that says something, and one event with the whole; or, where it fails, one with the error."""
    return or_error(_text_blocks(first, take, options), request_id)


async def _text_blocks(
    first: TranscriptEvent | None,
    take: Callable[[], Awaitable[TranscriptEvent | None]],
    options: TranscriptionOptions,
) -> AsyncGenerator[bytes, None]:
    collector = TranscriptCollector(options)
    event = first
    while isinstance(event, ChunkTranscribed):
        if delta := collector.add(event):
            yield frame(_delta(delta, event.recognized.logprobs))
        event = await take()
    yield frame(_done(collector, event))


def frame(event: Mapping[str, Any]) -> bytes:
    return f"data: {to_json(event)}\n\n".encode()


def named(event: Mapping[str, Any], seq: int | None = None) -> bytes:
    """A frame with its `type` as the name, and a number to go on from if it has one."""
    numbered = f"id: {seq}\n" if seq else ""
    return f"event: {event['type']}\n{numbered}".encode() + frame(event)


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
