"""Refuse decisions beyond what can be made in time, before anything is asked or written.

Above saturation a process that takes every application decides none: each one's steps then wait for the
others and run out of their budgets. So of each cell few are under way at once, a few more wait for their
turn, first come, first served, and the rest are told at once to come back.

Each cell has its own turns, and one that is not served now has none: its applications wait for it at the
router, as all other commands do, and neither keep others waiting nor are told that this process is busy.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

RETRY_SECONDS = 1
"""Source: our choice; the queue is served in a fraction of it, and clients that come back spread over it."""


class Overloaded(Exception):
    """More applications for the cell are under way here than can be decided in time; nothing was done."""

    def __init__(self, cell: str) -> None:
        super().__init__(f"cell {cell}: its turns and places are taken")
        self.cell = cell


@dataclass(slots=True)
class _Queue:
    turns: asyncio.Semaphore
    most: int
    inside: int = 0


class Turns:
    """The turns of one process: `at_once` of all cells together, and `waiting` that wait for one."""

    def __init__(self, at_once: int, waiting: int, is_served: Callable[[str], bool]) -> None:
        self._at_once = at_once
        self._waiting = waiting
        self._is_served = is_served
        self._queues: dict[str, _Queue] = {}

    @contextlib.asynccontextmanager
    async def take(self, cell: str, cells: int) -> AsyncIterator[None]:
        """Hold a turn of a cell, of so many; Overloaded when as many as may wait already."""
        if not self._is_served(cell):
            yield
            return
        queue = self._queues.get(cell)
        if queue is None:
            at_once, waiting = max(1, self._at_once // cells), self._waiting // cells
            queue = self._queues[cell] = _Queue(asyncio.Semaphore(at_once), at_once + waiting)
        if queue.inside >= queue.most:
            raise Overloaded(cell)
        queue.inside += 1
        try:
            async with queue.turns:
                yield
        finally:
            queue.inside -= 1
