"""
Where somebody speaks: Silero VAD as a stream.

The network looks at windows of 32 ms, each with the last 4 ms before it, and carries a state (h, c) from one to the
next; https://github.com/snakers4/silero-vad. The weights come with faster-whisper.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from faster_whisper.utils import get_assets_path
from numpy.typing import NDArray

from serve_app.pipeline.silero import with_windows_as_rows
from serve_app.transcript.types import SAMPLE_RATE_HZ, Samples

WINDOW = 512  # samples
WINDOW_S = WINDOW / SAMPLE_RATE_HZ
CONTEXT = 64  # samples of the window before

Probabilities = NDArray[np.float32]


class SpeechDetector:
    """Speech probabilities of one channel, fed in blocks of any size."""

    def __init__(self) -> None:
        self._state = {name: np.zeros((1, 1, 128), dtype=np.float32) for name in ("h", "c")}
        self._context = np.zeros(CONTEXT, dtype=np.float32)
        self._rest: Samples = np.zeros(0, dtype=np.int16)

    def feed(self, samples: Samples) -> Probabilities:
        """Shape (n,) of samples to shape (w,): one probability for each window that is now complete."""
        waiting = np.concatenate([self._rest, samples])
        complete = len(waiting) // WINDOW * WINDOW
        self._rest = waiting[complete:]
        return self._analyse(waiting[:complete])

    def finish(self) -> Probabilities:
        """The last window, filled up with silence; empty if there is none."""
        missing = -len(self._rest) % WINDOW
        return self.feed(np.zeros(missing, dtype=np.int16))

    def _analyse(self, samples: Samples) -> Probabilities:
        if len(samples) == 0:
            return np.zeros(0, dtype=np.float32)
        sound = np.concatenate([self._context, samples.astype(np.float32) / 32768])
        self._context = sound[-CONTEXT:]
        windows = np.lib.stride_tricks.sliding_window_view(sound, CONTEXT + WINDOW)[::WINDOW]
        probabilities, self._state["h"], self._state["c"] = _session().run(None, {"input": windows, **self._state})
        return np.asarray(probabilities, dtype=np.float32).reshape(-1)


@cache
def _session() -> Any:
    """One for all streams: it keeps no state between runs, and may run in several threads."""
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1  # windows follow one another: nothing to share out
    options.enable_cpu_mem_arena = False  # blocks differ in size, and an arena would keep memory for each
    options.log_severity_level = 4
    published = (Path(get_assets_path()) / "silero_vad_v6.onnx").read_bytes()
    network = with_windows_as_rows(published)
    return onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"], sess_options=options)
