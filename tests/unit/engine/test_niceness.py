"""What computes yields to what answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from serve_app.engine.keeper import ModelKeeper
from serve_app.engine.models import LoadedModel
from serve_app.engine.recognizer import BatchingRecognizer
from serve_app.settings import TINY_EN
from serve_app.settings.niceness import STEP, give_way
from serve_app.transcript.types import ChunkRequest, DecodingOptions

from .conftest import StandInLoader, StandInWhisper

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="niceness is of threads only there")


def niceness() -> int:
    """Of this thread."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def test_only_the_thread_that_gives_way_does() -> None:
    before = niceness()
    with ThreadPoolExecutor(1, initializer=give_way) as threads:
        theirs = threads.submit(niceness).result()

    assert theirs == before + STEP
    assert niceness() == before


async def test_models_are_loaded_and_batches_decoded_in_threads_that_give_way(
    model: LoadedModel, whisper: StandInWhisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, int] = {}

    def noting(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            seen[what] = niceness()
            return call(*args, **kwargs)

        return noted

    loader = StandInLoader(model)
    monkeypatch.setattr(loader, "load", noting("load", loader.load))
    monkeypatch.setattr(whisper, "generate", noting("decode", whisper.generate))
    whisper.says = [(" Ask not.", -0.1, 0.01)]
    recognizer = BatchingRecognizer({"tiny.en": TINY_EN}, ModelKeeper(loader))
    await recognizer.recognize(ChunkRequest(np.zeros(16_000, np.int16), DecodingOptions("tiny.en")))
    await recognizer.close()

    assert seen == {"load": niceness() + STEP, "decode": niceness() + STEP}
