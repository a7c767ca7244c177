"""Which model is loaded, parked and freed when, and who gets it."""

from __future__ import annotations

import pytest

from serve_app.engine.resident import Free, Load, Park, Weigh
from serve_app.errors import ModelLoadFailed, ModelNotReady
from serve_app.models.types import ModelState
from serve_app.settings.lifecycle import LifecycleSettings
from serve_app.testing.gpu import GIB

from .world import World


def world(*, on_gpu: bool = True, **rules: object) -> World:
    return World(LifecycleSettings(**rules), on_gpu=on_gpu)  # type: ignore[arg-type]


def loaded(model_ids: str, **rules: object) -> World:
    """A world where models were used once."""
    it = world(**rules)
    for model_id in model_ids:
        ticket = it.request(model_id)
        it.finish_all()
        it.leave(ticket)
        it.advance(0.5)
    it.machine.take_changes()
    return it


def test_callers_who_want_the_same_model_share_one_load() -> None:
    it = world()
    tickets = [it.request("a") for _ in range(3)]

    it.finish_all()

    assert it.using == tickets
    assert it.history("a") == [("loading", "request"), ("ready", "loaded")]


def test_a_caller_who_goes_away_does_not_stop_the_load() -> None:
    it = world()
    gone = it.request("a")

    it.leave(gone)
    it.finish_all()

    assert it.state("a") == ModelState.READY


def test_an_idle_model_is_parked_and_then_freed() -> None:
    it = loaded("a", park_after_s=60, unload_after_s=300)

    it.advance(60)
    assert it.pending == {"a": Park("a")}
    it.finish_all()
    assert (it.state("a"), it.gpu.ours_bytes) == (ModelState.PARKED, 0)
    it.advance(239)
    assert it.pending == {}
    it.advance(1)
    it.finish_all()

    assert it.history("a") == [("parked", "idle"), ("draining", "idle"), ("unloaded", "idle")]


def test_use_starts_idleness_anew_and_brings_a_parked_model_back_from_host_memory() -> None:
    it = loaded("a", park_after_s=60, unload_after_s=300)
    it.advance(60)
    it.finish_all()

    ticket = it.request("a")
    it.answer()
    assert it.pending == {"a": Load("a", parked=True, on_cpu=False)}
    it.finish_all()
    it.advance(1000)
    assert it.using == [ticket]
    it.leave(ticket)
    it.advance(59)

    assert it.state("a") == ModelState.READY


def test_a_cpu_does_not_park() -> None:
    it = loaded("a", on_gpu=False, park_after_s=60, unload_after_s=300)

    it.advance(299)
    assert it.state("a") == ModelState.READY
    it.advance(1)

    assert it.pending == {"a": Free("a")}


def test_a_model_that_is_held_is_not_idle() -> None:
    it = loaded("a", unload_after_s=300)
    hold = it.hold("a")

    it.advance(1000)
    assert it.state("a") == ModelState.READY
    it.leave(hold)

    assert it.pending == {"a": Free("a")}


def test_the_least_recently_used_makes_room_and_one_that_is_held_last() -> None:
    it = loaded("ab", on_gpu=False, max_models=2, unload_after_s=-1)
    it.hold("a")

    it.request("c")
    it.finish("c")

    assert it.pending == {"b": Free("b")}


def test_who_only_holds_a_model_takes_no_place_that_another_holds() -> None:
    it = loaded("ab", on_gpu=False, max_models=2, unload_after_s=-1)
    holds = [it.hold("a"), it.hold("b")]
    third = it.hold("c")
    it.finish_all()
    assert (it.loaded, it.waiting) == ({"a", "b"}, [third])

    it.leave(holds[0])
    it.finish_all()

    assert (it.loaded, it.waiting) == ({"b", "c"}, [])


def test_a_hold_that_finds_no_memory_leaves_the_models_that_others_hold() -> None:
    it = loaded("a", max_models=3, unload_after_s=-1)
    it.hold("a")
    it.hold("b")
    it.finish("b")
    it.answer()
    it.gpu.others_bytes = 4 * GIB  # after there was room for it

    it.finish("b")

    assert it.state("b") == ModelState.WAITING_FOR_GPU
    assert (it.loaded, it.pending) == ({"a"}, {})


def test_a_hold_that_waits_for_another_is_not_in_the_way_of_a_smaller_one() -> None:
    it = loaded("a", max_models=3, unload_after_s=-1)
    it.hold("a")
    waiting = it.hold("c")
    it.hold("b")

    it.finish_all()

    assert (it.loaded, it.waiting) == ({"a", "b"}, [waiting])


