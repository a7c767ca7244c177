"""What subtitles tell of the length of the audio."""

from __future__ import annotations

import pytest

from serve_app.cli.backends import last_cue_s


@pytest.mark.parametrize(
    ("subtitles", "seconds"),
    [
        ("1\n00:00:00,000 --> 00:00:02,500\nHello.\n\n2\n00:59:58,000 --> 01:00:01,250\nBye.\n\n", 3601.25),
        ("WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nHello.\n\n", 2.5),
        ("WEBVTT\n\n00:00.000 --> 00:02.500\nHello.\n\n", 2.5),
        ("WEBVTT\n\n", None),
        ("", None),
    ],
)
def test_length_is_the_end_of_the_last_cue(subtitles: str, seconds: float | None) -> None:
    assert last_cue_s(subtitles) == seconds
