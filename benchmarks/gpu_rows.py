"""The rows of a GPU: what the rows of the CPU measure, with a multilingual model in float16 on CUDA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import ctranslate2

from benchmarks.base_model import base_model
from benchmarks.failure import NotHere
from benchmarks.reference import Subject
from benchmarks.rows import Finding, Plan, latency, long_file, throughput, word_error_rate

Row = Callable[[Plan], Finding]


def _on_gpu(row: Row) -> Row:
    def measured(plan: Plan) -> Finding:
        if ctranslate2.get_cuda_device_count() == 0:
            raise NotHere("needs a GPU")
        subject = Subject("base", base_model(), device="cuda", compute_type="float16")
        finding = row(replace(plan, subject=subject))
        measures = tuple(replace(measure, what=f"GPU, {measure.what}") for measure in finding.measures)
        return Finding(f"{subject}, both sides. {finding.how}", measures)

    return measured


GPU_ROWS: dict[str, Row] = {
    "gpu-wer": _on_gpu(word_error_rate),
    "gpu-throughput": _on_gpu(throughput),
    "gpu-long-file": _on_gpu(long_file),
    "gpu-latency": _on_gpu(latency),
}
