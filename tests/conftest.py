"""What all layers share: where the test recordings are."""

from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"
SHARED_AUDIO = Path(__file__).resolve().parents[2] / "shared" / "audio"


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """The large folder of recordings beside the checkout; tests that need it skip where it is absent."""
    if not SHARED_AUDIO.is_dir():
        pytest.skip("../shared/audio is absent")
    return SHARED_AUDIO
