"""A recogniser that hangs without dying."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.cluster.frozen import at_work, frozen
from tests.cluster.recordings import long_recording
from tests.cluster.running import config_file, poll, running
from tests.cluster.test_transcription import MODEL

UNSAMPLED = {"temperature": "[0.0]"}


@pytest.mark.slow
def test_a_replica_whose_batch_never_ends_is_replaced_and_its_chunks_are_recognised_by_the_next(tmp_path: Path) -> None:
    recording = long_recording(tmp_path / "long.wav", repeats=20)
    config = config_file(tmp_path, recognizer={"stuck_after_s": 5})
    with running(config) as service, service.client(timeout=300) as client:
        [pid] = service.pids("Recognizer")
        with at_work(pid) as computing:
            undisturbed = client.audio.transcriptions.create(file=recording, model=MODEL, extra_body=UNSAMPLED).text
        texts: list[str] = []
        asking = threading.Thread(
            target=lambda: texts.append(
                client.audio.transcriptions.create(file=recording, model=MODEL, extra_body=UNSAMPLED).text
            )
        )
        with frozen(computing):  # before there is anything to do, which a fast machine has done before it is seen
            asking.start()
            poll(lambda: True if pid not in service.pids("Recognizer") else None, deadline_s=150)
            asking.join(120)

        assert texts == [undisturbed]
        assert "A batch has not ended for" in service.log.read_text()
