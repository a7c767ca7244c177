"""All models over all replicas, as they are known now, and the changes of that, numbered."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from dataclasses import replace

from serve_app.errors import PASSING, ModelNotFound, RayscribeError
from serve_app.lifecycle.events import ModelEvents
from serve_app.lifecycle.expected import Expected
from serve_app.lifecycle.fleet import Fleet, Told
from serve_app.lifecycle.overview import NOT_BEGUN, Facts, Past, Wish, overview
from serve_app.lifecycle.pin_file import KeptPin
from serve_app.lifecycle.pins import Pin
from serve_app.lifecycle.protocols import Clock
from serve_app.models.types import (
    FOREVER,
    SERVING,
    ClusterModels,
    ModelEvent,
    ModelOverview,
    ModelState,
    Reason,
    ReplicaReport,
)
from serve_app.settings.lifecycle import LifecycleSettings

READY = frozenset({ModelState.READY, ModelState.BUSY})


class Picture:
    """
    What replicas tell, and what is wished for besides.

    Args:
        catalogue: Ids of all models; looked at anew each time.
        monotonic_s: Measures for how long replicas are silent.
        slice_s: How long a call of `events` lasts.

    Attributes:
        wishes: Of models that a replica is being asked for, or held in one.
        pins: Of models that were asked for until further notice.
    """

    def __init__(
        self,
        catalogue: Collection[str],
        settings: LifecycleSettings,
        clock: Clock,
        *,
        monotonic_s: Callable[[], float],
        slice_s: float,
    ) -> None:
        self._catalogue = catalogue
        self._settings = settings
        self._clock = clock
        started_at = clock()
        self.wishes: dict[str, Wish] = {}
        self.pins: dict[str, Pin] = {}
        self._expected = Expected()
        self._past: defaultdict[str, Past] = defaultdict(lambda: Past(started_at))
        self._fleet = Fleet(monotonic_s)
        self._events = ModelEvents(started_at, self._overviews, slice_s=slice_s)

    def change_rules(self, settings: LifecycleSettings) -> None:
        """From now on, also for pins that were set before."""
        self._settings = settings

    def check(self, model_id: str) -> None:
        """
        Raises:
            ModelNotFound: The catalogue has no such model.
        """
        if model_id not in self._catalogue:
            known = ", ".join(sorted(self._catalogue))
            raise ModelNotFound(f"There is no model {model_id}; the catalogue has {known}.", param="model")

    def status(self) -> ClusterModels:
        return ClusterModels(self._overviews(), self._fleet.gpus, self._clock())

    def overview(self, model_id: str) -> ModelOverview:
        facts = Facts(
            model_id,
            self._fleet.of(model_id),
            bool(self._fleet),
            self._past[model_id],
            self.wishes.get(model_id) or self._expected.wish(model_id),
            self.pins.get(model_id),
        )
        return overview(
            facts,
            self._clock(),
            unloads_after_s=self._settings.unloads_after_s,
            gpu_poll_interval_s=self._settings.gpu_poll_interval_s,
        )

    def pinned_for_s(self, model_id: str) -> float:
        until = self.overview(model_id).pinned_until
        return (until - self._clock()).total_seconds() if until else 0.0

    def kept_pins(self) -> dict[str, KeptPin]:
        """The pins as the next Coordinator is to know them."""
        until = {model_id: self.overview(model_id).pinned_until or FOREVER for model_id in self.pins}
        return {model_id: KeptPin.of(pin.ttl_s, until[model_id]) for model_id, pin in self.pins.items()}

    def events(self, after_seq: int | None) -> AsyncGenerator[ModelEvent, None]:
        """As `Models.events`."""
        return self._events.follow(after_seq)

    def fold(self, report: ReplicaReport) -> Sequence[Told]:
        """Take a report in, and tell subscribers of it; gives what is new."""
        for model in report.models:
            self._past[model.model_id] = self._past[model.model_id].with_report(model)
            self._expected.end(model.model_id)
        return self._tell(self._fleet.fold(report, self._clock()))

    def forget_silent(self) -> Sequence[Told]:
        """Give up replicas that are silent, and expectations that nobody renews; gives what is new of replicas."""
        for model_id in self._expected.over(self._clock()):
            with self.telling(model_id):
                self.expects_no_more(model_id, Reason.IDLE)
        return self._tell(self._fleet.forget_silent(self._clock()))

    def see_ready(self, model_id: str) -> None:
        """The time of a pin begins."""
        pin = self.pins.get(model_id)
        if pin and pin.ready_at is None and self.overview(model_id).state in READY:
            self.pins[model_id] = replace(pin, ready_at=self._clock())

    def expect(self, model_id: str) -> None:
        """Work waits for a model; where a replica is up, that is the one to say so."""
        if model_id in self._expected or not self._fleet:
            with self.telling(model_id):
                self._expected.renew(model_id, self._clock())

    def expects_no_more(self, model_id: str, reason: Reason) -> None:
        if self._expected.end(model_id):
            self.ended(model_id, reason)

    def is_with_others(self, freed: Told) -> bool:
        """Whether another replica has a model, which then has the hold of it, or gets the next."""
        others = (its for its in self._fleet.of(freed.change.model_id) if its.replica_id != freed.replica_id)
        return any(its.model.pinned or its.model.state in SERVING for its in others)

    def wish(self, model_id: str, wish: Wish) -> None:
        """A replica is about to be asked for a model."""
        with self.telling(model_id):
            self._past[model_id] = replace(self._past[model_id], last_error=None, error_passes=False)
            self.wishes[model_id] = wish

    def ended(self, model_id: str, reason: Reason, error: RayscribeError | None = None) -> None:
        """A wish has ended; if no replica began with it, this is how its load ended."""
        if all(its.model.state in NOT_BEGUN for its in self._fleet.of(model_id)):
            self._past[model_id] = replace(
                self._past[model_id],
                since=self._clock(),
                reason=reason,
                last_error=error.message if error else None,
                error_passes=isinstance(error, PASSING),
            )

    @contextlib.contextmanager
    def telling(self, model_id: str) -> Iterator[None]:
        """Tell subscribers when the model as a whole changes, where no replica does."""
        before = self.overview(model_id).state
        yield
        after = self.overview(model_id)
        if after.state is not before:
            self._events.add(self._clock(), model_id, after.state, after.reason, error=after.last_error)

    def _tell(self, news: Sequence[Told]) -> Sequence[Told]:
        for its in news:
            change = its.change
            if change.state is ModelState.UNLOADED:
                past = self._past[change.model_id]
                self._past[change.model_id] = replace(past, since=change.at, reason=change.reason)
            self._events.add(
                change.at, change.model_id, change.state, change.reason, replica_id=its.replica_id, error=change.error
            )
        return news

    def _overviews(self) -> tuple[ModelOverview, ...]:
        return tuple(map(self.overview, self._catalogue))
