"""Traces of a real service: our spans inside those that Serve makes of its calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.cluster.running import config_file, poll, running
from tests.cluster.test_transcription import JFK, MODEL

OURS = {"decode", "vad", "chunk", "batch"}


def spans(ray_folder: Path) -> Iterator[dict[str, Any]]:
    """What Serve's own exporter has written so far; a span whose end is not written yet is left out."""
    decoder = json.JSONDecoder()
    for file in ray_folder.glob("**/spans/*_tracing.json"):
        text = file.read_text().lstrip()
        while text:
            try:
                found, end = decoder.raw_decode(text)
            except ValueError:
                break
            yield found
            text = text[end:].lstrip()


@pytest.mark.slow
def test_our_spans_are_in_the_trace_of_the_request(tmp_path: Path) -> None:
    config = config_file(tmp_path)
    tree = yaml.safe_load(config.read_text()) | {"tracing_config": {"enabled": True, "sampling_ratio": 1.0}}
    config.write_text(yaml.safe_dump(tree))

    with running(config) as service, service.client(timeout=120) as client:
        ray_folder = Path(psutil.Process(service.process.pid).environ()["RAY_TMPDIR"])
        client.audio.transcriptions.create(file=JFK, model=MODEL)
        found = poll(lambda: _trace(ray_folder), deadline_s=30)

    assert {span["name"] for span in found} > OURS
    assert len({span["context"]["trace_id"] for span in found}) == 1
    assert "ask what you can do" not in json.dumps(found)
    assert JFK.name not in json.dumps(found)


def _trace(ray_folder: Path) -> list[dict[str, Any]] | None:
    """All spans of the trace with our decoding in it, once all of ours are there, and of Serve's own."""
    all_spans = [*spans(ray_folder)]
    for decode in (span for span in all_spans if span["name"] == "decode"):
        its = [span for span in all_spans if span["context"]["trace_id"] == decode["context"]["trace_id"]]
        if {span["name"] for span in its} > OURS:
            return its
    return None
