import numpy as np
import pytest

from serve_app.pipeline.downmix import Downmix, FloatBlock

VOICE = np.sin(np.arange(4096) / 7).astype(np.float32) / 2


def channels(*rows: FloatBlock) -> FloatBlock:
    return np.stack(rows).astype(np.float32)


def test_one_channel_stays_as_it_is() -> None:
    assert Downmix().mix(channels(VOICE)) == pytest.approx(np.rint(VOICE * 32767))


def test_equal_channels_give_their_mean() -> None:
    assert Downmix().mix(channels(VOICE, VOICE)) == pytest.approx(np.rint(VOICE * 32767))


def test_an_antiphase_pair_does_not_vanish() -> None:
    assert np.abs(Downmix().mix(channels(VOICE, -VOICE))).max() > 16000


def test_a_voice_on_one_of_two_sides_is_halved_and_not_chosen() -> None:
    assert np.abs(Downmix().mix(channels(VOICE, VOICE * 0))).max() == pytest.approx(8191, abs=2)


def test_a_voice_on_one_of_six_channels_is_chosen() -> None:
    assert np.abs(Downmix().mix(channels(VOICE, *[VOICE * 0] * 5))).max() > 16000


def test_the_choice_outlasts_silence_and_doubtful_blocks() -> None:
    downmix = Downmix()
    downmix.mix(channels(VOICE, -VOICE))
    downmix.mix(channels(VOICE * 0, VOICE * 0))
    doubtful = downmix.mix(channels(VOICE, -0.2 * VOICE))  # the mean keeps 16 % of the energy

    assert np.abs(doubtful).max() > 16000


def test_the_mean_returns_when_it_survives() -> None:
    downmix = Downmix()
    downmix.mix(channels(VOICE, -VOICE))

    assert np.abs(downmix.mix(channels(VOICE, VOICE * 0))).max() == pytest.approx(8191, abs=2)


@pytest.mark.parametrize("absurd", [1e38, np.inf, -np.inf, np.nan])
def test_absurd_samples_are_clipped(absurd: float) -> None:
    mixed = Downmix().mix(channels(np.full(16, absurd), np.full(16, absurd)))

    assert np.abs(mixed.astype(int)).max() <= 32767
