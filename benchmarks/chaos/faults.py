"""What can die, and how it is killed."""

from __future__ import annotations

import contextlib
import random
from enum import StrEnum

import psutil


class Victim(StrEnum):
    """The value is part of the title that Ray gives a process."""

    RECOGNIZER = "ServeReplica:rayscribe:Recognizer"
    PIPELINE = "ServeReplica:rayscribe:Pipeline"
    COORDINATOR = "ServeReplica:rayscribe:Coordinator"
    GATEWAY = "ServeReplica:rayscribe:Gateway"
    CONTROLLER = "ServeController"

    @property
    def shown(self) -> str:
        return self.value.rpartition(":")[2]


def deck(seed: int, rounds: int) -> list[Victim]:
    """Every victim so often, in an order that the seed decides."""
    cards = list(Victim) * rounds
    random.Random(seed).shuffle(cards)
    return cards


def kill(root: int, victim: Victim) -> int:
    """SIGKILL its processes below the service's; gives how many there were."""
    return sum(_kill(process) for process in _found(root, victim))


def stop(root: int, victim: Victim) -> None:
    """SIGSTOP its processes below the service's."""
    for process in _found(root, victim):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()


def kill_everything(root: int) -> int:
    """SIGKILL the service with all of Ray, as a power cut does."""
    return sum(_kill(process) for process in [psutil.Process(root), *_family(root)])


def _found(root: int, victim: Victim) -> list[psutil.Process]:
    return [process for process in _family(root) if victim.value in _title(process)]


def _family(root: int) -> list[psutil.Process]:
    return psutil.Process(root).children(recursive=True)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _kill(process: psutil.Process) -> bool:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True
