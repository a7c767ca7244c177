"""Spans of our work, for whoever listens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serve_app.errors import InvalidAudio
from serve_app.telemetry.context import working_on
from serve_app.telemetry.tracing import span, stream_span


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def test_while_nobody_listens_a_span_is_nothing() -> None:
    with span("chunk", index=1) as begun:
        assert not begun.is_recording()


def test_spans_of_what_is_called_are_inside_and_name_the_job(listener: InMemorySpanExporter) -> None:
    with working_on(job_id="j1"), span("chunk", index=3), span("batch", chunks=2):
        pass

    batch, chunk = listener.get_finished_spans()
    assert (chunk.name, batch.name) == ("chunk", "batch")
    assert batch.parent is not None
    assert batch.parent.span_id == chunk.context.span_id
    assert chunk.attributes == {"rayscribe.job_id": "j1", "index": 3}


def test_of_a_failure_the_kind_is_shown_and_no_word(listener: InMemorySpanExporter) -> None:
    for kind in (span, stream_span):
        with pytest.raises(InvalidAudio), kind("decode"):
            raise InvalidAudio("secret.wav is not audio")

    for ended in listener.get_finished_spans():
        assert not ended.status.is_ok
        assert "InvalidAudio" in ended.to_json()
        assert "secret" not in ended.to_json()


async def test_a_stream_ends_its_span_when_it_is_closed_and_holds_nothing_of_its_consumer(
    listener: InMemorySpanExporter,
) -> None:
    async def stream() -> AsyncGenerator[int, None]:
        with stream_span("decode"):
            yield 1
            yield 2

    async with aclosing(stream()) as items:
        async for _ in items:
            with span("chunk"):
                pass
            break

    chunk, decode = listener.get_finished_spans()
    assert (chunk.name, decode.name) == ("chunk", "decode")
    assert chunk.parent is None
    assert decode.status.is_unset
