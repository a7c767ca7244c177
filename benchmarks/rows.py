"""The rows of the bench: each runs the service and what it is held against in turns, and says what came out."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from benchmarks.base_model import base_model
from benchmarks.client import Client
from benchmarks.corpus import Clip, Corpus, minutes
from benchmarks.failure import Refused
from benchmarks.machine import cores
from benchmarks.memory import PeakMemory
from benchmarks.recordings import recording
from benchmarks.reference import BATCH_SIZE, TINY_EN, Heard, Kind, Reference, Subject, reference
from benchmarks.results import Measure, Unit
from benchmarks.word_errors import WordErrors, word_errors
from tests.cluster.running import KEY, Service, config_file, running
from tests.recordings import DATA

SAMPLE = DATA / "jfk.flac"
CLIENTS = 8
PASSES = 3  # of the service for one of the loop, so that both sides of a round take about as long
PAUSE_S = 0.3  # OpenMP's threads spin for 0.2 s after the last work, and would take it from the other side
SAME_PRIORITY = {"RAY_worker_niceness": "0"}  # Ray's 15 would hand the machine to whatever else runs beside it
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a run measures."""

    corpus: Corpus
    subject: Subject = TINY_EN
    rounds: int = 3
    calls: int = 21  # of the row on latency
    most_clips: int | None = None
    long_s: float = 3 * 3600.0
    short_s: float = 180.0

    def some(self, clips: list[Clip]) -> list[Clip]:
        return clips[: self.most_clips]

    def reference(self, kind: Kind) -> contextlib.AbstractContextManager[Reference]:
        return reference(kind, threads=cores(), subject=self.subject)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a row came to."""

    how: str
    measures: tuple[Measure, ...]


def word_error_rate(plan: Plan) -> Finding:
    recordings, all_formats = plan.some(plan.corpus.recordings()), plan.some(plan.corpus.formats())
    with _service(plan.subject) as client, plan.reference(Kind.TRANSCRIBE) as theirs:
        _warm_up(client.transcribe, theirs.transcribe)
        formats = _readable(all_formats, client.transcribe)
        measures = [
            measure
            for name, clips in (("clips, each of another sentence", recordings), ("formats and noise", formats))
            if clips
            for measure in _accuracy(name, clips, client.transcribe, theirs.transcribe)
        ]
    refused = [clip.name for clip in all_formats if clip not in formats]
    sets = ", ".join(sorted({clip.set_name for clip in (*recordings, *formats)}))
    how = (
        f"{len(recordings)} English clips ({minutes(recordings):.1f} min), each of another sentence, and {len(formats)} files"
        f" of a few sentences in many containers, codecs and kinds of noise ({minutes(formats):.1f} min); sets: {sets}. One"
        f" request at a time over HTTP as `json`, and `transcribe` with its defaults on the same file, in turns. Left out,"
        f" because the service refuses them: {', '.join(refused) or 'none'}"
    )
    return Finding(how, tuple(measures))


def throughput(plan: Plan) -> Finding:
    clips = plan.some(plan.corpus.between(5, 15))
    paths = [clip.path for clip in clips]
    ours: list[float] = []
    theirs: list[float] = []
    with _service(plan.subject) as client, plan.reference(Kind.TRANSCRIBE) as loop:
        _warm_up(client.transcribe, loop.transcribe)
        for _ in track(range(plan.rounds), "throughput"):
            ours.append(PASSES * len(clips) / client.transcribe_all(paths * PASSES, clients=CLIENTS))
            time.sleep(PAUSE_S)
            theirs.append(len(clips) / sum(loop.transcribe(path).took_s for path in paths))
    rate = "{:.2f} clips/s".format
    measure = ratio(f"clips per second at {CLIENTS} clients", ours, theirs, rate, at_least=3.0)
    how = (
        f"{len(clips)} clips of 5 to 15 s ({minutes(clips):.1f} min) sent by {CLIENTS} HTTP clients, three times over, against a"
        f" loop over `transcribe` with {cores()} threads"
    )
    return Finding(how, (measure,))


def long_file(plan: Plan) -> Finding:
    clip = plan.corpus.long_file()
    clips = [clip] * plan.rounds
    with (
        _service(plan.subject) as client,
        plan.reference(Kind.TRANSCRIBE) as transcribe,
        plan.reference(Kind.BATCHED) as pipeline,
    ):
        _warm_up(client.transcribe, transcribe.transcribe, pipeline.transcribe)
        sides = client.transcribe, transcribe.transcribe, pipeline.transcribe
        ours, plain, batched = _in_turns([clip.path for clip in clips], "long file", *sides)
        first = [client.stream(clip.path).first_delta_s for _ in range(plan.rounds)]
    measures = (
        _speed(f"long file: time to the end, against batches of {BATCH_SIZE}", ours, batched, at_least=1.0),
        _speed("long file: time to the end, against transcribe", ours, plain),
        _difference("long file: WER, against transcribe", _errors(clips, ours), _errors(clips, plain), at_most=0.0),
        _difference(f"long file: WER, against batches of {BATCH_SIZE}", _errors(clips, ours), _errors(clips, batched)),
        _first_delta(first, ours),
    )
    how = (
        f"A recording of {clip.duration_s / 60:.1f} min over HTTP as `json`, against `transcribe` and against"
        f" `BatchedInferencePipeline` with `batch_size={BATCH_SIZE}`, with {cores()} threads each; the first delta is of a"
        " streamed request of its own"
    )
    return Finding(how, measures)


def latency(plan: Plan) -> Finding:
    with (
        _service(plan.subject) as client,
        plan.reference(Kind.PIPELINE) as pipeline,
        plan.reference(Kind.ENGINE) as bare,
    ):
        _warm_up(client.transcribe, pipeline.transcribe, bare.transcribe)
        sides = client.transcribe, pipeline.transcribe, bare.transcribe
        heard = _in_turns([SAMPLE] * plan.calls, "latency", *sides)
    http, inside, engine = ([one.took_s for one in side] for side in heard)
    measures = (
        added("11 s clip, p50: HTTP over the same pipeline in one process", http, inside, at_most=40),
        added("11 s clip, p50: HTTP over the bare engine call", http, engine, at_most=40),
    )
    how = (
        f"the bundled 11 s clip, {plan.calls} calls each in turns. One reference is our own decoder, VAD and engine in one"
        " process, so the difference is what HTTP, Ray and three hops add; the other is the engine alone on samples already"
        " decoded, so the difference holds decoding and VAD too"
    )
    return Finding(how, measures)


def memory(plan: Plan) -> Finding:
    clips = plan.corpus.long_files()
    short, long = recording(clips, plan.short_s), recording(clips, plan.long_s)
    with running_service(**plan.subject.service_args()) as service, client_of(service, plan.subject.model) as client:
        _warm_up(client.transcribe)
        small, took = _peak_bytes(service, client, short)
        large, took_long = _peak_bytes(service, client, long)
    measure = Measure(
        what=f"peak memory of all processes, {plan.long_s / 3600:.1f} h file",
        ours=f"{large / MIB:.0f} MiB",
        against=f"{small / MIB:.0f} MiB, {plan.short_s / 60:.0f} min file",
        value=(large - small) / 1e6,
        unit=Unit.MB,
        at_most=150,
    )
    how = (
        f"Opus at 24 kbit/s, {long.stat().st_size / 1e6:.0f} MB and {short.stat().st_size / 1e6:.1f} MB, one after the other at"
        " one fresh service; the sum of proportional set sizes (shared memory counted once) of `rayscribe serve` and all its"
        f" children, Ray's included, looked at four times a second. They took {took_long:.0f} s ({plan.long_s / took_long:.0f}×"
        f" real time) and {took:.0f} s"
    )
    return Finding(how, (measure,))


def replicas(plan: Plan) -> Finding:
    clips = plan.some(plan.corpus.between(5, 15))
    paths = [clip.path for clip in clips] * PASSES
    one: list[float] = []
    two: list[float] = []
    for _ in track(range(plan.rounds), "replicas"):
        one.append(_rate_of_replicas(1, paths))
        two.append(_rate_of_replicas(2, paths))
    rate = "{:.2f} clips/s".format
    measure = ratio("two replicas against one, model base", two, one, rate, at_least=1.6)
    how = (
        f"{len(clips)} clips of 5 to 15 s ({minutes(clips):.1f} min), {PASSES} times over, from {2 * CLIENTS} HTTP clients, one"
        f" thread a replica, on {cores()} cores that also run everything else; each service alone, because an idle one"
        " takes from it"
    )
    return Finding(how, (measure,))


def _rate_of_replicas(count: int, paths: Sequence[Path]) -> float:
    """Clips a second of a service with so many replicas."""
    with running_service(**_base_args(count)) as service, client_of(service, "base") as client:
        client.transcribe_all([SAMPLE] * 2 * CLIENTS, clients=2 * CLIENTS)  # so that every replica has worked once
        return len(paths) / client.transcribe_all(paths, clients=2 * CLIENTS)


TRANSCRIPTION_ROWS: dict[str, Callable[[Plan], Finding]] = {
    "wer": word_error_rate,
    "throughput": throughput,
    "long-file": long_file,
    "latency": latency,
    "memory": memory,
    "replicas": replicas,
}


def _base_args(count: int) -> dict[str, object]:
    """Settings of a service with model base and so many replicas."""
    return {
        "models": {"base": {"source": str(base_model())}},
        "default_model": "base",
        "preload": ["base"],
        "recognizer": {"min_replicas": count, "max_replicas": count, "threads": 1, "compute_type": "int8"},
        "lifecycle": {"unload_after_s": -1},
    }


@contextlib.contextmanager
def running_service(**args: object) -> Iterator[Service]:
    with (
        tempfile.TemporaryDirectory(prefix="bench") as folder,
        running(config_file(Path(folder), **args), **SAME_PRIORITY) as service,
    ):
        yield service


@contextlib.contextmanager
def _service(subject: Subject) -> Iterator[Client]:
    with running_service(**subject.service_args()) as service, client_of(service, subject.model) as client:
        yield client


def client_of(service: Service, model: str) -> contextlib.closing[Client]:
    return contextlib.closing(Client(service.url, KEY, model=model))


def _warm_up(*transcribes: Callable[[Path], Heard]) -> None:
    """The first call loads what later ones find in memory."""
    for transcribe in transcribes:
        transcribe(SAMPLE)
        time.sleep(PAUSE_S)


def _peak_bytes(service: Service, client: Client, path: Path) -> tuple[int, float]:
    with PeakMemory(service.process.pid) as memory:
        took_s = client.transcribe(path).took_s
    return memory.peak_bytes, took_s


def _readable(clips: list[Clip], transcribe: Callable[[Path], Heard]) -> list[Clip]:
    """The clips that the service does not refuse; it goes by their content, and some codecs have no mark in theirs."""
    found = []
    for clip in clips:
        with contextlib.suppress(Refused):
            transcribe(clip.path)
            found.append(clip)
    return found


def _accuracy(
    name: str, clips: list[Clip], ours: Callable[[Path], Heard], theirs: Callable[[Path], Heard]
) -> list[Measure]:
    """The errors of both sides on the same clips, and what they took for them."""
    mine, other = _in_turns([clip.path for clip in clips], name, ours, theirs)
    speed = _speed(f"speed, one request at a time, {name}", [_sum(mine)], [_sum(other)])
    return [_difference(f"WER, {name}", _errors(clips, mine), _errors(clips, other), at_most=0.0), speed]


def _sum(heard: list[Heard]) -> Heard:
    return Heard(" ".join(one.text for one in heard), sum(one.took_s for one in heard))


def _errors(clips: Sequence[Clip], heard: Sequence[Heard]) -> WordErrors:
    return word_errors((clip.reference, one.text) for clip, one in zip(clips, heard, strict=True))


def _difference(what: str, ours: WordErrors, theirs: WordErrors, *, at_most: float | None = None) -> Measure:
    return Measure(what, str(ours), str(theirs), ours.rate - theirs.rate, Unit.WER, at_most=at_most)


def ratio(
    what: str, ours: list[float], theirs: list[float], text: Callable[[float], str], *, at_least: float | None = None
) -> Measure:
    """The median of the rounds' ratios: what disturbs a round disturbs both sides of it."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    several = len(ratios) > 1
    return Measure(
        what=what,
        ours=text(statistics.median(ours)),
        against=text(statistics.median(theirs)),
        value=statistics.median(ratios),
        unit=Unit.TIMES,
        at_least=at_least,
        lowest=min(ratios) if several else None,
        highest=max(ratios) if several else None,
    )


