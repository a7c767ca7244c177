"""What a model in memory is."""

from __future__ import annotations

from serve_app.engine.models import is_out_of_memory


def test_memory_errors_are_told_by_their_words() -> None:
    assert is_out_of_memory(RuntimeError("CUDA failed with error out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("invalid argument"))
