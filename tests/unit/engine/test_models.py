"""Models are loaded once, when they are needed."""

from __future__ import annotations

import asyncio
import threading

import pytest

from serve_app.engine.models import LoadedModel, ModelShelf, is_out_of_memory
from serve_app.errors import ModelLoadFailed


class Loads:
    """Counts loads, and holds each until `go` is set."""

    def __init__(self, model: LoadedModel) -> None:
        self.asked: list[str] = []
        self.go = threading.Event()
        self._model = model

    def __call__(self, model_id: str) -> LoadedModel:
        self.asked.append(model_id)
        self.go.wait(timeout=10)
        if model_id == "broken" and len(self.asked) == 1:
            raise ModelLoadFailed("no such file")
        return self._model


async def test_callers_who_want_the_same_model_share_one_load(model: LoadedModel) -> None:
    loads = Loads(model)
    shelf = ModelShelf(loads)
    waiting = [asyncio.create_task(shelf.get("a")) for _ in range(3)]
    await asyncio.sleep(0)

    loads.go.set()

    assert await asyncio.gather(*waiting) == [model] * 3
    assert loads.asked == ["a"]
    shelf.close()


async def test_a_caller_who_goes_away_does_not_stop_the_load(model: LoadedModel) -> None:
    loads = Loads(model)
    shelf = ModelShelf(loads)
    gone, stays = asyncio.create_task(shelf.get("a")), asyncio.create_task(shelf.get("a"))
    await asyncio.sleep(0)

    gone.cancel()
    loads.go.set()

    assert await stays is model
    assert loads.asked == ["a"]
    shelf.close()


async def test_a_failed_load_is_tried_again_by_the_next_caller(model: LoadedModel) -> None:
    loads = Loads(model)
    loads.go.set()
    shelf = ModelShelf(loads)
    with pytest.raises(ModelLoadFailed):
        await shelf.get("broken")

    assert await shelf.get("broken") is model
    shelf.close()


def test_memory_errors_are_told_by_their_words() -> None:
    assert is_out_of_memory(RuntimeError("CUDA failed with error out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("invalid argument"))
