from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.pipeline.chunks import FULL_CHUNK_S, Chunker
from serve_app.pipeline.speech import WINDOW, WINDOW_S
from serve_app.transcript.types import MAX_CHUNK_S, SAMPLE_RATE_HZ, Chunk, Samples, Span, SpeechOptions

OPTIONS = SpeechOptions()

lengths = st.lists(st.tuples(st.booleans(), st.integers(1, 1000)), max_size=6)  # (speech?, windows)
options = st.builds(
    SpeechOptions,
    vad_filter=st.booleans(),
    threshold=st.floats(0, 1),
    min_silence_s=st.integers(0, 10_000).map(lambda ms: ms / 1000),
    padding_s=st.integers(0, 2000).map(lambda ms: ms / 1000),
)
probabilities = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.4, 0.6, 1.0]), st.integers(1, 900)), max_size=8)


def pack(speech: Sequence[float], options: SpeechOptions = OPTIONS, block: int = 64, rest: int = 0) -> list[Chunk]:
    """Chunks of a sound whose windows are speech or not, and that ends with part of a window."""
    chunker = Chunker(options)
    sound = sound_of(len(speech) * WINDOW - rest)
    probabilities = np.array(speech, dtype=np.float32)
    chunks: list[Chunk] = []
    for start in range(0, len(speech), block):
        chunks += chunker.feed(sound[start * WINDOW : (start + block) * WINDOW], probabilities[start : start + block])
    return chunks + chunker.finish()


def contents(chunks: list[Chunk]) -> list[tuple[float, tuple[Span, ...], bytes]]:
    return [(chunk.start, chunk.spans, chunk.samples.tobytes()) for chunk in chunks]


def sound_of(samples: int) -> Samples:
    return (np.arange(samples) * 7919 % 4001).astype(np.int16)


def windows(parts: list[tuple[bool, int]]) -> list[bool]:
    return [is_speech for is_speech, count in parts for _ in range(count)]


def seconds(speech_s: float) -> int:
    return round(speech_s / WINDOW_S)


@given(lengths, options, st.integers(20, 400), st.integers(0, WINDOW - 1))
def test_chunks_hold_all_speech_once_in_order_and_never_too_much(
    parts: list[tuple[bool, int]], options: SpeechOptions, block: int, rest: int
) -> None:
    speech = windows(parts)
    chunks = pack(speech, options, block, rest if speech else 0)

    total_s = (len(speech) * WINDOW - rest) / SAMPLE_RATE_HZ
    sound = sound_of(len(speech) * WINDOW)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        start = round(chunk.start * SAMPLE_RATE_HZ)
        assert chunk.duration_s <= MAX_CHUNK_S
        assert np.array_equal(chunk.samples, sound[start : start + len(chunk.samples)])
        assert chunk.start <= chunk.spans[0].start
        assert chunk.spans[-1].end <= chunk.end + 1e-9
    for before, after in pairwise(chunks):
        assert before.end <= after.start + 1e-9
    times = (np.arange(len(speech)) + 0.5) * WINDOW_S
    spans = [span for chunk in chunks for span in chunk.spans]
    covered = sum((((span.start <= times) & (times < span.end)).astype(int) for span in spans), np.zeros(len(speech)))
    wanted = np.array(speech, dtype=bool) | (not options.vad_filter)
    assert np.all(covered <= 1)
    assert np.all(covered[wanted & (times < total_s)] == 1)


@given(probabilities, options, st.integers(20, 400))
def test_chunks_do_not_depend_on_the_size_of_the_blocks(
    parts: list[tuple[float, int]], options: SpeechOptions, block: int
) -> None:
    heard = [probability for probability, count in parts for _ in range(count)]

    assert contents(pack(heard, options, 10**9)) == contents(pack(heard, options, block))


@pytest.mark.parametrize("block", range(58, 72))
def test_speech_that_rises_where_a_block_ends_loses_nothing(block: int) -> None:
    heard = [0.0] * 60 + [0.2] * 8 + [0.9] * 100

    assert contents(pack(heard, block=block)) == contents(pack(heard, block=10**9))


