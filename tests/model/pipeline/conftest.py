"""The whole path, with the real tiny.en."""

from collections.abc import AsyncIterator

import pytest

from serve_app.engine.recognizer import BatchingRecognizer
from serve_app.pipeline.decode import DecoderPool
from serve_app.pipeline.run import Pipeline
from serve_app.settings import Settings


@pytest.fixture(scope="session")
async def pipeline(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pipeline]:
    recognizer = BatchingRecognizer.from_settings(Settings(data_dir=str(tmp_path_factory.mktemp("data"))))
    decoders = DecoderPool()
    yield Pipeline(recognizer, decoders)
    await decoders.close()
    await recognizer.close()
