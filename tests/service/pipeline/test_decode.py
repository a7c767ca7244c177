from pathlib import Path

import numpy as np
import pytest

from serve_app.errors import AudioTooLong, AudioTooShort, InvalidAudio, MediaError
from serve_app.pipeline.decode import DecoderPool
from serve_app.transcript.types import SAMPLE_RATE_HZ, Channels
from tests.data.hostile import generate
from tests.recordings import DATA
from tests.service.pipeline.decoding import HOSTILE, decode, inline, stored

REFUSED = {
    "channels_0.wav": InvalidAudio,
    "channels_65535.wav": InvalidAudio,
    "dash.mp4": InvalidAudio,
    "empty.wav": InvalidAudio,
    "error_page.mp3": InvalidAudio,
    "ffconcat.wav": InvalidAudio,
    "header_only.wav": InvalidAudio,
    "one_byte.wav": InvalidAudio,
    "playlist.mp3": InvalidAudio,
    "random.wav": InvalidAudio,
    "rate_0.wav": InvalidAudio,
    "riff_only.wav": InvalidAudio,
    "session.wav": InvalidAudio,
    "too_short.wav": AudioTooShort,
    "bomb_10min_silence.flac": AudioTooLong,
}
DAMAGED = {"bitflips.mp3", "truncated.flac", "truncated.webm"}
WHOLE = {"antiphase.flac", "huge_float.wav", "streaming_size.wav"}


def test_each_hostile_file_has_an_expectation() -> None:
    assert {path.name for path in HOSTILE.glob("*.*") if path.suffix != ".py"} == set(REFUSED) | DAMAGED | WHOLE


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_not_audio_is_refused_with_a_sentence(decoders: DecoderPool, name: str) -> None:
    with pytest.raises(MediaError) as refused:
        await decode(decoders, stored(HOSTILE / name))

    assert type(refused.value) is REFUSED[name]
    assert refused.value.message.endswith(".")


async def test_empty_file_is_called_empty(decoders: DecoderPool) -> None:
    with pytest.raises(InvalidAudio, match=r"^The file is empty\. If a program reads it twice"):
        await decode(decoders, inline(b""))


async def test_samples_without_a_header_are_told_how_to_get_one(decoders: DecoderPool) -> None:
    samples = (np.arange(SAMPLE_RATE_HZ) * 7919 % 4001).astype(np.int16)
    with pytest.raises(InvalidAudio, match=r"wrap them into WAV, as `ffmpeg -f s16le .* does"):
        await decode(decoders, inline(samples.tobytes()))


@pytest.mark.parametrize("name", sorted(DAMAGED))
async def test_damaged_files_give_what_they_hold_and_say_so(decoders: DecoderPool, name: str) -> None:
    decoded = await decode(decoders, stored(HOSTILE / name))

    assert len(decoded.samples) > SAMPLE_RATE_HZ / 2
    assert decoded.end.damage.endswith(".")


@pytest.mark.parametrize("name", sorted(WHOLE))
async def test_odd_files_that_are_whole_are_read_without_complaint(decoders: DecoderPool, name: str) -> None:
    decoded = await decode(decoders, stored(HOSTILE / name))

    assert decoded.end.damage == ""
    assert decoded.end.duration_s == pytest.approx(len(decoded.samples) / SAMPLE_RATE_HZ)


async def test_a_recording_keeps_its_length_at_16_khz(decoders: DecoderPool) -> None:
    decoded = await decode(decoders, stored(DATA / "jfk.flac"))

    assert decoded.samples.shape == (176_000, 1)
    assert decoded.end.duration_s == 11.0
    assert decoded.start.declared_s == pytest.approx(11.0)


async def test_a_file_and_the_same_bytes_inline_give_the_same_sound(decoders: DecoderPool) -> None:
    path = DATA / "LJ001-0002.wav"
    from_file, from_bytes = await decode(decoders, stored(path)), await decode(decoders, inline(path.read_bytes()))

    assert np.array_equal(from_file.samples, from_bytes.samples)


async def test_an_antiphase_pair_is_heard(decoders: DecoderPool) -> None:
    decoded = await decode(decoders, stored(HOSTILE / "antiphase.flac"))

    assert np.abs(decoded.samples).max() > 5000


async def test_channels_can_be_kept_apart(decoders: DecoderPool) -> None:
    decoded = await decode(decoders, stored(HOSTILE / "antiphase.flac"), Channels.SEPARATE)
    left, right = decoded.samples.T.astype(int)

    assert np.abs(left).max() > 5000
    assert np.abs(left + right).max() <= 1


async def test_more_channels_than_can_be_kept_apart_are_refused(decoders: DecoderPool) -> None:
    many = generate.wav(bytes(17 * 2 * 4000), channels=17)

    with pytest.raises(InvalidAudio, match="17 channels"):
        await decode(decoders, inline(many), Channels.SEPARATE)


async def test_the_message_about_long_audio_names_limit_and_size(decoders: DecoderPool) -> None:
    with pytest.raises(
        AudioTooLong, match=r"of 600 s .* the limit of 60 s: send it in pieces;.* raise limits\.max_audio_s"
    ):
        await decode(decoders, stored(HOSTILE / "bomb_10min_silence.flac"))


async def test_long_audio_that_does_not_admit_it_is_stopped_at_the_limit(decoders: DecoderPool) -> None:
    bomb = bytearray((HOSTILE / "bomb_10min_silence.flac").read_bytes())
    bomb[21] &= 0xF0  # STREAMINFO: 36 bits of total samples, 0 for unknown
    bomb[22:26] = bytes(4)

    with pytest.raises(AudioTooLong):
        await decode(decoders, inline(bytes(bomb)))


async def test_a_wav_that_was_cut_off_is_told_from_one_that_was_streamed(decoders: DecoderPool) -> None:
    whole = (DATA / "LJ001-0002.wav").read_bytes()
    cut = await decode(decoders, inline(whole[: len(whole) // 2]))

    assert "ends early" in cut.end.damage


@pytest.mark.parametrize("folder", ["hostile", "formats_derived", "containers"])
async def test_no_file_of_the_shared_set_does_worse_than_be_refused(
    folder: str, decoders: DecoderPool, shared_audio: Path
) -> None:
    outcomes = {}
    for path in sorted((shared_audio / folder).iterdir()):
        try:
            outcomes[path.name] = (await decode(decoders, stored(path))).end.damage
        except MediaError as error:
            outcomes[path.name] = type(error).__name__

    refused = {name for name, outcome in outcomes.items() if outcome == "InvalidAudio"}
    if folder != "hostile":  # raw samples without a header cannot be known by their content
        assert refused == {name for name in outcomes if name.endswith((".g722", ".pcm"))}
    else:
        assert {name for name, outcome in outcomes.items() if outcome == "AudioTooLong"} == {
            "gen_bomb_10h_silence_8k.flac",
            "gen_bomb_2h_silence_opus.ogg",
            "tinytag_flac453sStereo.flac",
        }
        assert {name for name in outcomes if "truncated_" in name and name.startswith("gen_")} <= refused | {
            name for name, outcome in outcomes.items() if outcome.startswith("The file")
        }
