"""The GPU's memory, asked for in a thread of its own, because a driver may never answer."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor, ThreadPoolExecutor

from serve_app.errors import GpuLost
from serve_app.models.protocols import Gpu
from serve_app.models.types import GpuMemory

ANSWER_S = 2.0
"""A driver that is well answers in milliseconds; reports have to go on every few seconds also with one that hangs."""


class Meter:
    """
    Asks one question at a time.

    Args:
        gpu: Who is asked.
        executor: Where; None makes a thread.
        answer_s: How long an answer is waited for, in seconds.
    """

    def __init__(self, gpu: Gpu, executor: Executor | None = None, *, answer_s: float = ANSWER_S) -> None:
        self._gpu = gpu
        self._executor = executor or ThreadPoolExecutor(max_workers=1, thread_name_prefix="gpu")
        self._answer_s = answer_s
        self._asked: asyncio.Future[GpuMemory] | None = None
        self._last: GpuMemory | None = None

    async def memory(self) -> GpuMemory:
        """
        Raises:
            GpuLost: It does not answer, or not in time.
        """
        try:
            return await self._ask()
        except TimeoutError:
            raise GpuLost(f"The GPU's driver has not answered for {self._answer_s:g} s.") from None

    async def memory_if_known(self) -> GpuMemory | None:
        """What was known last while the driver hangs; None if it says that the GPU is lost."""
        try:
            return await self._ask()
        except TimeoutError:
            return self._last
        except GpuLost:
            return None

    def close(self) -> None:
        """Ask nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _ask(self) -> GpuMemory:
        async with asyncio.timeout(self._answer_s):
            # Never a second one behind one that hangs; and its answer may be older than the wish to know.
            while self._asked is not None and not self._asked.done():
                await asyncio.wait({self._asked})
            self._asked = asyncio.get_running_loop().run_in_executor(self._executor, self._gpu.memory)
            self._last = await asyncio.shield(self._asked)
            return self._last
