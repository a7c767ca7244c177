"""The machine that a bench runs on, in words that say nothing of whose it is."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import ctranslate2
import psutil

from benchmarks.results import Machine
from serve_app.engine.gpu import open_gpu

PACKAGES = ("rayscribe", "faster-whisper", "ctranslate2", "ray", "av", "onnxruntime", "numpy")


def this_machine() -> Machine:
    return Machine(
        cores=cores(),
        cpu=_cpu(),
        memory_gb=round(psutil.virtual_memory().total / 1e9),
        python=platform.python_version(),
        packages={name: version(name) for name in PACKAGES},
        gpu=_gpu(),
    )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _gpu() -> str:
    gpu = open_gpu("cuda") if ctranslate2.get_cuda_device_count() else None
    facts = gpu.facts() if gpu else None
    return f"{facts.name} (driver {facts.driver})" if facts else ""


def _cpu() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.machine()
