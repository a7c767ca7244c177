import pytest

from serve_app.pipeline.requests import PATIENCE_CHUNKS, RequestMaker
from serve_app.transcript.types import DecodingOptions, RecognizedChunk, TranscriptionOptions
from tests.unit.pipeline.examples import chunk, heard

DETECT = DecodingOptions("base")
FIRST, SECOND = chunk((0, 2)), chunk((3, 5), start=3, index=1)


def test_the_language_of_the_first_words_is_that_of_all() -> None:
    requests = RequestMaker(TranscriptionOptions(DETECT))
    assert requests.needs_the_one_before
    assert requests.request(FIRST).options.language is None

    requests.learn(FIRST, heard(" Hallo.", language="de"))

    assert not requests.needs_the_one_before
    assert requests.request(SECOND).options.language == "de"


@pytest.mark.parametrize("unsure", [heard(" ", language="cy"), heard(" Hm.", language="cy", probability=0.49)])
def test_a_chunk_without_words_or_certainty_does_not_tell_the_language(unsure: RecognizedChunk) -> None:
    requests = RequestMaker(TranscriptionOptions(DETECT))
    requests.learn(FIRST, unsure)

    assert requests.needs_the_one_before
    assert requests.request(SECOND).options.language is None

    requests.learn(SECOND, heard(" Hallo.", language="de", probability=0.5))

    assert not requests.needs_the_one_before
    assert requests.request(SECOND).options.language == "de"


def test_after_three_uncertain_chunks_the_most_probable_language_is_taken() -> None:
    requests = RequestMaker(TranscriptionOptions(DETECT))
    requests.learn(FIRST, heard(" Hm.", language="cy", probability=0.2))
    requests.learn(FIRST, heard(" Ja.", language="de", probability=0.4))
    requests.learn(FIRST, heard(" Oh.", language="la", probability=0.3))

    assert not requests.needs_the_one_before
    assert requests.request(SECOND).options.language == "de"


def test_noise_ends_the_wait_but_tells_no_language() -> None:
    requests = RequestMaker(TranscriptionOptions(DETECT))
    for _ in range(PATIENCE_CHUNKS):
        requests.learn(FIRST, heard("", language="cy"))

    assert not requests.needs_the_one_before
    assert requests.request(SECOND).options.language is None


def test_each_channel_has_its_own_language() -> None:
    requests = RequestMaker(TranscriptionOptions(DETECT))
    requests.learn(FIRST, heard(" Hallo.", language="de"))
    other = chunk((3, 5), channel=1)

    assert requests.request(other).options.language is None
    assert requests.needs_the_one_before

    requests.learn(other, heard(" Oui.", language="fr"))

    assert not requests.needs_the_one_before
    assert [requests.request(c).options.language for c in (FIRST, other)] == ["de", "fr"]


def test_a_channel_that_says_little_does_not_hold_up_the_others() -> None:
    requests = RequestMaker(TranscriptionOptions(DETECT))
    requests.learn(chunk((0, 2), channel=1), heard(" Hm.", probability=0.2))
    for _ in range(2 * PATIENCE_CHUNKS):
        requests.learn(FIRST, heard(" Hallo.", language="de"))

    assert not requests.needs_the_one_before


def test_multilingual_detects_the_language_of_each_chunk() -> None:
    requests = RequestMaker(TranscriptionOptions(DETECT, multilingual=True))
    assert not requests.needs_the_one_before

    requests.learn(FIRST, heard(" Hallo.", language="de"))

    assert requests.request(SECOND).options.language is None


def test_the_text_so_far_is_sent_only_to_condition_on_it() -> None:
    conditioned = RequestMaker(TranscriptionOptions(DETECT, condition_on_previous_text=True))
    alone = RequestMaker(TranscriptionOptions(DETECT))
    for requests in (conditioned, alone):
        requests.learn(FIRST, heard(" One."))

    assert conditioned.needs_the_one_before
    assert conditioned.request(SECOND).previous_text == " One."
    assert alone.request(SECOND).previous_text == ""


def test_each_channel_has_its_own_text() -> None:
    requests = RequestMaker(TranscriptionOptions(DETECT, condition_on_previous_text=True))
    requests.learn(FIRST, heard(" One."))

    assert requests.request(chunk((3, 5), channel=1)).previous_text == ""


def test_text_that_was_sampled_hot_is_forgotten() -> None:
    requests = RequestMaker(TranscriptionOptions(DETECT, condition_on_previous_text=True))
    requests.learn(FIRST, heard(" One."))
    requests.learn(SECOND, heard(" Two.", temperature=0.6))

    assert requests.request(SECOND).previous_text == ""


def test_only_the_end_of_a_long_text_is_sent() -> None:
    requests = RequestMaker(TranscriptionOptions(DETECT, condition_on_previous_text=True))
    requests.learn(FIRST, heard(" word" * 1000 + " end."))

    assert len(requests.request(SECOND).previous_text) < 2000
    assert requests.request(SECOND).previous_text.endswith(" end.")
