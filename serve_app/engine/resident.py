"""One model in one replica: what is known of it, who asks for it, and what is to be done with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

from serve_app.errors import RayscribeError
from serve_app.models.types import ModelState, PlacementChoice, Reason, UnloadOrder

DRAIN_QUIET_S = 1.0
"""So long must nothing be in flight until a transcription that goes on is taken to have ended."""


class Phase(Enum):
    """Where a model's weights are."""

    ABSENT = auto()
    WEIGHING = auto()  # its files are fetched, if need be, and measured
    LOADING = auto()
    READY = auto()
    PARKING = auto()
    PARKED = auto()
    FREEING = auto()


class Drain(Enum):
    """Who still gets a model that is to be freed."""

    AFTER_TRANSCRIPTIONS = auto()  # those that had begun before the order
    AFTER_CHUNKS = auto()  # nobody


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """
    Somebody who asks for a model, and then has it. Equal only to itself.

    Attributes:
        since: When it was asked for, in seconds of the machine's clock.
        began_at: When the whole began that this is a part of, by the cluster's clock.
        holds: It wants the model loaded and kept, not used.
    """

    model_id: str
    cause: Reason
    since: float
    began_at: datetime
    holds: bool = False


@dataclass(frozen=True, slots=True)
class Weigh:
    """Find out how many bytes a model needs."""

    model_id: str


@dataclass(frozen=True, slots=True)
class Load:
    """Bring weights to the device."""

    model_id: str
    parked: bool  # from host memory
    on_cpu: bool  # because the GPU has no room


@dataclass(frozen=True, slots=True)
class Park:
    """Take weights from the GPU to host memory."""

    model_id: str


@dataclass(frozen=True, slots=True)
class Free:
    """Drop weights."""

    model_id: str


@dataclass(frozen=True, slots=True)
class Grant:
    """Give somebody the model."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell somebody that it does not get the model, or has it no longer."""

    ticket: Ticket
    error: RayscribeError


@dataclass(frozen=True, slots=True)
class AskMemory:
    """Find out how much memory the GPU has."""


Action = Weigh | Load | Park | Free | Grant | Refuse | AskMemory


@dataclass(slots=True, eq=False)
class Resident:
    """
    A model, resident or wished to be. Times are seconds of the machine's clock.

    Attributes:
        wanted: A load was begun, or waits, that goes on though nobody asks any more.
        cause: Why it was last asked for.
        retry_at: When memory is looked for again; None if it does not wait for any.
        leases: Who uses it now.
        holds: Who keeps it.
        at_work: Batches that run now: they go on when those who asked for them have gone.
        order: The last one to unload it.
        wished_at: When the newest began of what it was loaded for, or is to be.
        on_cpu: It takes no GPU memory, because there was none.
        failure: Why it cannot be loaded, or what it waits for.
        failure_passes: The next load may do better.
        need_bytes, before_bytes, loaded_bytes, after_bytes: As in `VramUse`.
        is_weighed: `need_bytes` is what the next load needs; if not, what the last one needed.
    """

    model_id: str
    phase: Phase = Phase.ABSENT
    drain: Drain | None = None
    waiters: list[Ticket] = field(default_factory=list)
    leases: set[Ticket] = field(default_factory=set)
    holds: set[Ticket] = field(default_factory=set)
    at_work: int = 0
    wanted: bool = False
    cause: Reason = Reason.REQUEST
    leaves_for: Reason = Reason.UNLOAD
    retry_at: float | None = None
    ready_at: float = -math.inf
    used_at: float | None = None
    order: UnloadOrder | None = None
    wished_at: datetime | None = None
    on_cpu: bool = False
    has_failed: bool = False
    failure: str | None = None
    failure_passes: bool = False
    need_bytes: int | None = None
    is_weighed: bool = False
    before_bytes: int | None = None
    loaded_bytes: int | None = None
    after_bytes: int | None = None
    load_s: float | None = None
    choice: PlacementChoice | None = None
    shown: ModelState = ModelState.UNLOADED
    shown_since: float = 0.0
    shown_reason: Reason = Reason.UNLOAD

    @property
    def state(self) -> ModelState:
        """What others are told."""
        match self.phase:
            case Phase.FREEING:
                return ModelState.DRAINING
            case Phase.READY | Phase.PARKING | Phase.LOADING if self.drain:
                return ModelState.DRAINING
            case Phase.READY | Phase.PARKING:
                return ModelState.BUSY if self.in_use else ModelState.READY
            case Phase.WEIGHING | Phase.LOADING:
                return ModelState.LOADING
        if self.retry_at is not None:
            return ModelState.WAITING_FOR_GPU
        if self.is_wished:
            return ModelState.LOADING
        if self.phase is Phase.PARKED:
            return ModelState.PARKED
        return ModelState.FAILED if self.has_failed else ModelState.UNLOADED

    @property
    def in_use(self) -> bool:
        return bool(self.leases) or self.at_work > 0

    @property
    def is_pinned(self) -> bool:
        return bool(self.holds)

    @property
    def is_wished(self) -> bool:
        return bool(self.waiters) or self.wanted

    @property
    def is_resident(self) -> bool:
        """It takes one of the replica's places."""
        return self.phase not in (Phase.ABSENT, Phase.WEIGHING)

    @property
    def is_leaving(self) -> bool:
        """Its place is free soon, without anything more being decided."""
        return self.phase is Phase.FREEING or (self.is_resident and self.drain is Drain.AFTER_CHUNKS)

    @property
    def is_idle(self) -> bool:
        """It can be freed at once, and nobody misses it."""
        is_at_rest = self.phase in (Phase.READY, Phase.PARKED) and not self.is_wished
        return is_at_rest and self.drain is None and not self.in_use

    @property
    def device_bytes(self) -> int:
        """GPU memory that it takes, or is about to."""
        if self.on_cpu or not self.is_resident or self.phase is Phase.PARKED:
            return 0
        return self.need_bytes or 0

    @property
    def idle_since(self) -> float:
        """When it was last used; if not since it was loaded, when that was."""
        return max(self.ready_at, self.used_at if self.used_at is not None else -math.inf)

    @property
    def asked_since(self) -> float:
        """Since when the one has waited who waits longest; chunks before those who only keep it."""
        chunks = [ticket.since for ticket in self.waiters if not ticket.holds]
        return min(chunks or [ticket.since for ticket in self.waiters], default=math.inf)

    @property
    def has_chunks_waiting(self) -> bool:
        return any(not ticket.holds for ticket in self.waiters)

    def admits(self, ticket: Ticket) -> bool:
        """Whether somebody gets it now."""
        if self.phase is not Phase.READY or self.drain is Drain.AFTER_CHUNKS:
            return False
        return self.drain is None or self.is_late(ticket)

    def is_late(self, ticket: Ticket) -> bool:
        """Whether it began before the last order to unload this."""
        return self.order is not None and ticket.began_at < self.order.at

    @property
    def is_wished_anew(self) -> bool:
        """Whether something for which it was loaded, or is to be, began after the last order to unload it."""
        return self.order is None or (self.wished_at is not None and self.wished_at >= self.order.at)

    def wish(self, ticket: Ticket) -> None:
        """Somebody waits for it."""
        self.waiters.append(ticket)
        if self.phase is not Phase.READY:  # the load that is there was for others
            self.wished_at = max(self.wished_at or ticket.began_at, ticket.began_at)

    def forget_load(self) -> None:
        """Its weights are gone."""
        self.phase, self.drain, self.on_cpu = Phase.ABSENT, None, False
        self.wished_at = max((ticket.began_at for ticket in self.waiters), default=self.wished_at)
