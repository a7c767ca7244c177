from collections.abc import AsyncIterator

import pytest

from serve_app.pipeline.decode import DecoderPool


@pytest.fixture(scope="session")
async def decoders() -> AsyncIterator[DecoderPool]:
    """Real processes, for audio of up to a minute."""
    pool = DecoderPool(max_audio_s=60.0)
    yield pool
    await pool.close()