def test_a_model_is_weighed_anew_for_each_load_because_memory_may_be_another() -> None:
    it = loaded("a")
    it.unload("a")
    it.finish_all()

    it.request("a")

    assert it.pending == {"a": Weigh("a")}


@pytest.mark.parametrize(
    ("rules", "goes"), [({"unload_after_s": 0}, Free("a")), ({"park_after_s": 0, "unload_after_s": 300}, Park("a"))]
)
def test_no_model_goes_between_the_chunks_of_a_transcription(rules: dict[str, object], goes: Free | Park) -> None:
    it = world(**rules)
    for _ in range(2):
        ticket = it.request("a")
        it.finish_all()
        it.leave(ticket)
        it.advance(0.9)
        assert it.pending == {}

    it.advance(0.1)

    assert it.pending == {"a": goes}


def test_nothing_is_freed_in_vain() -> None:
    it = loaded("a", unload_after_s=-1)
    it.gpu.others_bytes = 4 * GIB

    it.request("c")
    it.finish("c")
    it.answer()

    assert it.pending == {}
    assert it.state("c") == ModelState.WAITING_FOR_GPU


def test_two_models_load_at_once_if_memory_allows() -> None:
    it = world()
    it.gpu.total_bytes = 12 * GIB
    for model_id in "ab":
        it.request(model_id)
        it.finish(model_id)

    it.answer()

    assert set(it.pending) == {"a", "b"}


def test_two_models_that_do_not_fit_together_load_in_turn() -> None:
    it = world(vram_budget_bytes=5 * GIB)
    for model_id in "ab":
        it.request(model_id)
        it.finish(model_id)

    it.answer()

    assert set(it.pending) == {"a"}


def test_too_little_memory_is_asked_for_again_without_end() -> None:
    it = world(gpu_poll_interval_s=30)
    it.gpu.others_bytes = 7 * GIB
    it.request("a")
    it.finish_all()
    assert it.state("a") == ModelState.WAITING_FOR_GPU

    for _ in range(100):
        it.advance(30)
        it.answer()
    it.gpu.others_bytes = 0
    it.advance(30)
    it.finish_all()

    assert len(it.using) == 1
    assert it.history("a") == [
        ("loading", "request"),
        ("waiting_for_gpu", "out_of_memory"),
        ("loading", "request"),
        ("ready", "loaded"),
    ]


def test_a_lost_gpu_is_waited_for() -> None:
    it = world(gpu_poll_interval_s=30)
    it.gpu.lost = True
    it.request("a")
    it.finish_all()

    assert it.state("a") == ModelState.WAITING_FOR_GPU
    it.gpu.lost = False
    it.advance(30)
    it.finish_all()
    assert it.state("a") == ModelState.BUSY


def test_memory_that_changed_while_it_was_asked_for_is_asked_for_again() -> None:
    it = loaded("a", unload_after_s=-1)
    it.unload("a")
    it.request("c")
    it.finish("c")
    assert it.is_asked

    it.finish("a")
    it.answer()

    assert it.is_asked
    assert it.pending == {}


@pytest.mark.parametrize(
    ("budget", "says"), [(0, "the GPU has 8,192 MiB"), (4 * GIB, "vram_budget_bytes allows 4,096 MiB")]
)
def test_a_model_that_can_never_fit_has_failed(budget: int, says: str) -> None:
    it = world(vram_budget_bytes=budget)

    it.request("giant")
    it.finish_all()

    [(_, error)] = it.refused
    assert isinstance(error, ModelLoadFailed)
    assert says in error.message
    assert it.state("giant") == ModelState.FAILED


def test_a_load_that_runs_out_of_memory_has_an_idle_model_make_room() -> None:
    it = loaded("b", unload_after_s=-1)
    it.request("a")
    it.finish("a")
    it.answer()
    it.gpu.others_bytes = 3 * GIB  # taken while it loads

    it.finish_all()

    assert it.loaded == {"a"}


def test_the_next_request_tries_a_failed_load_again() -> None:
    it = world()
    it.request("a")
    it.finish("a")
    it.answer()
    it.finish("a", fails=True)
    assert [error.message for _, error in it.refused] == ["damaged"]
    assert it.state("a") == ModelState.FAILED

    it.request("a")
    it.finish_all()

    assert it.state("a") == ModelState.BUSY


