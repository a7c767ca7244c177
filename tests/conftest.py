"""What all layers share."""

import gc
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.recordings import SHARED_AUDIO

# `make test` tries a few examples of each property, `make test-slow` many.
settings.register_profile("quick", max_examples=10, deadline=None)
settings.register_profile("thorough", max_examples=200, deadline=None)
settings.load_profile("quick")

# A shell that runs the tests in its background has them ignore Ctrl-C, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


# What is imported and collected stays until the end. It is no use to look for garbage meanwhile, nor among that later: a
# fifth of the time of the quick layers went into it.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """The large folder of recordings; tests that need it skip where it is absent."""
    if not SHARED_AUDIO.is_dir():
        pytest.skip("../shared/audio is absent")
    return SHARED_AUDIO
