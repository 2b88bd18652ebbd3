"""Work on an evening in several lanes: sessions of each cell that all see the same instant of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from compliance.reporting.snapshot import Connect, Snapshot

T = TypeVar("T")
Lane = Sequence[Snapshot]
"""One snapshot of each cell, in the order of the cells."""
LANES = 2
"""Lanes of a filing. Source: measured; while one table is computed another is sent and hashed, and a third
gave no clear gain on two cores. Each takes a session of every cell, and that session's memory."""


@asynccontextmanager
async def open_lanes(connect: Connect, first: Lane) -> AsyncIterator[list[Lane]]:
    """Yield `first` and more lanes beside it."""
    async with AsyncExitStack() as stack:
        lanes = [first]
        for _ in range(LANES - 1):
            lanes.append([await stack.enter_async_context(one.share(connect)) for one in first])
        yield lanes


async def spread(lanes: Sequence[Lane], works: Sequence[Callable[[Lane], Awaitable[T]]]) -> list[T]:
    """Do each work in the lane that is free next; what they return, in the order of `works`.

    The first error of one ends all, and is raised as it is.
    """
    results: dict[int, T] = {}
    waiting = iter(enumerate(works))

    async def go(lane: Lane) -> None:
        for number, work in waiting:
            results[number] = await work(lane)

    tasks = [asyncio.create_task(go(lane)) for lane in lanes]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [results[number] for number in range(len(works))]