def test_a_batch_that_finds_no_memory_frees_the_model_until_there_is_more() -> None:
    it = world(gpu_poll_interval_s=30)
    first, other = it.request("a"), it.request("a")
    it.finish_all()

    it.run_out_of_memory(first)
    again = it.request("a")
    it.finish_all()
    assert (it.using, it.waiting) == ([other], [again])
    it.leave(other)
    it.finish_all()
    assert it.state("a") == ModelState.WAITING_FOR_GPU
    it.advance(30)
    it.finish_all()

    assert it.using == [again]


def test_what_finds_no_room_on_the_gpu_goes_to_the_cpu_if_it_may() -> None:
    it = world(cpu_fallback=True)
    it.gpu.others_bytes = 7 * GIB
    it.request("a")

    it.finish_all()

    assert it.on_cpu == {"a"}
    assert it.state("a") == ModelState.BUSY


def test_an_unused_model_is_unloaded_at_once() -> None:
    it = loaded("a")

    it.unload("a")

    assert it.pending == {"a": Free("a")}
    it.finish_all()
    assert it.history("a") == [("draining", "unload"), ("unloaded", "unload")]


def test_transcriptions_that_had_begun_before_an_unload_go_on_and_new_ones_load_the_model_again() -> None:
    it = world()
    began_at = it.instant()
    first = it.request("a", began_at)
    it.finish_all()

    it.unload("a")
    new = it.request("a")
    second = it.request("a", began_at)
    assert it.using == [first, second]
    it.leave(first)
    it.leave(second)
    it.advance(0.9)
    third = it.request("a", began_at)
    it.leave(third)
    it.advance(0.9)
    assert (it.pending, it.waiting) == ({}, [new])
    it.advance(0.1)
    assert it.pending == {"a": Free("a")}
    it.finish_all()

    assert it.using == [new]
    states = [state for state, _ in it.history("a")]
    assert states == ["loading", "ready", "draining", "unloaded", "loading", "ready"]


def test_force_takes_a_model_from_all_who_use_it_and_frees_it_when_the_batch_ends() -> None:
    it = world()
    it.request("a")
    it.finish_all()
    it.begin_work("a")

    it.unload("a", force=True)
    assert [type(error) for _, error in it.refused] == [ModelNotReady]
    assert it.pending == {}
    it.end_work("a")

    assert it.pending == {"a": Free("a")}


def test_an_unload_while_loading_serves_who_waited_and_frees_the_model_then() -> None:
    it = world()
    waited = it.request("a")
    it.finish("a")
    it.answer()

    it.unload("a")
    assert it.state("a") == ModelState.DRAINING
    it.finish_all()
    assert it.using == [waited]
    it.leave(waited)
    it.advance(1)
    it.finish_all()

    assert [state for state, _ in it.history("a")] == ["loading", "draining", "unloaded"]


def test_an_unload_by_force_while_loading_sends_away_who_waits_and_frees_what_was_loaded() -> None:
    it = world()
    it.request("a")
    it.finish("a")
    it.answer()

    it.unload("a", force=True)
    assert it.state("a") == ModelState.DRAINING
    it.finish("a")

    assert it.pending == {"a": Free("a")}
    assert [type(error) for _, error in it.refused] == [ModelNotReady]


def test_a_chunk_of_before_an_unload_that_comes_where_the_model_never_was_leaves_none_behind() -> None:
    it = world(unload_after_s=-1)
    began_at = it.instant()
    it.unload("a")

    for _ in range(2):
        chunk = it.request("a", began_at)
        it.finish_all()
        assert it.using == [chunk]
        it.leave(chunk)
    it.advance(1)
    it.finish_all()

    assert it.history("a") == [
        ("loading", "request"),
        ("draining", "unload"),
        ("unloaded", "unload"),
    ]


def test_a_chunk_of_before_an_unload_by_force_loads_nothing() -> None:
    it = world()
    began_at = it.instant()
    it.unload("a", force=True)

    it.request("a", began_at)

    assert [type(error) for _, error in it.refused] == [ModelNotReady]
    assert it.history("a") == []


def test_a_chunk_of_after_an_unload_has_the_model_stay() -> None:
    it = world(unload_after_s=-1)
    began_at = it.instant()
    it.unload("a")
    it.request("a", began_at)

    it.leave(it.request("a"))
    it.finish_all()
    for ticket in list(it.using):
        it.leave(ticket)
    it.advance(60)

    assert it.state("a") == ModelState.READY


def test_a_hold_of_before_an_unload_comes_too_late() -> None:
    it = world()
    asked_at = it.instant()
    it.unload("a")

    it.hold("a", asked_at)

    assert [type(error) for _, error in it.refused] == [ModelNotReady]
    assert it.pending == {}


