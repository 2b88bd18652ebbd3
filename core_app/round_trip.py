"""Questions that arrive while others are under way share the next round trip.

Nobody waits for company: at rest a question goes alone. With many at once a group shares the client's work
for a command, which is most of what a cached answer costs.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
MOST = 64
"""Questions in one round trip. Source: our choice; all of a group wait for the last answer."""


class RoundTrips(Generic[Q, A]):
    """Asks for what has come together, one round trip at a time; `ask_all` answers in the order asked."""

    def __init__(self, ask_all: Callable[[Sequence[Q]], Awaitable[Sequence[A]]]) -> None:
        self._ask_all = ask_all
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """Return the answer; whatever befell the round trip befalls each of its group."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
                wanted = [(question, answer) for question, answer in group if not answer.done()]
                if wanted:
                    await self._settle(wanted)
        finally:
            self._working = None

    async def _settle(self, group: list[tuple[Q, "asyncio.Future[A]"]]) -> None:
        try:
            answers = await self._ask_all([question for question, _ in group])
        except Exception as error:  # noqa: BLE001 - each who asked is told, and handles it
            for _, answer in group:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for (_, answer), value in zip(group, answers, strict=True):
                if not answer.done():
                    answer.set_result(value)
