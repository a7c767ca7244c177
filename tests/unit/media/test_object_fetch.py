"""No object passes that is not beneath a readable prefix, however it is written."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.errors import InvalidAudio, InvalidRequest
from serve_app.media.object_fetch import ObjectFetcher
from serve_app.media.remote import open_fetcher
from serve_app.settings import MediaSettings, Settings
from serve_app.testing import InMemoryMediaStore

PREFIX = "s3://bucket/incoming/"
FETCHER = ObjectFetcher([PREFIX, "s3://other/"], InMemoryMediaStore(), max_bytes=1)


@pytest.mark.parametrize(
    "url",
    [f"{PREFIX}talk.mp3", f"{PREFIX}2024/a b#c?d=é%20.mp3", f"{PREFIX}..talk", "s3://other/talk.mp3"],
)
def test_an_object_beneath_a_readable_prefix_may_be_named(url: str) -> None:
    FETCHER.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3://bucket",
        "s3://bucket/talk.mp3",
        "s3://bucket/incoming",
        "s3://bucket/incoming.mp3",
        "s3://bucket//incoming/talk.mp3",
        "s3://bucket/Incoming/talk.mp3",
        "s3://bucket.evil.example/incoming/talk.mp3",
        "s3://user@other/talk.mp3",
        "s3://others/talk.mp3",
        "S3://other/talk.mp3",
        " s3://other/talk.mp3",
    ],
)
def test_any_other_object_is_refused_with_the_setting_that_could_allow_it(url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"media\.readable") as refused:
        FETCHER.check(url)

    assert refused.value.param == "url"


@pytest.mark.parametrize(
    "key", ["", "/", "../secret", "a/../../secret", "./a", "a//b", "a/", "..", "a/.", "a\nb", "a\0", "\x7f"]
)
def test_a_key_that_others_might_read_as_another_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest, match="key of an object"):
        FETCHER.check(PREFIX + key)


@given(st.lists(st.sampled_from(["..", ".", "/", "//", "a", "incoming", "%2e%2e", "\\"])).map("".join))
def test_what_passes_stays_where_it_is_when_the_path_is_normalised(key: str) -> None:
    try:
        FETCHER.check(PREFIX + key)
    except InvalidRequest:
        return

    assert posixpath.normpath(f"incoming/{key}") == f"incoming/{key}"


async def test_what_is_no_longer_readable_when_the_job_starts_is_not_fetched() -> None:
    with pytest.raises(InvalidAudio, match=r"media\.readable"):
        await FETCHER.fetch("s3://bucket/talk.mp3")


async def test_each_url_meets_the_rules_of_its_scheme(tmp_path_factory: pytest.TempPathFactory) -> None:
    media = MediaSettings(readable=("s3://bucket/incoming",))
    fetcher = open_fetcher(Settings(data_dir=str(tmp_path_factory.mktemp("data")), media=media))
    fetcher.check("https://example.com/talk.mp3")
    fetcher.check("s3://bucket/incoming/talk.mp3")

    with pytest.raises(InvalidRequest, match=r"outbound\.allow"):
        fetcher.check("http://10.0.0.1/talk.mp3")
    with pytest.raises(InvalidAudio, match=r"media\.readable"):
        await fetcher.fetch("s3://bucket/internal/talk.mp3")
    with pytest.raises(InvalidRequest, match="must be an http"):
        fetcher.check("file:///etc/passwd")
