import os
import subprocess
import sys

import numpy as np
import pytest
from faster_whisper.vad import get_vad_model

from serve_app.pipeline.decode import DecoderPool
from serve_app.pipeline.speech import WINDOW, SpeechDetector
from tests.recordings import DATA
from tests.service.pipeline.decoding import decode, stored


async def test_speech_is_told_from_silence_and_noise(decoders: DecoderPool) -> None:
    speech = (await decode(decoders, stored(DATA / "LJ001-0004.wav"))).samples[:, 0]
    noise = np.random.default_rng(0).normal(0, 300, 40_000).astype(np.int16)

    assert np.median(SpeechDetector().feed(speech)) > 0.9
    assert np.median(SpeechDetector().feed(noise)) < 0.1
    assert np.max(SpeechDetector().feed(np.zeros(40_000, dtype=np.int16))) < 0.1


async def test_probabilities_are_those_of_the_network_as_it_is_published(decoders: DecoderPool) -> None:
    speech = (await decode(decoders, stored(DATA / "LJ001-0004.wav"))).samples[:, 0]
    loud = np.random.default_rng(0).normal(0, 9000, 20_000).astype(np.int16)
    whole = np.concatenate([speech, loud, speech])
    samples = whole[: len(whole) // WINDOW * WINDOW]
    samples[-WINDOW:] = 0  # faster-whisper overwrites the end of the last window

    published = get_vad_model()(samples.astype(np.float32) / 32768)

    assert SpeechDetector().feed(samples) == pytest.approx(published.reshape(-1), abs=1e-4)


@pytest.mark.parametrize("block", [100, 512, 4000, 32768])
async def test_probabilities_do_not_depend_on_the_size_of_the_blocks(decoders: DecoderPool, block: int) -> None:
    speech = (await decode(decoders, stored(DATA / "LJ001-0002.wav"))).samples[:, 0]
    at_once, detector = SpeechDetector(), SpeechDetector()
    whole = np.concatenate([at_once.feed(speech), at_once.finish()])
    blocks = [detector.feed(speech[start : start + block]) for start in range(0, len(speech), block)]

    assert len(whole) == -(-len(speech) // WINDOW)
    assert np.concatenate([*blocks, detector.finish()]) == pytest.approx(whole, abs=1e-4)


@pytest.mark.server
def test_library_that_finds_speech_is_told_not_to_report_before_it_is_imported() -> None:
    code = (
        "import os, sys, serve_app.pipeline; print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    )
    env = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout

    assert said.split() == ["1", "False"]
