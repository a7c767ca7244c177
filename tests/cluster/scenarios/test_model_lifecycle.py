"""The scenarios of the replaced system's `test_model_lifecycle.sh`, with two models, and two replicas, where number matters."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import pytest

from tests.cluster.job_client import JobClient
from tests.cluster.lifecycle.model_client import RECORDING
from tests.cluster.running import Service, poll
from tests.cluster.scenarios.lifecycle_client import (
    AT_WORK_S,
    JOB_S,
    MODELS,
    NEVER,
    A,
    B,
    C,
    FirstLook,
    LifecycleClient,
    begun,
    changes,
    done,
    up_to,
)
from tests.cluster.suspended import suspended

AT_ONCE = 8
RETRIES = 20  # of a client that is told to come again each second


@pytest.fixture
def recognizers(rejecting: Service) -> list[int]:
    return rejecting.pids("Recognizer")


def test_service_starts_with_every_model_unloaded(first_look: FirstLook) -> None:
    told = {model["model"]: (model["state"], model["reason"]) for model in first_look.status["models"]}

    assert first_look.health == "unloaded"
    assert told == dict.fromkeys(MODELS, ("unloaded", "never_loaded"))
    assert first_look.status["safe_to_stop"]


def test_status_shows_where_a_model_runs_and_no_gpu_memory_on_a_cpu(models: LifecycleClient) -> None:
    models.is_loaded(A)
    [its] = [its for its in models.status(A)["replicas"] if its["state"] == "ready"]
    cluster = models.all_status()

    assert its["placement"]["device"] == "cpu"
    assert its["placement"]["why"]
    assert its["load_seconds"] > 0
    assert (its["vram"], cluster["vram"], cluster["gpus"]) == (None, None, [])


def test_second_load_of_a_loaded_model_changes_nothing(models: LifecycleClient, recognizers: list[int]) -> None:
    with suspended(recognizers):
        first = models.load(A, ttl_s=NEVER)
    models.becomes("ready", A)
    before = models.status(A)
    second = models.load(A, ttl_s=NEVER)

    assert (first.status_code, first.json()["state"]) == (202, "loading")
    assert (second.status_code, second.json()["state"]) == (200, "ready")
    assert second.json()["since"] == before["since"]


def test_many_loads_of_two_models_at_once_load_each_of_them_once(
    models: LifecycleClient, recognizers: list[int]
) -> None:
    with models.news() as news:
        with suspended(recognizers), ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda n: models.load((A, B)[n % 2], ttl_s=NEVER), range(2 * AT_ONCE)))
        models.is_loaded(A, B)
        copies = models.copies()
        for model in (A, B):
            models.unload(model)
            models.becomes("unloaded", model)
        seen = up_to("unloaded", B, news)

    assert {(answer.status_code, answer.json()["state"]) for answer in answers} == {(202, "loading")}
    assert sorted(model for replica in copies.values() for model in replica) == sorted((A, B))
    assert sorted(event["model"] for event in seen if event["state"] == "ready") == sorted((A, B))


def test_request_for_a_model_that_is_not_loaded_is_turned_away_and_loads_it(models: LifecycleClient) -> None:
    with models.news() as news:
        answer = models.transcribe(A)
        told = changes(up_to("ready", A, news), A)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_ready")
    assert int(answer.headers["Retry-After"]) >= 1
    assert (told[0], told[-1]) == (("loading", "request"), ("ready", "loaded"))
    assert models.text(A).strip()


def test_job_for_a_model_that_is_not_loaded_is_turned_away_and_loads_it(
    models: LifecycleClient, jobs: JobClient
) -> None:
    before = jobs.ids()

    answers = [models.post_job(model) for model in (A, B)]
    models.becomes("ready", A)
    models.becomes("ready", B)

    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in answers} == {(503, "model_not_ready")}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
    assert jobs.ids() == before
    assert done(jobs, jobs.submit(RECORDING, model=A))["segments"]


def test_openai_sdk_that_comes_again_when_it_is_told_gets_its_text(rejecting: Service, models: LifecycleClient) -> None:
    models.is_loaded(A)  # from then on it is known how long that takes
    models.unload(A)
    models.becomes("unloaded", A)

    with rejecting.client() as client, RECORDING.open("rb") as recording:
        asking = client.with_options(max_retries=RETRIES)
        text = asking.audio.transcriptions.create(model=A, file=recording, temperature=0.0).text

    assert text.strip()
    assert text == models.text(A)


def test_unload_frees_a_model_that_is_ready(models: LifecycleClient) -> None:
    models.is_loaded(A, B)

    models.unload(A)
    models.becomes("unloaded", A)
    freed = models.status(A)

    assert (freed["reason"], freed["pinned"]) == ("unload", False)
    assert [model for replica in models.copies().values() for model in replica] == [B]


def test_unload_of_an_unloaded_model_changes_nothing(models: LifecycleClient) -> None:
    models.is_loaded(A)
    models.unload(A)
    models.becomes("unloaded", A)
    before = models.status(A)["since"]

    with models.news() as news:
        again = models.unload(A)
        models.is_loaded(B)
        models.unload(B)
        seen = up_to("unloaded", B, news)

    assert (again.status_code, again.json()["state"], again.json()["since"]) == (200, "unloaded", before)
    assert {event["model"] for event in seen} == {B}


def test_unload_before_a_replica_has_begun_to_load_leaves_nothing_loaded(
    models: LifecycleClient, recognizers: list[int]
) -> None:
    with suspended(recognizers):
        models.load(A, ttl_s=NEVER)
        answer = models.unload(A)
        assert not models.status(A)["pinned"]  # nobody waits for the replica to hear its orders
    models.is_loaded(B)  # by then whatever was asked before has been heard
    models.becomes("unloaded", A)

    assert answer.json()["state"] == "unloaded"
    assert not models.status(A)["pinned"]


def test_unload_while_the_weights_are_read_frees_them(models: LifecycleClient) -> None:
    with models.news() as news:
        models.load(A, ttl_s=NEVER)
        before = changes(up_to("loading", A, news), A)
        models.unload(A)
        after = changes(up_to("unloaded", A, news), A)

    assert before == [("loading", "load")]
    assert after[-1] == ("unloaded", "unload")
    assert not models.status(A)["pinned"]


def test_unload_during_jobs_of_two_models_lets_both_end(
    models: LifecycleClient, jobs: JobClient, two_minutes: Path, eight_minutes: Path
) -> None:
    models.is_loaded(A, B)
    ids = [jobs.submit(eight_minutes, model=A), jobs.submit(two_minutes, model=B)]
    for job_id in ids:
        begun(jobs, job_id)

    answer = models.unload(A)
    ended = [done(jobs, job_id) for job_id in ids]
    models.becomes("unloaded", A)

    assert answer.status_code == 202
    assert [job["attempts"] for job in ended] == [1, 1]
    # Of two replicas, one may have begun with it only after the order.
    assert {its["reason"] for its in models.status(A)["replicas"]} == {"unload"}
    assert models.state(B) in ("ready", "busy")


@pytest.mark.slow
def test_unload_by_force_answers_who_uses_the_model_503_and_nobody_else(
    models: LifecycleClient, two_minutes: Path, eight_minutes: Path
) -> None:
    models.is_loaded(A, B)
    with ThreadPoolExecutor(2) as pool:
        cut_off = pool.submit(models.transcribe, A, eight_minutes)
        untouched = pool.submit(models.transcribe, B, two_minutes)
        models.is_used(A)
        models.unload(A, force=True)
        answer = cut_off.result()

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_ready")
    assert int(answer.headers["Retry-After"]) >= 1
    assert untouched.result().json()["text"].strip()


@pytest.mark.slow
def test_job_that_is_cut_off_by_force_goes_on_although_requests_are_turned_away(
    models: LifecycleClient, jobs: JobClient, eight_minutes: Path
) -> None:
    models.is_loaded(A, B)
    ids = [jobs.submit(eight_minutes, model=model) for model in (A, B)]
    for job_id in ids:
        begun(jobs, job_id)

    models.unload(A, force=True)
    cut_off, untouched = (done(jobs, job_id) for job_id in ids)

    assert cut_off["attempts"] > 1
    assert untouched["attempts"] == 1
    assert _text(cut_off) == _text(untouched)


@pytest.mark.slow
def test_job_after_an_unload_loads_the_model_again(models: LifecycleClient, jobs: JobClient) -> None:
    models.is_loaded(A, B)
    for model in (A, B):
        models.unload(model)
        models.becomes("unloaded", model)

    ended = [done(jobs, jobs.submit(RECORDING, model=model)) for model in (A, B)]

    assert all(job["segments"] for job in ended)
    assert _text(ended[0]) == _text(ended[1])


def test_each_subscriber_sees_each_model_come_and_go_in_order(models: LifecycleClient) -> None:
    with models.news() as first, models.news() as second:
        for model in (A, B):
            models.is_loaded(model)
            models.unload(model)
            models.becomes("unloaded", model)
        seen = [up_to("unloaded", B, news) for news in (first, second)]

    told = [groupby(state for state, _ in changes(seen[0], model)) for model in (A, B)]

    assert seen[0] == seen[1]
    assert [[state for state, _ in its] for its in told] == [["loading", "ready", "draining", "unloaded"]] * 2


def test_subscriber_that_comes_late_is_told_the_present_first(models: LifecycleClient) -> None:
    models.is_loaded(B)

    with models.events() as events:
        told = [next(events) for _ in MODELS]

    assert {event["model"]: (event["state"], event["replica"]) for event in told} == {
        A: ("unloaded", None),
        B: ("ready", None),
        C: ("unloaded", None),
    }


@pytest.mark.slow
def test_health_tells_each_state_of_the_default_model(
    models: LifecycleClient, jobs: JobClient, recognizers: list[int], eight_minutes: Path
) -> None:
    models.health_becomes("unloaded")  # what it tells may be two seconds old
    with suspended(recognizers):
        models.load(ttl_s=NEVER)
        models.health_becomes("loading")
    models.health_becomes("ready")
    job_id = jobs.submit(eight_minutes)
    models.health_becomes("busy")
    models.unload()
    models.health_becomes("draining")
    models.health_becomes("unloaded")

    assert done(jobs, job_id)["attempts"] == 1


@pytest.mark.slow
def test_service_is_not_safe_to_stop_while_any_gateway_has_a_request(
    models: LifecycleClient, recognizers: list[int]
) -> None:
    models.is_loaded(A)
    with ThreadPoolExecutor(1) as pool:
        with suspended(recognizers):  # so that no recogniser can tell of its work
            answer = pool.submit(models.transcribe, A)
            poll(lambda: None if models.all_status()["safe_to_stop"] else True, deadline_s=AT_WORK_S, every_s=0.05)
            told = [models.all_status()["safe_to_stop"] for _ in range(10)]
        answer.result().raise_for_status()

    assert not any(told)
    poll(lambda: models.all_status()["safe_to_stop"] or None, deadline_s=AT_WORK_S)


@pytest.mark.slow
def test_jobs_of_three_models_share_the_room_for_two(
    models: LifecycleClient, jobs: JobClient, two_minutes: Path
) -> None:
    """Each replica has at most two at a time, and none of the jobs has to begin again."""
    # Pinned, because a fast machine may end their jobs and free them before the third is accepted.
    models.is_loaded(A, B)
    ids = [jobs.submit(two_minutes, model=model) for model in (A, B)]
    full = models.copies()
    for model in (A, B):
        models.load(model, ttl_s=0)
    ids.append(jobs.submit(two_minutes, model=C))

    seen = [*full.values()]

    def ended() -> bool | None:
        seen.extend(models.copies().values())
        return True if all(jobs.get(job_id)["status"] == "done" for job_id in ids) else None

    poll(ended, deadline_s=JOB_S, every_s=0.1)

    assert sorted(model for replica in full.values() for model in replica) == [B, A]
    assert max(map(len, seen)) <= 2
    assert {jobs.get(job_id)["attempts"] for job_id in ids} == {1}
    assert len({_text(jobs.get(job_id)) for job_id in ids}) == 1


def _text(job: dict[str, object]) -> str:
    segments = job["segments"]
    assert isinstance(segments, list)
    return "".join(segment["text"] for segment in segments)
