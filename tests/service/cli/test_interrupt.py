"""Ctrl-C: the work stops on both sides, and nothing is left half-written."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.cluster.running import RAYSCRIBE, poll
from tests.service.cli.conftest import KEY, Talk
from tests.service.cli.house import ServedHouse

pytestmark = pytest.mark.server


@pytest.mark.parametrize("formats", [("txt",), ("txt", "srt")], ids=["request", "job"])
def test_interrupted_transcription_leaves_nothing(talk: Talk, house: ServedHouse, formats: tuple[str, ...]) -> None:
    house.gate.close()
    before, cancelled = len(house.transcriber.calls), house.transcriber.cancelled
    process = subprocess.Popen(
        [RAYSCRIBE, "transcribe", talk.file, "--url", talk.url, *(a for f in formats for a in ("--format", f))],
        env={**os.environ, "RAYSCRIBE_API_KEY": KEY},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        poll(lambda: len(house.transcriber.calls) > before or None, deadline_s=30)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        poll(lambda: house.transcriber.cancelled > cancelled or None, deadline_s=30)
    finally:
        process.kill()
        house.gate.open()

    assert process.returncode == 130
    assert "Traceback" not in said
    assert list(talk.folder.iterdir()) == [talk.file]
    assert talk.rayscribe("jobs", "list", "--status", "running", "--json").objects == []
