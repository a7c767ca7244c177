"""
The first audio track of a media file as 16 kHz float blocks: all that is known of PyAV is here.

FFmpeg sees the bytes and nothing else: no file name, no protocol, no demuxer that follows references, no video decoder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NoReturn

import av
import av.error
import av.logging
import numpy as np

from serve_app.errors import AudioTooLong, InvalidAudio
from serve_app.pipeline.downmix import FloatBlock
from serve_app.transcript.types import SAMPLE_RATE_HZ

# Demuxers that read one file and know it by its content. Playlists (hls, dash), scripts (concat, sdp) and devices are
# not among them: they would open other files or the network.
FORMATS = (
    "3gp aac ac3 adts aiff amr amrnb amrwb ape asf au avi caf dsf dts eac3 flac flv gsm loas matroska mov mp3 mp4 mpc"
    " mpc8 mpeg mpegts nistsphere ogg oma qcp qoa rm shn sox tak truehd tta voc w64 wav webm wv xwma"
)
BLOCK_FRAMES = 4096  # at 16 kHz; the resampler gathers the codec's small frames into these
MAX_CHANNELS = 64
MAX_ERRORS_IN_A_ROW = 200  # a damaged file is read on; one that never recovers is not

EMPTY = "The file is empty. If a program reads it twice, it must open it again, or go back to its beginning."
NOT_AUDIO = (
    "This is not an audio or video file, or it is too damaged to be read."
    " Raw samples (PCM, mu-law, G.722) need a header: wrap them into WAV,"
    " as `ffmpeg -f s16le -ar 16000 -ac 1 -i in.raw out.wav` does."
)
REFUSED = (
    "This kind of file is not accepted: send audio or video. Playlists and scripts that name other files never are."
)


def audio_decoders() -> str:
    """FFmpeg's list of all audio decoders, so that probing a video file runs no video decoder."""
    codecs = (av.Codec(name, "r") for name in sorted(av.codecs_available) if _decodes(name))
    return ",".join(codec.name for codec in codecs if codec.type == "audio")


def _decodes(name: str) -> bool:
    try:
        return bool(av.Codec(name, "r").is_decoder)
    except av.error.FFmpegError:
        return False
    except ValueError:  # an encoder only
        return False


class FileBytes:
    """An open file for FFmpeg, without its name, by which it would guess the format."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, size: int) -> bytes:
        return os.read(self._fd, size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._fd, offset, whence)

    def tell(self) -> int:
        return os.lseek(self._fd, 0, os.SEEK_CUR)


class Soundtrack:
    """
    Reads a file once, from its start.

    Raises:
        InvalidAudio: Not media, of a refused format, or without an audio track that can be decoded.
    """

    def __init__(self, fd: int, decoders: str) -> None:
        if os.lseek(fd, 0, os.SEEK_END) == 0:
            raise InvalidAudio(EMPTY)
        os.lseek(fd, 0, os.SEEK_SET)
        self._container = _open(FileBytes(fd), decoders)
        self._stream = self._find_stream()
        self._format: tuple[Any, ...] = ()
        self._resampler: Any = None
        self.frames = 0  # at 16 kHz, so far
        self.packets = 0
        self.bad_packets = 0

    @property
    def format_name(self) -> str:
        return str(self._container.format.name)

    @property
    def declared_s(self) -> float | None:
        """What the header says; many headers lie, and some formats only guess."""
        duration = self._container.duration
        return None if duration is None else float(duration / av.time_base)

    @property
    def decoded_s(self) -> float:
        return self.frames / SAMPLE_RATE_HZ

    def close(self) -> None:
        self._container.close()

    def check_length(self, max_audio_s: float) -> None:
        """
        Add up the packets without decoding them, up to the limit; the file must be opened again after it.

        Raises:
            AudioTooLong: They last longer than `max_audio_s`.
        """
        total_s = 0.0
        for packet in self._packets():
            total_s += float((packet.duration or 0) * (packet.time_base or 0))
            if total_s > max_audio_s:
                raise too_long(max_audio_s, self.declared_s)

    def blocks(self) -> Iterator[FloatBlock]:
        """Blocks of shape (channels, n ≤ 4096); the number of channels can change in the middle of a file."""
        errors = 0
        for packet in self._packets():
            self.packets += 1
            try:
                decoded = self._stream.codec_context.decode(packet if packet.size else None)
                for frame in decoded:
                    yield from self._resampled(frame)
                errors = 0
            except av.error.FFmpegError:
                self.bad_packets += 1
                errors += 1
            if errors >= MAX_ERRORS_IN_A_ROW:
                break
        yield from self._flushed()

    def _find_stream(self) -> Any:
        streams = self._container.streams.audio
        if not streams:
            raise InvalidAudio("The file has no audio track.")
        stream = streams[0]
        if stream.codec_context is None:
            raise InvalidAudio("The audio track is in a format that cannot be decoded.")
        if not 0 < stream.codec_context.sample_rate <= 768_000 or stream.codec_context.channels > MAX_CHANNELS:
            raise InvalidAudio("The header of the audio track is broken.")
        stream.codec_context.thread_count = 1
        return stream

    def _packets(self) -> Iterator[Any]:
        """What the demuxer gives, beyond damaged places; the last one is empty and flushes the decoder."""
        for _ in range(MAX_ERRORS_IN_A_ROW):
            try:
                yield from self._container.demux(self._stream)
                return
            except av.error.FFmpegError:
                self.bad_packets += 1

    def _resampled(self, frame: Any) -> Iterator[FloatBlock]:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._format:
            yield from self._flushed()
            self._format = kind
            # Not "fltp": PyAV crashes on planes beyond the eighth.
            self._resampler = av.AudioResampler("flt", frame.layout, SAMPLE_RATE_HZ, frame_size=BLOCK_FRAMES)
        frame.pts = None  # the resampler would fill or drop what broken timestamps claim
        yield from self._counted(self._resampler.resample(frame))

    def _flushed(self) -> Iterator[FloatBlock]:
        if self._resampler is not None:
            yield from self._counted(self._resampler.resample(None))

    def _counted(self, frames: list[Any]) -> Iterator[FloatBlock]:
        for frame in frames:
            self.frames += frame.samples
            yield np.asarray(frame.to_ndarray(), dtype=np.float32).reshape(frame.samples, -1).T


def too_long(max_audio_s: float, size_s: float | None) -> AudioTooLong:
    size = "" if size_s is None or size_s <= max_audio_s else f" of {size_s:.0f} s"
    return AudioTooLong(
        f"The audio{size} is longer than the limit of {max_audio_s:g} s: send it in pieces;"
        " whoever runs the service can raise limits.max_audio_s.",
        param="file",
    )


def _open(source: FileBytes, decoders: str) -> Any:
    options = {"format_whitelist": FORMATS.replace(" ", ","), "codec_whitelist": decoders, "protocol_whitelist": "none"}
    try:
        return av.open(
            source,
            metadata_errors="replace",
            container_options=options,
            io_open=_refuse_to_open,
        )
    except (av.error.ArgumentError, PermissionError) as error:
        raise InvalidAudio(REFUSED) from error
    except av.error.FFmpegError as error:
        raise InvalidAudio(NOT_AUDIO) from error


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError(f"media may not open {url}")
