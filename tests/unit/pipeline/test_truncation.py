import os
import struct

import pytest

from serve_app.pipeline.truncation import is_cut_off

PAGE = struct.pack("<4s22xB", b"OggS", 2) + bytes([255, 10]) + bytes(265)


def cut_off(data: bytes, format_name: str, packets: int = 0) -> bool:
    descriptor = os.memfd_create("media")
    os.write(descriptor, data)
    try:
        return is_cut_off(descriptor, format_name, packets)
    finally:
        os.close(descriptor)


def wav(claimed: int, held: int) -> bytes:
    return b"RIFF____WAVE" + struct.pack("<4sI3xx4sI", b"odd ", 3, b"data", claimed) + bytes(held)


@pytest.mark.parametrize(("claimed", "cut"), [(100, False), (101, False), (200, True), (0, False), (2**32 - 1, False)])
def test_a_wav_is_cut_off_if_it_claims_more_than_it_holds_unless_it_was_streamed(claimed: int, cut: bool) -> None:
    assert cut_off(wav(claimed, 100), "wav") is cut


@pytest.mark.parametrize("lost", [1, 264, 266])
def test_an_ogg_is_cut_off_if_it_ends_inside_a_page(lost: int) -> None:
    assert not cut_off(PAGE * 3, "ogg")
    assert cut_off((PAGE * 3)[:-lost], "ogg")


def test_an_mp3_is_cut_off_if_it_counts_more_frames_than_it_holds() -> None:
    header = b"ID3" + bytes(50) + b"Xing" + (1).to_bytes(4, "big") + (1000).to_bytes(4, "big")

    assert cut_off(header, "mp3", packets=500)
    assert not cut_off(header, "mp3", packets=999)
    assert not cut_off(bytes(100), "mp3", packets=1)


def test_of_other_formats_nothing_is_known() -> None:
    assert not cut_off(b"", "flac")
