"""One media file to records of 16 kHz, 16-bit sound. Runs in a decoder process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from serve_app.errors import AudioTooShort, InvalidAudio
from serve_app.pipeline import records
from serve_app.pipeline.downmix import Downmix, FloatBlock, clipped, to_int16
from serve_app.pipeline.records import DecodingRequest, EndOfSound, Kind, StartOfSound
from serve_app.pipeline.soundtrack import Soundtrack, too_long
from serve_app.pipeline.truncation import is_cut_off
from serve_app.transcript.types import Samples

MIN_AUDIO_S = 0.1
MAX_SEPARATE_CHANNELS = 16
BLOCKS_PER_RECORD = 8  # 2 s of mono: as much as a pipe holds

# A header may round, or count the codec's padding; what is missing beyond that was cut off.
MISSING_S = 0.25
MISSING_SHARE = 0.02
GUESSES_DURATION = {"aac", "ac3", "dts", "eac3", "gsm", "loas", "mp3", "amr", "mpeg", "mpegts", "flv"}


def transcode(media: int, decoders: str, request: DecodingRequest, pipe: BinaryIO) -> None:
    """
    Decode the first audio track of an open file.

    Raises:
        InvalidAudio: Not audio, or nothing of it can be decoded.
        AudioTooShort: Less than 0.1 s of it.
        AudioTooLong: More than the request allows; raised before the first sound if the file's header admits it.
    """
    track = _open(media, decoders, request.max_audio_s)
    _write_sound(track, request, pipe)
    if track.frames == 0:
        raise InvalidAudio("No sound can be decoded from the file.")
    if track.decoded_s < MIN_AUDIO_S:
        raise AudioTooShort(f"The audio lasts {track.decoded_s:.3f} s; the least is {MIN_AUDIO_S} s.", param="file")
    records.write(pipe, Kind.END, EndOfSound(track.decoded_s, _damage(track, media)).encode())


def _open(media: int, decoders: str, max_audio_s: float) -> Soundtrack:
    track = Soundtrack(media, decoders)
    if track.declared_s is None or track.declared_s <= max_audio_s:
        return track
    track.check_length(max_audio_s)  # headers lie: the packets say if it is true
    track.close()
    return Soundtrack(media, decoders)


def _limited(track: Soundtrack, max_audio_s: float) -> Iterator[FloatBlock]:
    for block in track.blocks():
        if track.decoded_s > max_audio_s:
            raise too_long(max_audio_s, track.declared_s)
        yield block


def _write_sound(track: Soundtrack, request: DecodingRequest, pipe: BinaryIO) -> None:
    convert: Callable[[FloatBlock], Samples] | None = None
    waiting: list[Samples] = []
    for block in _limited(track, request.max_audio_s):
        if convert is None:
            convert = _Separate(len(block)) if request.separate_channels else Downmix().mix
            start = StartOfSound(len(block) if request.separate_channels else 1, track.declared_s)
            records.write(pipe, Kind.START, start.encode())
        waiting.append(convert(block))
        if len(waiting) == BLOCKS_PER_RECORD:
            records.write(pipe, Kind.SOUND, np.concatenate(waiting).tobytes())
            waiting = []
    if waiting:
        records.write(pipe, Kind.SOUND, np.concatenate(waiting).tobytes())


class _Separate:
    """Keeps the number of channels that the file began with."""

    def __init__(self, channels: int) -> None:
        if channels > MAX_SEPARATE_CHANNELS:
            raise InvalidAudio(f"The audio has {channels} channels; at most {MAX_SEPARATE_CHANNELS} can be kept apart.")
        self._channels = channels

    def __call__(self, block: FloatBlock) -> Samples:
        """Shape (channels, n) to (n, channels)."""
        kept = clipped(block[: self._channels])
        kept = np.pad(kept, ((0, self._channels - len(kept)), (0, 0)))
        return to_int16(kept.T)


def _damage(track: Soundtrack, media: int) -> str:
    if track.bad_packets:
        return f"The file is damaged: {track.bad_packets} of its packets could not be decoded and were left out."
    if is_cut_off(media, track.format_name, track.packets):
        return f"The file ends early: it holds {track.decoded_s:.1f} s of an incomplete recording."
    if track.declared_s is None or track.format_name.split(",")[0] in GUESSES_DURATION:
        return ""
    missing_s = track.declared_s - track.decoded_s
    if missing_s <= max(MISSING_S, MISSING_SHARE * track.declared_s):
        return ""
    return f"The file ends early: its header says {track.declared_s:.1f} s, and it holds {track.decoded_s:.1f} s."
