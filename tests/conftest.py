"""What all layers share."""

from pathlib import Path

import pytest

from tests.recordings import SHARED_AUDIO


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """The large folder of recordings; tests that need it skip where it is absent."""
    if not SHARED_AUDIO.is_dir():
        pytest.skip("../shared/audio is absent")
    return SHARED_AUDIO
