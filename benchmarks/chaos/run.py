"""One run: jobs, deaths, a restart, and what is left."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.evidence import Evidence, JsonObject
from benchmarks.chaos.faults import Victim, deck, kill, kill_everything, stop
from tests.cluster.job_client import ENDED, JobClient
from tests.cluster.recordings import long_recording
from tests.cluster.running import Service, config_file, poll, running
from tests.cluster.webhook_receiver import Receiver, receiving

LENGTHS = {2: 4, 4: 4, 8: 3, 16: 2, 24: 1}  # repeats of 17 s of speech, and how common each is
IN_FLIGHT = 4  # chunks of a job: few, so that a repetition of more would show
RUNNING = 8  # jobs at once
AWAY_S = 120.0  # longest that the service may be away after a death
LONGEST_S = 1200.0
ASKED = "asks for chunk"  # the Pipeline's log, once for each call


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    jobs: int
    rounds: int = 2  # of every victim
    pause_s: tuple[float, float] = (4.0, 9.0)  # between two deaths


@dataclass(frozen=True, slots=True)
class Death:
    """One line of the table."""

    at_s: float
    victim: str
    processes: int
    unfinished: int  # jobs, when it happened


class Run:
    """
    Runs a plan once.

    Attributes:
        deaths: What was killed, in order.
    """

    def __init__(self, plan: Plan, say: Callable[[Death], None] = lambda _: None) -> None:
        self.plan = plan
        self.deaths: list[Death] = []
        self._say = say
        self._random = random.Random(plan.seed)
        self._deck = deck(plan.seed, plan.rounds)
        self._recordings: dict[str, str] = {}  # by job id
        self._began_s = time.monotonic()

    def __call__(self) -> Evidence:
        """
        Raises:
            AssertionError: The service did not come back, or answered with an error that is none of a death.
            TimeoutError: Jobs did not end.
        """
        with tempfile.TemporaryDirectory(prefix="rs") as name, receiving() as receiver:
            return self._run(Path(name), receiver)

    def _run(self, folder: Path, receiver: Receiver) -> Evidence:
        files = {n: long_recording(folder / f"{n}.wav", repeats=n) for n in LENGTHS}
        config = _config(folder)
        lots = self._lots([files[n] for n in self._random.choices([*LENGTHS], [*LENGTHS.values()], k=self.plan.jobs)])
        with _serving(config, folder / "ray1") as (service, jobs):
            undisturbed = self._undisturbed(files.values(), jobs, receiver)
            for victim in self._deck:
                self._submit(next(lots), jobs, receiver)
                time.sleep(self._random.uniform(*self.plan.pause_s))
                self._note(victim.shown, self._unfinished(jobs), kill(service.process.pid, victim))
            stop(service.process.pid, Victim.RECOGNIZER)  # so that the last jobs are unfinished, however fast they go
            self._submit(next(lots), jobs, receiver)
            self._note("everything", self._unfinished(jobs), kill_everything(service.process.pid))
        with _serving(config, folder / "ray2") as (_, jobs):
            self._wait_for_all(jobs)
            return self._evidence(folder, jobs, receiver, undisturbed)

    def _lots(self, files: list[Path]) -> Iterator[list[Path]]:
        """Half of the jobs at first, and some before each death, so that there is always work to lose."""
        half, deaths = len(files) // 2, len(self._deck)
        yield files[:half]
        for n in range(deaths):
            yield files[half:][n::deaths]

    def _undisturbed(self, files: Iterable[Path], jobs: JobClient, receiver: Receiver) -> dict[str, list[JsonObject]]:
        self._submit(files, jobs, receiver)
        return {name: jobs.ended(job_id)["segments"] for job_id, name in self._recordings.items()}

    def _submit(self, files: Iterable[Path], jobs: JobClient, receiver: Receiver) -> None:
        for file in files:
            self._recordings[jobs.submit(file, webhook_url=receiver.url)] = file.stem

    def _note(self, victim: str, unfinished: int, processes: int) -> None:
        death = Death(time.monotonic() - self._began_s, victim, processes, unfinished)
        self.deaths.append(death)
        self._say(death)

    def _unfinished(self, jobs: JobClient) -> int:
        return sum(jobs.get(job_id)["status"] not in ENDED for job_id in self._recordings)

    def _wait_for_all(self, jobs: JobClient) -> None:
        for job_id in self._recordings:
            jobs.ended(job_id, deadline_s=LONGEST_S)
            poll(lambda: _is_delivered(jobs, job_id), deadline_s=AWAY_S)  # noqa: B023  # it is called here

    def _evidence(
        self, folder: Path, jobs: JobClient, receiver: Receiver, undisturbed: Mapping[str, Sequence[JsonObject]]
    ) -> Evidence:
        ended = {job_id: jobs.get(job_id) for job_id in self._recordings}
        repeated_attempts = sum(job["attempts"] - 1 for job in ended.values())
        repeated_calls = RUNNING * sum(death.victim == Victim.RECOGNIZER.shown for death in self.deaths)
        return Evidence(
            recordings=self._recordings,
            listed=jobs.ids(),
            jobs=ended,
            events={job_id: list(jobs.follow(job_id)) for job_id in self._recordings},
            deliveries=[(came.body["id"], came.delivery_id) for came in receiver.came],
            undisturbed=undisturbed,
            chunks_asked=sum(_count(log, ASKED) for log in folder.glob("ray*/ray/session_2*/logs/worker-*.err")),
            chunks_kept=_chunks_kept(folder / "data" / "jobs.sqlite3"),
            chunks_in_flight=IN_FLIGHT * (repeated_attempts + repeated_calls),
        )


def _config(folder: Path) -> Path:
    return config_file(
        folder,
        log_level="DEBUG",
        jobs={"max_running": RUNNING},
        pipeline={"chunks_in_flight": IN_FLIGHT},
        outbound={"allow": ["127.0.0.0/8"]},
    )


@contextlib.contextmanager
def _serving(config: Path, ray_folder: Path) -> Iterator[tuple[Service, JobClient]]:
    with running(config, RAY_TMPDIR=str(ray_folder)) as service, JobClient(service.url, patience_s=AWAY_S) as jobs:
        yield service, jobs


def _is_delivered(jobs: JobClient, job_id: str) -> bool | None:
    return True if all(d["status"] == "delivered" for d in jobs.deliveries(job_id)) else None


def _count(log: Path, words: str) -> int:
    with log.open(errors="replace") as lines:
        return sum(words in line for line in lines)


def _chunks_kept(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM chunks").fetchone()[0])