@given(probabilities, options, st.integers(20, 400), st.integers(0, WINDOW - 1))
def test_no_chunk_is_too_long_whatever_is_asked_for(
    parts: list[tuple[float, int]], options: SpeechOptions, block: int, rest: int
) -> None:
    heard = [probability for probability, count in parts for _ in range(count)]

    assert all(chunk.duration_s <= MAX_CHUNK_S for chunk in pack(heard, options, block, rest if heard else 0))


@pytest.mark.parametrize("padding_s", [0.0, 2.0])
def test_speech_that_goes_on_after_a_long_pause_does_not_make_a_chunk_too_long(padding_s: float) -> None:
    speech = windows([(True, seconds(21)), (False, seconds(9.5)), (True, seconds(10))])
    chunker = Chunker(SpeechOptions(min_silence_s=10.0, padding_s=padding_s))
    sound = np.full(len(speech) * WINDOW, 5000, dtype=np.int16)
    sound[30 * SAMPLE_RATE_HZ : 30 * SAMPLE_RATE_HZ + 8000] = 0  # the best place to cut, if it were not so late
    chunks = chunker.feed(sound, np.array(speech, dtype=np.float32)) + chunker.finish()

    assert all(chunk.duration_s <= MAX_CHUNK_S for chunk in chunks)


def test_a_chunk_that_is_full_with_the_last_part_of_a_window_is_cut() -> None:
    assert len(pack([True] * int(FULL_CHUNK_S / WINDOW_S), rest=WINDOW // 2)) == 2


def test_no_more_sound_is_held_than_a_chunk_and_a_block() -> None:
    chunker, held = Chunker(OPTIONS), 0
    chance = np.random.default_rng(0)
    for _ in range(2000):
        chunker.feed(np.zeros(WINDOW * 8, dtype=np.int16), np.repeat(chance.random() < 0.9, 8).astype(np.float32))
        held = max(held, len(chunker._sound))

    assert held <= (MAX_CHUNK_S + 1) * SAMPLE_RATE_HZ


def test_a_chunk_is_given_as_soon_as_a_long_silence_ends_it() -> None:
    chunker = Chunker(OPTIONS)
    speech = np.ones(seconds(3), dtype=np.float32)
    silence = np.zeros(seconds(4), dtype=np.float32)

    assert chunker.feed(sound_of(len(speech) * WINDOW), speech) == []
    assert len(chunker.feed(sound_of(len(silence) * WINDOW), silence)) == 1


def test_a_chunk_has_double_padding_at_the_edge_of_silence_and_at_most_half_of_a_pause() -> None:
    pause = seconds(0.3)
    speech = windows([(False, 100), (True, seconds(20)), (False, pause), (True, seconds(20)), (False, 100)])
    first, second = pack(speech, SpeechOptions(padding_s=0.2))

    assert first.spans[0].start - first.start == pytest.approx(0.4)
    assert first.end == pytest.approx(first.spans[-1].end + pause * WINDOW_S / 2)
    assert second.start == pytest.approx(first.end)
    assert second.end - second.spans[-1].end == pytest.approx(0.4)


def test_a_full_chunk_ends_in_the_longest_late_pause() -> None:
    speech = windows([(True, seconds(18)), (False, 30), (True, seconds(8)), (False, 10), (True, seconds(8))])
    first, second = pack(speech)

    assert len(first.spans) == 1
    assert len(second.spans) == 2


def test_speech_without_a_pause_is_cut_where_it_is_quiet() -> None:
    chunker = Chunker(OPTIONS)
    count = seconds(40)
    sound = np.full(count * WINDOW, 5000, dtype=np.int16)
    sound[21 * SAMPLE_RATE_HZ : 21 * SAMPLE_RATE_HZ + 4800] = 10
    chunks = chunker.feed(sound, np.ones(count, dtype=np.float32)) + chunker.finish()

    assert [chunk.spans for chunk in chunks] == [
        (Span(0, pytest.approx(21.15, abs=0.1)),),
        (Span(pytest.approx(21.15, abs=0.1), count * WINDOW_S),),
    ]
