"""A replica's world without threads: does what the machine decides when a test says so, and complains about what must never be."""

from __future__ import annotations

from datetime import datetime, timedelta

from serve_app.engine.resident import (
    Action,
    AskMemory,
    Free,
    Grant,
    Load,
    Park,
    Refuse,
    Ticket,
    Weigh,
)
from serve_app.engine.residents import Residents
from serve_app.errors import GpuLost, ModelLoadFailed, RayscribeError
from serve_app.models.types import ModelState, UnloadOrder
from serve_app.settings.lifecycle import LifecycleSettings
from serve_app.testing.clock import EPOCH
from serve_app.testing.gpu import GIB, FakeGpu

NEEDS = {"a": 3 * GIB, "b": 3 * GIB, "c": 5 * GIB, "giant": 20 * GIB}


class World:
    """
    A GPU, models, and callers.

    Attributes:
        pending: What was begun and has not ended, by model.
        newest: When the newest began that ever asked, by model.
        loaded: Models whose weights are on the device; those of `on_cpu` take nothing of it.
    """

    def __init__(self, settings: LifecycleSettings, *, on_gpu: bool = True) -> None:
        self.settings = settings
        self._on_gpu = on_gpu
        self.gpu = FakeGpu()
        self.now = 1000.0
        self._instants = 0
        self.machine = Residents(settings, on_gpu=on_gpu)
        self.pending: dict[str, Load | Park | Free | Weigh] = {}
        self.is_asked = False
        self.loaded: set[str] = set()
        self.parked: set[str] = set()
        self.on_cpu: set[str] = set()
        self.waiting: list[Ticket] = []
        self.holding: list[Ticket] = []
        self.using: list[Ticket] = []
        self.at_work: list[str] = []
        self.refused: list[tuple[Ticket, RayscribeError]] = []
        self.newest: dict[str, datetime] = {}

    def instant(self, ago_s: float = 0.0) -> datetime:
        """Now or before, and never the same twice."""
        self._instants += 1
        return EPOCH + timedelta(seconds=self.now - ago_s, microseconds=self._instants)

    def request(self, model_id: str, began_at: datetime | None = None) -> Ticket:
        return self._asked(self.machine.ask(model_id, self.now, began_at or self.instant()))

    def hold(self, model_id: str, asked_at: datetime | None = None) -> Ticket:
        return self._asked(self.machine.ask(model_id, self.now, asked_at or self.instant(), holds=True))

    def leave(self, ticket: Ticket) -> None:
        for places in (self.waiting, self.using, self.holding):
            if ticket in places:
                places.remove(ticket)
        self.machine.leave(ticket, self.now)
        self.turn()

    def begin_work(self, model_id: str) -> None:
        self.at_work.append(model_id)
        self.machine.begin_work(model_id)

    def end_work(self, model_id: str) -> None:
        self.at_work.remove(model_id)
        self.machine.end_work(model_id, self.now)
        self.turn()

    def run_out_of_memory(self, ticket: Ticket) -> None:
        self.using.remove(ticket)
        self.machine.ran_out_of_memory(ticket, "the batch found no room", self.now)
        self.turn()

    def unload(self, model_id: str, *, force: bool = False, at: datetime | None = None) -> None:
        self.machine.unload(UnloadOrder(1, model_id, at or self.instant(), force), self.now)
        self.turn()

    def advance(self, seconds: float) -> None:
        """Let time pass, with a turn at the instants that the machine asked for, and at no other."""
        end = self.now + seconds
        while (due := self.machine.due(self.now)) is not None and due <= end:
            self.now = due
            self.turn()
        self.now = end

    def answer(self) -> None:
        """Tell how much memory there is."""
        self.is_asked = False
        try:
            memory = self.gpu.memory()
        except GpuLost as lost:
            self.machine.gpu_lost(lost.message, self.now)
            self.turn()
        else:
            self._carry_out(self.machine.decide(self.now, memory))

    def finish(self, model_id: str, *, fails: bool = False) -> None:
        """End what was begun with a model."""
        match self.pending.pop(model_id):
            case _ if fails:
                self.parked.discard(model_id)
                self.on_cpu.discard(model_id)
                self.machine.failed(model_id, ModelLoadFailed("damaged"), self.now)
            case Weigh():
                self.machine.weighed(model_id, NEEDS[model_id], self.now)
            case Load() as load:
                self._finish_load(load)
            case Park():
                self._take_off(model_id)
                self.parked.add(model_id)
                self.machine.parked(model_id, self.now)
            case Free():
                self._take_off(model_id)
                self.parked.discard(model_id)
                self.machine.unloaded(model_id, self.now)
        self.turn()

    def finish_all(self) -> None:
        """End all that was begun, and all that is begun thereupon."""
        for _ in range(100):
            if self.is_asked:
                self.answer()
            elif self.pending:
                self.finish(next(iter(self.pending)))
            else:
                return
        raise AssertionError(f"The machine does not come to rest: {self.pending}")

    def state(self, model_id: str) -> ModelState:
        return next((resident.state for resident in self.machine if resident.model_id == model_id), ModelState.UNLOADED)

    def history(self, model_id: str) -> list[tuple[str, str]]:
        """Its states and their reasons since this was last asked."""
        return [(c.state.value, c.reason.value) for c in self.machine.take_changes() if c.model_id == model_id]

    def turn(self) -> None:
        self._carry_out(self.machine.decide(self.now))

    def _asked(self, ticket: Ticket) -> Ticket:
        self.newest[ticket.model_id] = max(self.newest.get(ticket.model_id, ticket.began_at), ticket.began_at)
        self.waiting.append(ticket)
        self.turn()
        return ticket

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case AskMemory():
                    assert not self.is_asked, "two questions at once"
                    self.is_asked = True
                case Grant(ticket):
                    assert ticket.model_id in self.loaded
                    assert ticket.model_id not in self.pending
                    self.waiting.remove(ticket)
                    (self.holding if ticket.holds else self.using).append(ticket)
                case Refuse(ticket, error):
                    (self.waiting if ticket in self.waiting else self.using).remove(ticket)
                    self.refused.append((ticket, error))
                case Load() | Park() | Free() | Weigh():
                    self._begin(action)

    def _begin(self, action: Load | Park | Free | Weigh) -> None:
        model_id = action.model_id
        assert model_id not in self.pending, "one thing at a time"
        if isinstance(action, Load):
            assert model_id not in self.loaded, "a second copy"
            assert action.on_cpu or action.parked == (model_id in self.parked)
            self.parked.discard(model_id)
            if action.on_cpu:
                self.on_cpu.add(model_id)
        if isinstance(action, Free | Park):
            assert model_id in self.loaded | self.parked
            assert all(ticket.model_id != model_id for ticket in self.using), "freed in use"
            assert model_id not in self.at_work, "freed while a batch runs"
        self.pending[model_id] = action

    def _finish_load(self, load: Load) -> None:
        need = self._need(load.model_id)
        if need > self.gpu.total_bytes - self.gpu.others_bytes - self.gpu.ours_bytes:
            self.machine.found_no_room(load.model_id, "out of memory", self.now)
            return
        self.loaded.add(load.model_id)
        self.gpu.ours_bytes += need
        self.machine.loaded(load.model_id, self.now)

    def _take_off(self, model_id: str) -> None:
        if model_id in self.loaded:
            self.loaded.remove(model_id)
            self.gpu.ours_bytes -= self._need(model_id)
            self.on_cpu.discard(model_id)

    def _need(self, model_id: str) -> int:
        return NEEDS[model_id] if self._on_gpu and model_id not in self.on_cpu else 0
