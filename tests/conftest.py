"""What all layers share."""

import gc
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.recordings import SHARED_AUDIO

# `make test` tries a few examples of each property, `make test-slow` many.
settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=200, deadline=None)
settings.load_profile("quick")

# A shell that runs the tests in its background has them ignore Ctrl-C, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Modules and tests stay until the end: without this, every full collection walks a million objects of theirs."""
    gc.freeze()


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """The large folder of recordings; tests that need it skip where it is absent."""
    if not SHARED_AUDIO.is_dir():
        pytest.skip("../shared/audio is absent")
    return SHARED_AUDIO
