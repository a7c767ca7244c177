"""Asks the GPU once for each line that comes; a process of its own, because the linker reads LD_LIBRARY_PATH at its start."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from serve_app.engine.gpu import NvmlGpu, open_gpu
from serve_app.errors import GpuLost


def answer(gpu: NvmlGpu, question: str) -> dict[str, Any]:
    try:
        return asdict(gpu.facts() if question == "facts" else gpu.memory())
    except GpuLost as error:
        return {"lost": error.message}


def main() -> None:
    gpu = open_gpu("cuda")
    for line in sys.stdin:
        print(json.dumps(answer(gpu, line.strip()) if gpu else None), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
