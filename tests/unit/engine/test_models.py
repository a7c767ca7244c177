"""What a model in memory is."""

from __future__ import annotations

import pytest

from serve_app.engine.models import is_device_fault, is_out_of_memory


def test_memory_errors_are_told_by_their_words() -> None:
    assert is_out_of_memory(RuntimeError("CUDA failed with error out of memory"))
    assert is_out_of_memory(RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("invalid argument"))


@pytest.mark.parametrize(
    "words",
    [
        "CUDA failed with error an illegal memory access was encountered",
        "parallel_for failed: cudaErrorLaunchFailure: unspecified launch failure",
        "cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED",
        "cuDNN failed with status CUDNN_STATUS_INTERNAL_ERROR",
    ],
)
def test_what_only_a_new_process_mends_is_a_fault_of_the_device(words: str) -> None:
    assert is_device_fault(RuntimeError(words))


@pytest.mark.parametrize(
    "words",
    [
        "CUDA failed with error out of memory",
        "cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED",
        "cuBLAS failed with status CUBLAS_STATUS_NOT_SUPPORTED",
        "CUDA failed with error CUDA driver version is insufficient for CUDA runtime version",
        "CUDA failed with error no kernel image is available for execution on the device",
        "invalid argument",
    ],
)
def test_what_a_new_process_would_meet_too_is_none(words: str) -> None:
    assert not is_device_fault(RuntimeError(words))