def _speed(what: str, ours: list[Heard], theirs: list[Heard], *, at_least: float | None = None) -> Measure:
    rates, others = ([1 / heard.took_s for heard in side] for side in (ours, theirs))
    return ratio(what, rates, others, lambda rate: f"{1 / rate:.1f} s", at_least=at_least)


def _first_delta(first: list[float], whole: list[Heard]) -> Measure:
    first_s, end_s = statistics.median(first), statistics.median(heard.took_s for heard in whole)
    return Measure(
        what="long file: time to the first streamed delta",
        ours=f"{first_s:.2f} s",
        against=f"{end_s:.1f} s, to the end",
        value=end_s / first_s,
        unit=Unit.TIMES,
    )


def added(
    what: str,
    ours_s: Sequence[float],
    theirs_s: Sequence[float],
    *,
    of: Callable[[Sequence[float]], float] = statistics.median,
    at_most: float | None = None,
) -> Measure:
    """What one side takes longer than the other."""
    mine_ms, other_ms = (1000 * of(side) for side in (ours_s, theirs_s))
    return Measure(what, f"{mine_ms:.0f} ms", f"{other_ms:.0f} ms", mine_ms - other_ms, Unit.MS, at_most=at_most)


def _in_turns(paths: Sequence[Path], name: str, *sides: Callable[[Path], Heard]) -> list[list[Heard]]:
    """What each side heard in each file, one file after the other."""
    heard: list[list[Heard]] = [[] for _ in sides]
    for path in track(paths, name):
        for side, transcribe in zip(heard, sides, strict=True):
            side.append(transcribe(path))
            time.sleep(PAUSE_S)
    return heard
