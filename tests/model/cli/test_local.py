"""`rayscribe transcribe --local`: the whole path in one process, with the real tiny.en and no service."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cluster.running import RAYSCRIBE, poll
from tests.recordings import DATA

pytestmark = pytest.mark.model


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    env = {
        **os.environ,
        "DATA_DIR": str(folder / "data"),
        "RAYSCRIBE_URL": "http://127.0.0.1:9",
    }  # nobody listens there
    command = [RAYSCRIBE, "transcribe", "--local", *map(str, arguments)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)


def test_recordings_are_transcribed_without_a_service(tmp_path: Path) -> None:
    formats = ("--format", "txt", "--format", "srt", "--format", "json", "--word-times")
    process = start(tmp_path, DATA / "jfk.flac", DATA / "hostile" / "empty.wav", *formats, "--output-dir", tmp_path)
    out, err = process.communicate(timeout=120)

    assert process.returncode == 1  # for the empty file, and for it alone
    assert "empty.wav: " in err
    assert "Traceback" not in err
    assert "11.0 s of audio in" in err
    assert "ask what you can do for your country" in (tmp_path / "jfk.txt").read_text()
    assert (tmp_path / "jfk.srt").read_text().startswith("1\n00:00:0")
    assert '"words":[{"word":"And"' in (tmp_path / "jfk.json").read_text()
    assert out == ""


def test_interrupted_engine_leaves_nothing_and_ends_its_decoders(tmp_path: Path) -> None:
    process = start(tmp_path, DATA, "--output-dir", tmp_path / "out")
    poll(lambda: next((tmp_path / "out").glob("*.txt"), None), deadline_s=120)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode in (1, 130)  # the last file may have been done just then, and an empty one is among them
    assert "Traceback" not in err
    assert [path.suffix for path in (tmp_path / "out").rglob("*") if path.suffix == ".part"] == []
