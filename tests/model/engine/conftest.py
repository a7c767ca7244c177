"""tiny.en, loaded once, and the bundled recordings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from faster_whisper import decode_audio

from serve_app.engine.recognizer import BatchingRecognizer
from serve_app.settings import Settings
from serve_app.transcript.types import SAMPLE_RATE_HZ, Samples

RECORDINGS = ("LJ001-0001.wav", "LJ001-0002.wav", "LJ001-0004.wav", "jfk.flac")
DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="session")
def recordings() -> dict[str, Samples]:
    """File name → samples."""
    audio = {name: decode_audio(str(DATA / name), SAMPLE_RATE_HZ) for name in RECORDINGS}
    return {name: np.round(samples * 32767).astype(np.int16) for name, samples in audio.items()}


@pytest_asyncio.fixture(scope="session")
async def recognizer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BatchingRecognizer]:
    recognizer = BatchingRecognizer.from_settings(Settings(data_dir=str(tmp_path_factory.mktemp("data"))))
    await recognizer.preload(["tiny.en"])
    yield recognizer
    await recognizer.close()