@pytest.mark.parametrize("force", [False, True])
def test_an_order_that_comes_after_what_was_asked_for_later_does_it_no_harm(force: bool) -> None:
    it = world()
    ordered_at = it.instant()
    user, hold = it.request("a"), it.hold("a")
    it.finish_all()

    it.unload("a", force=force, at=ordered_at)

    assert (it.using, it.holding, it.refused) == ([user], [hold], [])
    assert it.state("a") == ModelState.BUSY


def test_an_order_that_comes_late_takes_the_model_from_what_had_begun_before_it_alone() -> None:
    it = world()
    old = it.request("a")
    it.finish_all()
    ordered_at = it.instant()
    new = it.request("a")

    it.unload("a", force=True, at=ordered_at)

    assert [ticket for ticket, _ in it.refused] == [old]
    assert it.using == [new]


def test_an_unload_ends_what_holds_a_model_that_loads() -> None:
    it = world()
    it.hold("a")
    it.finish("a")
    it.answer()

    it.unload("a")
    it.finish_all()

    assert [type(error) for _, error in it.refused] == [ModelNotReady]
    assert it.state("a") == ModelState.UNLOADED


def test_a_model_that_waits_for_the_gpu_is_loaded_though_all_who_asked_for_it_have_gone() -> None:
    it = world(gpu_poll_interval_s=30)
    it.gpu.others_bytes = 7 * GIB
    gone = it.request("a")
    it.finish_all()
    it.leave(gone)
    it.gpu.others_bytes = 0

    it.advance(30)
    it.finish_all()

    assert it.state("a") == ModelState.READY


def test_an_unload_while_waiting_for_the_gpu_stops_the_polling() -> None:
    it = world()
    it.gpu.others_bytes = 7 * GIB
    it.request("a")
    it.finish_all()

    it.unload("a")

    assert [type(error) for _, error in it.refused] == [ModelNotReady]
    assert it.machine.due(it.now) is None
    assert it.history("a")[-1] == ("unloaded", "unload")


def test_a_chunk_has_a_model_in_use_drained_for_it_after_a_while() -> None:
    it = world(max_models=1, switch_after_s=5)
    used = it.request("a")
    it.finish_all()

    wanting = it.request("b")
    it.finish_all()
    it.advance(4.9)
    it.finish_all()
    still = it.request("a")
    it.finish_all()
    assert it.using == [used, still]
    it.advance(0.1)
    it.finish_all()
    late = it.request("a")
    assert (it.using, it.waiting) == ([used, still], [wanting, late])
    it.leave(used)
    it.leave(still)
    it.finish_all()

    assert (it.using, it.waiting) == ([wanting], [late])


def test_who_only_holds_a_model_has_none_in_use_drained_and_is_in_nobodys_way() -> None:
    it = world(max_models=1, switch_after_s=5)
    used = it.request("a")
    it.finish_all()
    hold = it.hold("b")
    it.finish_all()
    it.advance(60)
    it.finish_all()
    assert it.using == [used]

    wanting = it.request("c")
    it.finish_all()
    it.advance(5)
    it.finish_all()
    it.leave(used)
    it.finish_all()

    assert (it.using, it.waiting) == ([wanting], [hold])


def test_two_busy_models_with_one_place_take_turns_and_neither_starves() -> None:
    it = world(max_models=1, switch_after_s=5)
    longest = {"a": 0.0, "b": 0.0}
    turns: list[str] = []
    for model_id in "aabb":
        it.request(model_id)
    for _ in range(600):
        it.advance(0.5)
        it.finish_all()
        for ticket in list(it.using):
            turns += [ticket.model_id] if turns[-1:] != [ticket.model_id] else []
            longest[ticket.model_id] = max(longest[ticket.model_id], it.now - ticket.since)
            it.request(ticket.model_id)
            it.leave(ticket)

    assert 40 < len(turns) < 70  # in 300 seconds, one each 5 seconds
    assert max(longest.values()) < 12


def test_a_small_model_does_not_take_the_room_that_a_large_one_waits_for() -> None:
    it = world(max_models=3, switch_after_s=5)
    used = it.request("a")
    it.finish_all()
    large = it.request("c")
    it.finish_all()

    small = it.request("b")
    it.finish_all()
    assert it.waiting == [large, small]
    it.advance(5)
    it.finish_all()
    it.leave(used)
    it.finish_all()

    assert it.using == [large]
