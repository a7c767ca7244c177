"""The rows about models that come and go: how long somebody waits for one."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ctranslate2
import httpx
from rich.progress import track

from benchmarks.client import LONGEST_S, Client
from benchmarks.failure import BenchFailed, NotHere
from benchmarks.machine import cores
from benchmarks.memory import tree_bytes
from benchmarks.reference import COMPUTE_TYPE, MODEL, Kind, reference
from benchmarks.results import Measure, Unit
from benchmarks.rows import PAUSE_S, SAME_PRIORITY, SAMPLE, Finding, Plan, added, client_of, ratio, running_service
from serve_app.settings.tree import TINY_EN
from tests.cluster.lifecycle.model_client import ModelClient
from tests.cluster.running import ROOT, Service, config_file, poll, running

ZERO_AFTER_S = 6.0  # Serve counts over five of them
PARK_AFTER_S = 1.0
MANY_MODELS = 10
CAPACITY = 2
CLIENTS = 4
NEVER = -1


def cold_start(plan: Plan) -> Finding:
    """From no replica to an answer, beside a replica that has nothing to load."""
    args = lifecycle_args([MODEL], unload_after_s=1, zero_after_s=ZERO_AFTER_S, min_replicas=0)
    ours: list[float] = []
    bare: list[float] = []
    with running_service(**args) as service, client_of(service, MODEL) as client, _bare(args) as nothing:
        for _ in track(range(max(1, plan.calls // 4)), "cold start"):
            for side in (service, nothing):
                _goes_to_zero(side)
            ours.append(1 / client.transcribe(SAMPLE).took_s)
            bare.append(1 / _bare_s(nothing))
    measures = (
        ratio("from zero replicas to the first text, against a bare replica's answer", ours, bare, _seconds),
        added("the same, difference", [1 / rate for rate in ours], [1 / rate for rate in bare]),
    )
    how = (
        f"the bundled 11 s clip over HTTP when no recogniser is there, {len(ours)} times, in turns with a GET of a deployment that"
        " does nothing, scaled by the same settings behind the same proxy in a Ray of its own; both are at zero before either"
        " is asked"
    )
    return Finding(how, measures)


def model_load(plan: Plan) -> Finding:
    """What the way to a replica and back adds to a load."""
    ours: list[float] = []
    inside: list[float] = []
    with (
        running_service(**lifecycle_args([MODEL])) as service,
        ModelClient(service) as models,
        reference(Kind.LOAD, threads=cores()) as loader,
    ):
        _load_s(models)
        loader.transcribe(SAMPLE)
        for _ in track(range(plan.calls), "model load"):
            models.unload()
            models.becomes("unloaded")
            ours.append(_load_s(models))
            time.sleep(PAUSE_S)
            inside.append(loader.transcribe(SAMPLE).took_s)
            time.sleep(PAUSE_S)
    measure = added("`/model/load` to `ready`, p50, against the load in one process", ours, inside)
    how = (
        f"{plan.calls} times in turns: from the POST for an unloaded model at a replica that runs to the event `ready`, against our"
        " loader alone; both read the weights from the page cache and decode once"
    )
    return Finding(how, (measure,))


def model_switch(plan: Plan) -> Finding:
    """What a request pays that finds another model in the only place."""
    names = model_names(2)
    switching: list[float] = []
    staying: list[float] = []
    with running_service(**lifecycle_args(names, max_models=1)) as service, _clients(service, names) as clients:
        for client in clients:
            client.transcribe(SAMPLE)
        for client in track([client for _ in range(plan.calls) for client in clients], "model switch"):
            switching.append(client.transcribe(SAMPLE).took_s)
            staying.append(client.transcribe(SAMPLE).took_s)
    measure = added("11 s clip, p50: another model is in the only place, against the same", switching, staying)
    how = (
        f"two models (the same weights under two ids) with `max_models: 1`, {len(switching)} requests each: two for the one, two"
        " for the other, and so on"
    )
    return Finding(how, (measure,))


def round_robin(plan: Plan) -> Finding:
    """Many models in few places: what a request waits, and whether memory grows."""
    names = model_names(MANY_MODELS)
    rounds = max(2, plan.calls // 4)
    args = lifecycle_args(names, max_models=CAPACITY)
    with running_service(**args) as service, _clients(service, names) as clients:
        one = _all_s(clients[:1] * MANY_MODELS * rounds)
        _all_s(clients)  # what the first load of each leaves in caches is no growth
        before = tree_bytes(service.process.pid)
        many = _all_s(clients * rounds)
        grown_mb = (tree_bytes(service.process.pid) - before) / 1e6
    measures = (
        added(f"11 s clip, p50: {MANY_MODELS} models by turns in {CAPACITY} places, against one model", many, one),
        added("the same, the longest", many, one, of=max),
        Measure(f"memory after {len(many)} such requests", f"{grown_mb:+.0f} MB", "before", grown_mb, Unit.MB),
    )
    how = (
        f"{MANY_MODELS} models (the same weights under as many ids) with `max_models: {CAPACITY}`, asked one after the other by"
        f" {CLIENTS} clients at once, {rounds} times over; every request was answered, or there would be no figures. Memory is the"
        " proportional set size of all processes, after each model was there once"
    )
    return Finding(how, measures)


def parked_ready(plan: Plan) -> Finding:
    """How soon weights are back from host memory."""
    if ctranslate2.get_cuda_device_count() == 0:
        raise NotHere("needs a GPU: models are parked nowhere else")
    args = lifecycle_args([MODEL], park_after_s=PARK_AFTER_S) | {"recognizer": {"device": "cuda", "num_gpus": 1}}
    parked: list[float] = []
    unloaded: list[float] = []
    with running_service(**args) as service, ModelClient(service) as models, client_of(service, MODEL) as client:
        for _ in track(range(plan.calls), "parked"):
            models.unload()
            models.becomes("unloaded")
            unloaded.append(1 / client.transcribe(SAMPLE).took_s)
            models.becomes("parked")
            parked.append(1 / client.transcribe(SAMPLE).took_s)
    measure = ratio("11 s clip with a parked model, against an unloaded one", parked, unloaded, _seconds)
    return Finding(f"{plan.calls} requests each in turns, on a GPU; the weights come from the page cache", (measure,))


LIFECYCLE_ROWS: dict[str, Callable[[Plan], Finding]] = {
    "cold-start": cold_start,
    "model-load": model_load,
    "model-switch": model_switch,
    "model-round-robin": round_robin,
    "parked-ready": parked_ready,
}


def model_names(count: int) -> list[str]:
    return [f"tiny-{number}.en" for number in range(1, count + 1)]


def lifecycle_args(names: Sequence[str], *, min_replicas: int = 1, **lifecycle: float) -> dict[str, object]:
    """Settings of a service whose models have the same weights; nothing is loaded, and without more idleness frees nothing."""
    return {
        "models": {name: TINY_EN.model_dump() for name in names},
        "default_model": names[0],
        "preload": [],
        "recognizer": {"compute_type": COMPUTE_TYPE, "min_replicas": min_replicas},
        "lifecycle": {"unload_after_s": NEVER, **lifecycle},
    }


def _seconds(rate: float) -> str:
    return f"{1 / rate:.1f} s"


@contextlib.contextmanager
def _bare(args: dict[str, object]) -> Iterator[Service]:
    command = (sys.executable, "-m", "benchmarks.bare")
    with tempfile.TemporaryDirectory(prefix="bare") as folder:
        config = config_file(Path(folder), **args)
        with running(config, command=command, PYTHONPATH=str(ROOT), **SAME_PRIORITY) as service:
            yield service


def _bare_s(service: Service) -> float:
    began = time.perf_counter()
    answer = httpx.get(service.url, timeout=LONGEST_S, trust_env=False)
    if answer.is_error:
        raise BenchFailed(f"the bare replica answered {answer.status_code}: {answer.text[:300]}")
    return time.perf_counter() - began


def _goes_to_zero(service: Service) -> None:
    poll(lambda: None if service.pids("Recognizer") else True, deadline_s=LONGEST_S)


def _load_s(models: ModelClient) -> float:
    """Until the event that tells it."""
    with models.events() as events:
        next(events)
        began = time.perf_counter()
        models.load(MODEL, ttl_s=NEVER)
        for event in events:
            if event["state"] == "failed":
                raise BenchFailed(f"the load failed: {event['error']}")
            if event["state"] == "ready":
                return time.perf_counter() - began
    raise BenchFailed("the events of models ended before the model was ready")


@contextlib.contextmanager
def _clients(service: Service, names: Sequence[str]) -> Iterator[list[Client]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(client_of(service, name)) for name in names]


def _all_s(clients: Sequence[Client]) -> list[float]:
    """What each one's request took, where a few are under way at a time."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        heard = pool.map(lambda client: client.transcribe(SAMPLE), clients)
        return [one.took_s for one in track(heard, "requests", total=len(clients))]
