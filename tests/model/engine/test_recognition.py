"""The engine with the real tiny.en, held against faster-whisper itself."""

from __future__ import annotations

import asyncio
import math
import re
import time
from difflib import SequenceMatcher
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import pytest
from faster_whisper import WhisperModel

from serve_app.engine.recognizer import BatchingRecognizer
from serve_app.errors import ModelLoadFailed
from serve_app.models.sources import find_model
from serve_app.settings import TINY_EN, Device, RecognizerSettings, Settings
from serve_app.transcript.types import SAMPLE_RATE_HZ, ChunkRequest, DecodingOptions, RecognizedChunk, Samples, Word

pytestmark = pytest.mark.model

FIRST_ONLY = (0.0,)


async def recognize(recognizer: BatchingRecognizer, samples: Samples, **options: Any) -> RecognizedChunk:
    decoding = DecodingOptions("tiny.en", temperatures=FIRST_ONLY, **options)
    return await recognizer.recognize(ChunkRequest(samples, decoding))


def plain(text: str) -> str:
    return re.sub(r"[^a-z']", "", text.lower())


def chunks_of_many_lengths(recordings: dict[str, Samples]) -> list[Samples]:
    whole = list(recordings.values())
    joined = [np.concatenate([one, other]) for one, other in pairwise(whole)]
    cut = [samples[: int(len(samples) * share)] for samples in whole for share in (0.3, 0.6)]
    return [*whole, *joined, *cut]


async def test_a_recording_becomes_its_text(recognizer: BatchingRecognizer, recordings: dict[str, Samples]) -> None:
    heard = await recognize(recognizer, recordings["jfk.flac"])

    assert "ask not what your country can do for you" in heard.text.lower()
    assert (heard.language, heard.attempts, heard.warnings) == ("en", 1, ())


async def test_a_chunk_has_the_same_text_alone_and_in_company(
    recognizer: BatchingRecognizer, recordings: dict[str, Samples]
) -> None:
    chunks = chunks_of_many_lengths(recordings)

    together = await asyncio.gather(*(recognize(recognizer, chunk) for chunk in chunks))
    alone = [await recognize(recognizer, chunk) for chunk in chunks]

    assert len(chunks) >= 12
    assert [h.text for h in together] == [h.text for h in alone]


async def test_silence_is_no_words(recognizer: BatchingRecognizer) -> None:
    quiet = np.random.default_rng(0).integers(-3, 3, 10 * SAMPLE_RATE_HZ, dtype=np.int16)

    for samples in (np.zeros(10 * SAMPLE_RATE_HZ, np.int16), quiet, np.zeros(0, np.int16)):
        assert (await recognize(recognizer, samples)).text == ""


@pytest.mark.parametrize("samples", [0, 1, 100, 500, 1600])
async def test_a_chunk_of_next_to_nothing_is_no_error(recognizer: BatchingRecognizer, samples: int) -> None:
    crackle = np.random.default_rng(0).integers(-20_000, 20_000, samples, dtype=np.int16)

    heard = await recognize(recognizer, crackle, word_times=True)

    assert (heard.text, heard.words) == ("", ())


async def test_logprobs_are_those_of_the_text_and_agree_with_its_score(
    recognizer: BatchingRecognizer, recordings: dict[str, Samples]
) -> None:
    heard = await recognize(recognizer, recordings["jfk.flac"], logprobs=True)

    assert b"".join(bytes(t.bytes) for t in heard.logprobs).decode() == heard.text
    # The score counts the end token too, and leaves out the tokens that are suppressed.
    mean = sum(t.logprob for t in heard.logprobs) / (len(heard.logprobs) + 1)
    assert mean == pytest.approx(heard.avg_logprob, abs=0.03)
    assert heard.words == ()


async def test_words_rise_inside_the_chunk_and_spell_its_text(
    recognizer: BatchingRecognizer, recordings: dict[str, Samples]
) -> None:
    for samples in recordings.values():
        heard = await recognize(recognizer, samples, word_times=True)

        assert "".join(word.text for word in heard.words) == heard.text
        assert tuple(token for word in heard.words for token in word.tokens) == heard.tokens
        assert all(0 <= word.start <= word.end <= len(samples) / SAMPLE_RATE_HZ for word in heard.words)
        assert all(before.end <= after.start for before, after in pairwise(heard.words))
        assert all(0 < word.probability <= 1 for word in heard.words)


async def test_word_times_agree_with_faster_whisper_in_its_full_window(
    recognizer: BatchingRecognizer, recordings: dict[str, Samples], tmp_path: Any
) -> None:
    files = find_model(TINY_EN, models_dir=tmp_path, offline=True)
    reference = WhisperModel(str(files.directory), device="cpu", compute_type="int8")
    differences: list[float] = []
    for samples in recordings.values():
        segments, _ = reference.transcribe(samples.astype(np.float32) / 32768, word_timestamps=True, language="en")
        expected = [Word(w.start, w.end, w.word, w.probability) for s in segments for w in s.words or []]
        heard = await recognize(recognizer, samples, word_times=True)
        differences += matched_differences_s(expected, heard.words)

    assert len(differences) > 100  # two for each word that both heard
    assert median(differences) <= 0.08
    assert not math.isnan(max(differences))


def matched_differences_s(expected: list[Word], heard: tuple[Word, ...]) -> list[float]:
    matcher = SequenceMatcher(None, [plain(w.text) for w in expected], [plain(w.text) for w in heard], autojunk=False)
    pairs = [
        (expected[block.a + n], heard[block.b + n])
        for block in matcher.get_matching_blocks()
        for n in range(block.size)
    ]
    return [abs(t) for one, other in pairs for t in (one.start - other.start, one.end - other.end)]


async def test_a_prompt_and_hotwords_change_the_spelling_and_not_the_answer(
    recognizer: BatchingRecognizer, recordings: dict[str, Samples]
) -> None:
    heard = await recognize(recognizer, recordings["jfk.flac"], prompt="A speech.", hotwords="Kennedy")

    assert "ask not what your country can do for you" in heard.text.lower()


async def test_the_event_loop_stays_prompt_while_a_batch_runs(
    recognizer: BatchingRecognizer, recordings: dict[str, Samples]
) -> None:
    work = asyncio.gather(*(recognize(recognizer, c) for c in chunks_of_many_lengths(recordings)))
    turns, longest_s = 0, 0.0
    while not work.done():
        before_s = time.thread_time()  # however long a busy machine lets this thread wait
        await asyncio.sleep(0)
        longest_s = max(longest_s, time.thread_time() - before_s)
        turns += 1
    await work

    assert turns > 2000  # there are some hundred things to do, all else is waiting
    assert longest_s < 0.25  # a batch takes longer than that


async def test_a_cancelled_chunk_leaves_the_queue(
    recognizer: BatchingRecognizer, recordings: dict[str, Samples]
) -> None:
    tasks = [asyncio.create_task(recognize(recognizer, c)) for c in chunks_of_many_lengths(recordings) * 2]
    await asyncio.sleep(0)
    for task in tasks[1:]:
        task.cancel()

    heard = await tasks[0]

    assert heard.text
    assert (await recognize(recognizer, recordings["LJ001-0002.wav"])).text.strip() == "in being comparatively modern."


async def test_a_machine_without_cuda_says_so_before_it_downloads_anything() -> None:
    settings = Settings(recognizer=RecognizerSettings(device=Device.CUDA))
    wanting = BatchingRecognizer.from_settings(settings)

    with pytest.raises(ModelLoadFailed, match="CTranslate2 sees no CUDA device"):
        await wanting.preload(["tiny.en"])
    await wanting.close()
