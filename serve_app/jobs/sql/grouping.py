"""Group commit: those who come while others write are written together after them, and wait for the disk once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from serve_app.jobs.sql.uncut import uncut

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

MOST = 16  # in a group, because other writers wait meanwhile


class Grouped(Generic[Asked, Answer]):
    """Answers questions in groups, in the order in which they came."""

    def __init__(self, answer: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer | Exception]]]) -> None:
        """
        Args:
            answer: Gives an answer, or what to raise, for each of a group; when it raises, all of the group do.
        """
        self._answer = answer
        self._turn = asyncio.Lock()
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []

    async def __call__(self, asked: Asked) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        try:
            async with self._turn:
                if not future.done():
                    await self._answer_some()
            return future.result()
        finally:
            future.cancel()  # for who was cancelled before the answer came

    @uncut
    async def _answer_some(self) -> None:
        self._waiting = [(asked, future) for asked, future in self._waiting if not future.done()]
        group = self._waiting[:MOST]
        for (_, future), answer in zip(group, await self._answers([asked for asked, _ in group]), strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def _answers(self, group: Sequence[Asked]) -> Sequence[Answer | Exception]:
        try:
            return await self._answer(group)
        except Exception as error:
            return [error] * len(group)
