"""Sends spans to a collector; with the extra `otlp`."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def exporter() -> list[SpanProcessor]:
    """
    For `tracing_config.exporter_import_path`.

    OpenTelemetry's own variables of the environment say where to: `OTEL_EXPORTER_OTLP_ENDPOINT`, and `…_HEADERS` for a key.
    """
    return [BatchSpanProcessor(OTLPSpanExporter())]
