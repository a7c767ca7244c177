"""The encoder's input: a window that fits the chunk, and features that do not depend on it."""

from __future__ import annotations

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from hypothesis import given
from hypothesis import strategies as st

from serve_app.engine.features import FRAMES_PER_S, FULL_WINDOW, LADDER, MARGIN_S, extract, stack, window_for

EXTRACTOR = FeatureExtractor()


def noise(seconds: float, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.random.default_rng(seed).integers(-9000, 9000, int(seconds * 16_000), dtype=np.int16)


@given(st.floats(0, 30))
def test_a_window_holds_the_chunk_and_its_margin(duration_s: float) -> None:
    window = window_for(duration_s)

    assert window in LADDER
    assert window == FULL_WINDOW or window >= round((duration_s + MARGIN_S) * FRAMES_PER_S)


@given(st.floats(0, 30), st.floats(0, 30))
def test_a_longer_chunk_never_gets_a_shorter_window(one: float, other: float) -> None:
    assert window_for(min(one, other)) <= window_for(max(one, other))


def test_features_have_a_frame_for_each_10_ms() -> None:
    assert extract(EXTRACTOR, noise(1.234)).shape == (80, 124)


def test_features_agree_with_those_of_faster_whisper() -> None:
    samples = noise(2.0)

    expected = EXTRACTOR(samples.astype(np.float32) / 32768)[:, :200]

    np.testing.assert_allclose(extract(EXTRACTOR, samples), expected, atol=1e-5)


def test_a_chunk_of_more_than_30_s_is_refused_instead_of_cut() -> None:
    with pytest.raises(ValueError, match=r"30\.01 s is longer"):
        extract(EXTRACTOR, noise(30.01))


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.01, 0.1])
def test_a_tiny_chunk_has_features(seconds: float) -> None:
    assert np.isfinite(extract(EXTRACTOR, noise(seconds))).all()


def test_company_does_not_change_the_features_of_a_chunk() -> None:
    quiet, loud = extract(EXTRACTOR, noise(1) // 100), extract(EXTRACTOR, noise(2))

    together = stack([quiet, loud], 500)

    assert together.shape == (2, 80, 500)
    np.testing.assert_array_equal(together[0], stack([quiet], 500)[0])
    np.testing.assert_array_equal(together[1, :, 200:], 0)
