from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from serve_app.jobs import leadership
from serve_app.jobs.leadership import Leadership

CALM = 2 * leadership.MOST_UNANSWERED_IDLE  # rounds after which everybody has noticed everything


@dataclass
class Process:
    """A Coordinator, as far as the lead is concerned."""

    cluster: str
    led: bool = False
    epoch: int | None = None  # while it leads
    heard: tuple[int, int] = (-1, -1)
    unanswered: int = 0


@dataclass
class World:
    kept: Leadership = field(default_factory=Leadership)
    processes: list[Process] = field(default_factory=list)
    ready: set[str] = field(default_factory=set)

    def rounds(self, n: int = CALM) -> None:
        for _ in range(n):
            for process in self.processes:
                self._look(process)

    def leaders(self) -> list[str]:
        return [process.cluster for process in self.processes if process.epoch == self.kept.epoch]

    def end(self, process: Process) -> None:
        """In order."""
        if process.epoch == self.kept.epoch:
            self.kept = leadership.resigned(self.kept, for_good=True)
        self.processes.remove(process)

    def _look(self, process: Process) -> None:
        if process.epoch is not None:
            self._answer(process)
            return
        ready = process.cluster in self.ready
        self.kept = leadership.asked(self.kept, process.cluster, ready=ready)
        heard = self.kept.epoch, self.kept.answers
        process.unanswered = process.unanswered + 1 if heard == process.heard else 0
        process.heard = heard
        if leadership.may_take_over(
            self.kept, process.cluster, ready=ready, led=process.led, unanswered=process.unanswered
        ):
            self.kept = leadership.taken_over(self.kept, process.cluster)
            process.led, process.epoch = True, self.kept.epoch

    def _answer(self, process: Process) -> None:
        if process.epoch != self.kept.epoch:
            process.epoch = None
            return
        self.kept = leadership.answered(self.kept)
        if self.kept.wanted:
            self.kept, process.epoch = leadership.resigned(self.kept), None


def upgrade() -> World:
    """An old cluster that leads, and a new one whose Coordinator is up."""
    world = World(processes=[Process("old")], ready={"old"})
    world.rounds()
    world.processes.append(Process("new"))
    world.rounds()
    return world


def test_first_coordinator_leads_at_once() -> None:
    world = World(processes=[Process("only")])
    world.rounds(1)

    assert world.leaders() == ["only"]


def test_new_cluster_waits_until_it_can_do_the_work() -> None:
    world = upgrade()

    assert (world.leaders(), world.kept.epoch) == (["old"], 1)


def test_new_cluster_that_can_do_the_work_is_given_the_lead_once_and_for_good() -> None:
    world = upgrade()
    world.ready.add("new")
    world.rounds(2)
    soon = world.leaders()
    world.processes.append(Process("old"))  # whatever became of the first one
    world.rounds(100)

    assert soon == ["new"]
    assert (world.leaders(), world.kept.epoch) == (["new"], 2)


def test_lead_comes_back_from_a_new_cluster_that_dies_and_stays_when_it_revives() -> None:
    world = upgrade()
    world.ready.add("new")
    world.rounds()
    del world.processes[1]
    world.rounds()
    back = world.leaders()
    world.processes.append(Process("new"))
    world.rounds()

    assert (back, world.leaders()) == (["old"], ["old"])


def test_lead_stays_in_the_new_cluster_while_its_coordinator_is_replaced() -> None:
    world = upgrade()
    world.ready.add("new")
    world.rounds()
    del world.processes[1]
    world.rounds(leadership.MOST_UNANSWERED - 1)
    world.processes.append(Process("new"))
    world.rounds()

    assert (world.leaders(), world.kept.former) == (["new"], ("old",))


def test_new_cluster_that_can_do_the_work_waits_only_shortly_for_one_that_is_gone() -> None:
    world = upgrade()
    del world.processes[0]
    world.ready.add("new")
    world.rounds(leadership.MOST_UNANSWERED_WANTED - 1)
    early = world.leaders()
    world.rounds(1)

    assert (early, world.leaders()) == ([], ["new"])
    assert leadership.MOST_UNANSWERED_WANTED < leadership.MOST_UNANSWERED


def test_cluster_that_was_ended_is_waited_for_by_nobody() -> None:
    world = upgrade()
    world.end(world.processes[0])
    world.rounds(1)

    assert (world.leaders(), world.kept.former) == (["new"], ("old",))


def test_lead_comes_back_at_once_from_a_new_cluster_that_was_ended() -> None:
    world = upgrade()
    world.ready.add("new")
    world.rounds()
    world.end(world.processes[1])
    world.rounds(1)

    assert world.leaders() == ["old"]


def test_lead_comes_back_when_who_wanted_it_dies_before_it_got_it() -> None:
    world = upgrade()
    world.ready.add("new")
    world.processes[0], world.processes[1] = world.processes[1], world.processes[0]
    world._look(world.processes[0])
    del world.processes[0]
    world.rounds()

    assert world.leaders() == ["old"]


def test_replacement_within_a_cluster_leads_at_once_also_before_all_is_ready_again() -> None:
    world = upgrade()
    world.ready.clear()
    world.processes.insert(0, Process("old"))
    world.rounds(1)

    assert (world.processes[0].epoch, world.kept.epoch) == (2, 2)


def test_old_cluster_whose_coordinator_is_away_for_a_while_finds_its_lead_when_the_new_one_cannot_do_the_work() -> None:
    world = upgrade()
    del world.processes[0]
    world.rounds(3 * leadership.MOST_UNANSWERED)
    world.processes.append(Process("old"))
    world.rounds()

    assert world.leaders() == ["old"]


def test_cluster_that_nobody_else_is_left_for_leads_though_it_is_not_ready() -> None:
    world = upgrade()
    del world.processes[0]
    world.rounds()

    assert world.leaders() == ["new"]


def test_many_that_stand_by_take_nothing_from_a_leader_that_answers() -> None:
    world = World(processes=[Process("new") for _ in range(20)])
    world.rounds(1)
    settled = world.kept.epoch
    world.rounds()

    assert world.kept.epoch == settled


STEPS = st.one_of(
    st.tuples(st.just("start"), st.sampled_from("abc")),
    st.tuples(st.just("ready"), st.sampled_from("abc")),
    st.tuples(st.just("die"), st.integers(0, 5)),
    st.tuples(st.just("end"), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.integers(1, 2 * leadership.MOST_UNANSWERED)),
)


@given(st.lists(STEPS, max_size=20))
def test_however_coordinators_come_and_go_one_leads_in_the_end_and_goes_on_to(
    steps: list[tuple[str, str | int]],
) -> None:
    world = World()
    for step in steps:
        match step:
            case "start", str(cluster):
                world.processes.append(Process(cluster))
            case "ready", str(cluster):
                world.ready.add(cluster)
            case "die", int(n) if n < len(world.processes):
                del world.processes[n]
            case "end", int(n) if n < len(world.processes):
                world.end(world.processes[n])
            case "wait", int(n):
                world.rounds(n)
    world.rounds()
    epoch = world.kept.epoch
    world.rounds()

    assert len(world.leaders()) == min(1, len(world.processes))
    assert world.kept.epoch == epoch
