"""Recordings made longer."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from benchmarks import recordings
from benchmarks.corpus import Clip
from tests.recordings import DATA


def test_a_file_of_any_length_is_made_of_short_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "CACHE", tmp_path)
    clips = [Clip(DATA / "jfk.flac", "jfk.flac", 11.0, ""), Clip(DATA / "LJ001-0002.wav", "b.wav", 1.9, "")]

    path = recordings.recording(clips, 30)

    with av.open(str(path)) as media:
        seconds = sum(frame.samples / frame.sample_rate for frame in media.decode(audio=0))
        codec = media.streams.audio[0].codec_context.name
    assert seconds == pytest.approx(30, abs=0.1)
    assert codec in {"opus", "libopus"}
    assert path.stat().st_size * 8 / 30 == pytest.approx(recordings.BIT_RATE, rel=0.3)
    assert recordings.recording(clips, 30) == path
