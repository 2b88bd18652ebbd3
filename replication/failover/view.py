"""One site's view kept fresh: a look once a tick, at once after a change, and probes of the peer."""

import asyncio
import contextlib
import time

import aiohttp

from replication.etcd import Etcd
from replication.failover.sight import SiteSight
from replication.grants import WorldReader, follow_grants
from replication.model import Site, other_data_site
from replication.settings import SiteSettings


def now_ms() -> int:
    """Return milliseconds on CLOCK_BOOTTIME, which also counts while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class SiteView:
    """Looks for all copies of one site; its cost does not grow with the cells."""

    def __init__(self, settings: SiteSettings, etcd: Etcd, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._etcd = etcd
        self._session = session
        self._nudged = asyncio.Event()
        self._looked = asyncio.Condition()
        self._probe: asyncio.Task[None] | None = None
        reader = WorldReader(etcd, settings.failover.silence_ms, now_ms)
        self.sight = SiteSight(settings, reader.read, now_ms)
        self.looks = 0
        """Looks that have ended."""
        self.started = 0
        """Looks that have begun: one that ends with a higher number saw all that was done before."""

    async def run(self) -> None:
        """Look once a tick, and at once when a grant changes; never ends."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            while True:
                await self._look()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._nudged.wait(), self._settings.failover.tick_ms / 1000)
                self._nudged.clear()

    async def next_look(self, after: int) -> int:
        """Wait until there was a look later than `after`; return its number."""
        async with self._looked:
            await self._looked.wait_for(lambda: self.looks > after)
            return self.looks

    def nudge(self) -> None:
        """Look again at once."""
        self._nudged.set()

    async def _listen(self) -> None:
        async for _ in follow_grants(self._etcd):
            self._nudged.set()

    async def _look(self) -> None:
        self.started += 1
        await self.sight.look()
        if self.sight.probe_due() and (self._probe is None or self._probe.done()):
            self._probe = asyncio.create_task(self._ask(other_data_site(self._settings.site)))
        async with self._looked:
            self.looks += 1
            self._looked.notify_all()

    async def _ask(self, site: Site) -> None:
        timeout = aiohttp.ClientTimeout(total=self._settings.failover.probe_timeout_ms / 1000)
        sent_ms, waits_ms = now_ms(), 0
        try:
            async with self._session.get(
                self._settings.agent_urls[site] + "/v1/probe", timeout=timeout
            ) as answer:
                answered = answer.status == 200
                waits_ms = int((await answer.json()).get("waits_ms", 0)) if answered else 0
        except (aiohttp.ClientError, TimeoutError, ValueError):
            answered = False
        self.sight.note_probe(answered, sent_ms, waits_ms)
