"""
Writes the files beside it: `python tests/data/hostile/generate.py`. Sound is from LJ Speech (public domain).

A small part of what `../shared/audio/hostile` holds, so that a checkout alone proves the rules.
"""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import av
import numpy as np

HERE = Path(__file__).parent
RATE_HZ = 16_000


def main() -> None:
    speech = resampled(HERE.parent / "LJ001-0002.wav")
    files = scripts() | broken_wavs() | truncated(speech) | {"bomb_10min_silence.flac": bomb()}
    files |= {"bitflips.mp3": bitflips(encode(speech, "mp3", "libmp3lame"))}
    files |= {"antiphase.flac": encode(np.stack([speech, -speech]), "flac", "flac")}
    for name, data in files.items():
        (HERE / name).write_bytes(data)


def scripts() -> dict[str, bytes]:
    """What would make a media library open something else."""
    target = "http://127.0.0.1:9/secret.wav"
    return {
        "playlist.mp3": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n".encode(),
        "ffconcat.wav": b"ffconcat version 1.0\nfile 'truncated.flac'\n",
        "session.wav": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
        "dash.mp4": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet'
        b' mimeType="audio/mp4"><Representation id="1" bandwidth="1"><BaseURL>' + target.encode() + b"</BaseURL>"
        b"</Representation></AdaptationSet></Period></MPD>",
        "error_page.mp3": b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    }


def broken_wavs() -> dict[str, bytes]:
    tone = (np.sin(np.arange(RATE_HZ) / 10) * 8000).astype("<i2").tobytes()
    return {
        "empty.wav": b"",
        "one_byte.wav": b"R",
        "riff_only.wav": b"RIFF",
        "random.wav": random.Random(0).randbytes(4096),
        "header_only.wav": wav(b""),
        "too_short.wav": wav(tone[:800]),
        "rate_0.wav": wav(tone, rate=0),
        "channels_0.wav": wav(tone, channels=0),
        "channels_65535.wav": wav(tone, channels=65535),
        "streaming_size.wav": wav(tone, size=0xFFFFFFFF),
        "huge_float.wav": wav(np.full(RATE_HZ, 1e38, dtype="<f4").tobytes(), kind=3, bits=32),
    }


def wav(data: bytes, *, rate: int = RATE_HZ, channels: int = 1, size: int = -1, kind: int = 1, bits: int = 16) -> bytes:
    frame = max(1, channels * bits // 8)
    size = len(data) if size < 0 else size
    fmt = struct.pack("<HHIIHH", kind, channels, rate, rate * frame % 2**32, frame % 2**16, bits)
    return (
        b"RIFF"
        + struct.pack("<I", min(size + 36, 2**32 - 1))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + fmt
        + (b"data" + struct.pack("<I", size) + data)
    )


def truncated(speech: np.ndarray) -> dict[str, bytes]:
    whole = {"flac": encode(speech, "flac", "flac"), "webm": encode(speech, "webm", "libopus", rate=48_000)}
    return {f"truncated.{name}": data[: len(data) // 2] for name, data in whole.items()}


def bitflips(data: bytes) -> bytes:
    damaged, chance = bytearray(data), random.Random(1)
    for place in chance.sample(range(1000, len(data)), 40):
        damaged[place] ^= 0xFF
    return bytes(damaged)


def bomb() -> bytes:
    return encode(np.zeros(600 * 8000, dtype=np.int16), "flac", "flac", rate=8000)


def encode(samples: np.ndarray, container: str, codec: str, *, rate: int = RATE_HZ) -> bytes:
    """Shape (n,) or (2, n)."""
    channels = np.atleast_2d(samples)
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono" if len(channels) == 1 else "stereo")
        interleaved = np.ascontiguousarray(channels.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="s16", layout=stream.layout.name)
        frame.sample_rate = rate if samples.ndim == 1 and rate == 8000 else RATE_HZ
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def resampled(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("s16", "mono", RATE_HZ)
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)] + resampler.resample(
            None
        )
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


if __name__ == "__main__":
    main()
