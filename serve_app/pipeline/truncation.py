"""Files that end early and say so only to those who read their structure: FFmpeg takes what is there for the whole."""

from __future__ import annotations

import os
import struct

TAIL_BYTES = 128 * 1024  # an Ogg page has at most 65307
OGG_HEADER = struct.Struct("<4s22xB")
STREAMED_FROM = 0x7FFF_0000  # sizes from here on stand for "not known yet", as 0 does
MPEG_FRAMES_LOST = 10


def is_cut_off(fd: int, format_name: str, packets: int) -> bool:
    """
    Whether the file should go on.

    Args:
        packets: How many audio packets FFmpeg found.
    """
    size = os.fstat(fd).st_size
    match format_name:
        case "wav":
            return _misses_wav_data(os.pread(fd, 4096, 0), size)
        case "ogg":
            return _ends_inside_page(os.pread(fd, TAIL_BYTES, max(0, size - TAIL_BYTES)))
        case "mp3":
            return packets + MPEG_FRAMES_LOST < _declared_mpeg_frames(os.pread(fd, 256 * 1024, 0))
    return False


def _misses_wav_data(head: bytes, size: int) -> bool:
    place = 12
    while place + 8 <= len(head):
        name, length = struct.unpack_from("<4sI", head, place)
        if name == b"data":
            return bool(0 < length < STREAMED_FROM and place + 8 + length > size + 1)
        place += 8 + length + length % 2
    return False


def _ends_inside_page(tail: bytes) -> bool:
    page = tail.rfind(b"OggS")
    if page < 0 or page + OGG_HEADER.size > len(tail):
        return True
    _, segments = OGG_HEADER.unpack_from(tail, page)
    body = page + OGG_HEADER.size + segments
    return bool(body + sum(tail[page + OGG_HEADER.size : body]) > len(tail))


def _declared_mpeg_frames(head: bytes) -> int:
    """What a Xing header counts; 0 without one."""
    for mark in (b"Xing", b"Info"):
        place = head.find(mark)
        if 0 <= place <= len(head) - 12 and head[place + 7] & 1:
            return int.from_bytes(head[place + 8 : place + 12], "big")
    return 0
