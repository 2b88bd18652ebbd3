"""The load around what a drill does: the working set is lent before, customers come until it is over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runbooks.drills.load import LoadError
from runbooks.drills.scene import DrillRefused, Scene, read_earlier


async def prepare(scene: Scene) -> None:
    """Remember what is there and lend the working set; DrillRefused when that cannot be."""
    scene.mark("prepare", "lend the working set")
    await read_earlier(scene)
    try:
        await scene.load.prepare(scene.homes)
    except LoadError as error:
        raise DrillRefused(f"{error}; look at `biyi stand logs`") from error


@asynccontextmanager
async def under_load(scene: Scene) -> AsyncIterator[None]:
    """Let customers come by both entrances while the block runs, then wait until everyone has an answer.

    A block that fails sends nobody away: customers under way are given up, the history keeps them as unknown.
    """
    stop = asyncio.Event()
    load = asyncio.create_task(scene.load.run(stop))
    scene.mark("load_start", f"load, {scene.options.rate:g} operations a second over both entrances")
    try:
        yield
    except BaseException:
        load.cancel()
        raise
    finally:
        scene.mark("load_stop", "stop the load")
        stop.set()
        await asyncio.wait({load})
    await load
