"""One agent's view kept fresh: a look once a tick, at once after a change, and probes of other agents."""

import asyncio
import contextlib
import math
import time

import aiohttp

from replication.etcd import Etcd
from replication.failover.sight import SiteSight
from replication.grants import WorldReader, follow_grants
from replication.settings import SiteSettings

WOKEN_AT_ONCE = 32
"""Loops that are woken before the event loop goes on to what has arrived. Source: our choice, some 5 ms."""


def now_ms() -> int:
    """Return milliseconds on CLOCK_BOOTTIME, which also counts while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class SiteView:
    """Looks for all copies of one agent; its cost does not grow with the cells.

    A look once a tick is everybody's. One in between, asked for by a cell whose grant changes, is that
    cell's: with a thousand cells that change at once, each would wake a thousand loops.
    """

    def __init__(self, settings: SiteSettings, etcd: Etcd, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._etcd = etcd
        self._session = session
        self._nudged = asyncio.Event()
        self._asked: set[str] = set()
        self._waiting: dict[str | None, list[asyncio.Future[None]]] = {}
        self._probes: dict[str, asyncio.Task[None]] = {}
        """By address of the agent asked."""
        reader = WorldReader(etcd, settings.failover.silence_ms, now_ms)
        self.sight = SiteSight(settings, reader.read, now_ms)
        self.looks = 0
        """Looks that have ended."""
        self.started = 0
        """Looks that have begun: one that ends with a higher number saw all that was done before."""
        self._of_all = 0
        self._of_cell: dict[str, int] = {}

    async def run(self) -> None:
        """Look once a tick, and at once when a grant changes; never ends."""
        tick_seconds = self._settings.failover.tick_ms / 1000
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            due = time.monotonic()
            while True:
                if everybody := time.monotonic() >= due:
                    due = math.inf
                await self._look(everybody=everybody)
                due = min(due, time.monotonic() + tick_seconds)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._nudged.wait(), due - time.monotonic())
                self._nudged.clear()

    async def next_look(self, after: int, cell: str | None = None) -> int:
        """Wait until there was a look later than `after`; return its number.

        With `cell`, until there was one that is everybody's or this cell's.
        """
        while (self.looks if cell is None else max(self._of_all, self._of_cell.get(cell, 0))) <= after:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(cell, []).append(waiting)
            await waiting
        return self.looks

    def nudge(self, cell: str) -> None:
        """Look again at once, for this cell."""
        self._asked.add(cell)
        self._nudged.set()

    async def _listen(self) -> None:
        async for _ in follow_grants(self._etcd):
            self._nudged.set()

    async def _look(self, *, everybody: bool) -> None:
        self.started += 1
        before = self.sight.world.grants if self.sight.world else {}
        asked, self._asked = self._asked, set()
        await self.sight.look()
        for url in self.sight.agents_to_ask():
            if url not in self._probes or self._probes[url].done():
                self._probes[url] = asyncio.create_task(self._ask(url))
        now = self.sight.world.grants if self.sight.world else {}
        await self._tell(asked | {cell for cell, seen in now.items() if before.get(cell) != seen}, everybody)

    async def _tell(self, cells: set[str], everybody: bool) -> None:
        """Wake whoever waits for a look of these cells, or everybody; beats and answers come in between."""
        self.looks += 1
        if everybody:
            self._of_all = self.looks
        else:
            self._of_cell |= dict.fromkeys(cells, self.looks)
        for number, cell in enumerate([None, *(list(self._waiting) if everybody else cells)]):
            if number % WOKEN_AT_ONCE == WOKEN_AT_ONCE - 1:
                await asyncio.sleep(0)
            for waiting in self._waiting.pop(cell, ()):
                if not waiting.done():
                    waiting.set_result(None)

    async def _ask(self, url: str) -> None:
        timeout = aiohttp.ClientTimeout(total=self._settings.failover.probe_timeout_ms / 1000)
        sent_ms, waits_ms, places = now_ms(), 0, None
        try:
            async with self._session.get(url + "/v1/probe", timeout=timeout) as answer:
                answered = answer.status == 200
                said = await answer.json() if answered else {}
                waits_ms = int(said.get("waits_ms", 0))
                places = frozenset(map(str, said["places"])) if "places" in said else None
        except (aiohttp.ClientError, TimeoutError, ValueError, TypeError):
            answered, waits_ms, places = False, 0, None
        self.sight.note_probe(url, answered, sent_ms, waits_ms, places)
