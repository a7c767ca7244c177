"""The client's patience, and its sentences."""

from __future__ import annotations

import io

import httpx
import pytest

from serve_app.cli.exits import NoService, Refused, exit_code
from serve_app.cli.remote import Remote, ServiceClient, form
from tests.unit.cli.client import PatientClient, Script, problem

GOOD = httpx.Response(200, json={})


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured(status: int) -> None:
    async with PatientClient(
        Script(problem(status, retry_after="7"), problem(status, retry_after="2"), GOOD)
    ) as client:
        await client.send("GET", "/jobs")

    assert client.waits == [7, 2]


async def test_busy_service_without_a_time_is_asked_with_growing_pauses() -> None:
    async with PatientClient(Script(problem(503), problem(503), problem(503), GOOD)) as client:
        await client.send("GET", "/jobs")

    assert client.waits == [1, 2, 4]


async def test_patience_ends() -> None:
    async with PatientClient(lambda _: problem(503, "Busy.", retry_after="60"), patience_s=150) as client:
        with pytest.raises(Refused, match="Busy"):
            await client.send("GET", "/jobs")

    assert client.waits == [60, 60]


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 500])
async def test_what_will_not_work_is_not_tried_again(status: int) -> None:
    script = Script(problem(status))
    async with PatientClient(script) as client:
        with pytest.raises(Refused) as refused:
            await client.send("GET", "/jobs")

    assert len(script.requests) == 1
    assert (refused.value.status, refused.value.code, exit_code(refused.value)) == (status, "some_code", 1)


async def test_service_that_never_answered_is_not_waited_for() -> None:
    async with PatientClient(Script(httpx.ConnectError("refused"))) as client:
        with pytest.raises(NoService, match="rayscribe serve") as away:
            await client.send("GET", "/jobs")

    assert client.waits == []
    assert exit_code(away.value) == 3


async def test_service_that_answered_before_is_waited_for() -> None:
    script = Script(GOOD, httpx.ConnectError("refused"), httpx.ReadError("cut"), GOOD)
    async with PatientClient(script) as client:
        await client.send("GET", "/jobs")
        await client.send("GET", "/jobs")

    assert client.waits == [1, 2]


async def test_connection_that_was_cut_is_tried_again_but_not_for_long() -> None:
    cut = httpx.RemoteProtocolError("Server disconnected")
    async with PatientClient(Script(cut, GOOD)) as client:
        await client.send("GET", "/jobs")

    def always_cut(_: httpx.Request) -> httpx.Response:
        raise cut

    async with PatientClient(always_cut) as client:
        with pytest.raises(NoService, match="nothing answers"):
            await client.send("GET", "/jobs")

    assert client.waits == [1, 2, 4]


async def test_file_is_sent_whole_again() -> None:
    script = Script(problem(503, retry_after="1"), GOOD)
    async with PatientClient(script) as client:
        await client.send("POST", "/x", files=form([("model", "m")], ("file", ("a", io.BytesIO(b"sound")))))

    first, second = ([line for line in r.content.splitlines() if b"--" not in line] for r in script.requests)
    assert first == second
    assert b"sound" in second


async def test_answer_that_is_no_envelope_is_shown_in_short() -> None:
    async with PatientClient(lambda _: httpx.Response(502, text="<h1>Bad\n gateway</h1>" + "x" * 999)) as client:
        with pytest.raises(Refused, match="service answered 502 <h1>Bad gateway</h1>x") as refused:
            await client.send("GET", "/jobs")

    assert len(refused.value.message) < 250


async def test_unknown_path_asks_whether_it_is_the_right_service() -> None:
    async with PatientClient(lambda _: problem(404, "Not Found", "not_found")) as client:
        with pytest.raises(Refused, match="has no /jobs: is it rayscribe"):
            await client.send("GET", "/jobs")


@pytest.mark.parametrize("url", ["http://service/v1", "http://service/v1/", "http://service/"])
def test_base_url_of_an_sdk_names_the_service_as_well(url: str) -> None:
    assert ServiceClient(Remote(url)).url == "http://service"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://[::1"])
def test_url_that_is_none_is_said(url: str) -> None:
    with pytest.raises(NoService, match="URL"):
        ServiceClient(Remote(url))


async def test_key_is_sent_and_not_shown() -> None:
    script = Script(problem(401, "The key is wrong."))
    async with PatientClient(script) as client:
        with pytest.raises(Refused, match="--api-key or RAYSCRIBE_API_KEY"):
            await client.send("GET", "/jobs")

    assert script.requests[0].headers["authorization"] == "Bearer key"
