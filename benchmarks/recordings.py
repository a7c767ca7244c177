"""Recordings of any length, made of shorter ones: Opus, mono, 24 kbit/s, as phones and meetings make them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from benchmarks.corpus import Clip

RATE_HZ = 48_000  # Opus counts its time so, whatever the rate of what it was given
BIT_RATE = 24_000
CACHE = Path(__file__).parents[1] / ".cache" / "bench"


def recording(clips: list[Clip], duration_s: float) -> Path:
    """An Opus file of so many seconds: the clips in their order, again and again."""
    name = hashlib.sha256("".join(f"{clip.name}:{clip.duration_s}" for clip in clips).encode()).hexdigest()[:12]
    path = CACHE / f"{name}-{duration_s:.0f}s.ogg"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part.ogg")
        _write(unfinished, [clip.path for clip in clips], duration_s)
        unfinished.rename(path)
    return path


def _write(target: Path, sources: list[Path], duration_s: float) -> None:
    """Encode the sources once, and repeat the packets: encoding hours would take minutes."""
    with av.open(str(target), "w", format="ogg") as output:
        stream = output.add_stream("libopus", rate=RATE_HZ)
        stream.bit_rate = BIT_RATE
        stream.layout = "mono"
        stream.time_base = Fraction(1, RATE_HZ)
        cycle = [(packet.duration or 0, bytes(packet)) for packet in _packets(stream, sources) if packet.size]
        at, end = 0, round(duration_s * RATE_HZ)
        while at < end:
            for duration, data in cycle:
                packet = av.Packet(data)
                packet.stream = stream
                packet.time_base = Fraction(1, RATE_HZ)
                packet.pts = packet.dts = at
                packet.duration = duration
                output.mux(packet)
                at += duration
                if at >= end:
                    break


def _packets(stream: av.AudioStream, sources: list[Path]) -> Iterator[av.Packet[av.AudioStream]]:
    fifo = av.AudioFifo()
    for source in sources:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
        with av.open(str(source)) as media:
            for frame in media.decode(audio=0):
                for resampled in resampler.resample(frame):
                    resampled.pts = None  # the time in the source; the encoder counts on from source to source
                    fifo.write(resampled)
                for full in fifo.read_many(stream.codec_context.frame_size):
                    yield from stream.encode(full)
    yield from stream.encode(None)
