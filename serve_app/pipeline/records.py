"""What passes between the service and a decoder process: a request, then records of a kind, a length and a payload."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from enum import Enum
from typing import BinaryIO

HEADER = struct.Struct("<cI")  # kind, bytes that follow


class Kind(Enum):
    TAKEN = b"T"  # a process works on the request; nothing else is known yet
    START = b"C"  # JSON of `StartOfSound`
    SOUND = b"S"  # frames of signed 16-bit samples, channels interleaved
    END = b"E"  # JSON of `EndOfSound`
    ERROR = b"X"  # JSON: name of a class of `errors.py`, message


@dataclass(frozen=True, slots=True)
class DecodingRequest:
    """What to do with the media whose descriptor comes along."""

    separate_channels: bool
    max_audio_s: float

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, message: bytes) -> DecodingRequest:
        return cls(**json.loads(message))


@dataclass(frozen=True, slots=True)
class StartOfSound:
    """What is known before the first sound."""

    channels: int  # of each frame of SOUND
    declared_s: float | None  # length as the file's header says

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, payload: bytes) -> StartOfSound:
        return cls(**json.loads(payload))


@dataclass(frozen=True, slots=True)
class EndOfSound:
    """The last thing that a decoder says of a file it could read."""

    duration_s: float
    damage: str = ""  # a sentence, if some of the file is missing or broken

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, payload: bytes) -> EndOfSound:
        return cls(**json.loads(payload))


def write(pipe: BinaryIO, kind: Kind, payload: bytes = b"") -> None:
    pipe.write(HEADER.pack(kind.value, len(payload)))
    pipe.write(payload)
    pipe.flush()
