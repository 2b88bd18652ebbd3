"""One reader of the agents for all browsers of a console: who comes late gets the newest, nothing queues.

While somebody looks, each agent is asked twice a second, else every two seconds, so that "not seen since"
is known when somebody comes.
"""

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from replication.model import DATA_SITES, Site
from replication.settings import SiteSettings
from runbooks.console.view import Platform, SiteLook, make_platform

LOOK_SECONDS = 0.5
"""Pause between two looks while a browser watches. Source: the live view's promise, at most 1 s behind."""
IDLE_SECONDS = 2.0
"""The same while nobody does. Source: our choice, under `view.FRESH_SECONDS`: who comes is told the truth."""
PATIENCE_SECONDS = 1.5
"""Patience with an agent. Source: our choice, under `view.FRESH_SECONDS`; it answers in milliseconds."""

ARRIVAL_SECONDS = 0.2
"""How long a page waits for a fresh answer. Source: our choice, under the pages' promise of 0.3 s."""

Ask = Callable[[Site], Awaitable[Any]]
"""Return a site's agent's status; None when it does not answer."""


class Watch:
    """What this console last heard of each site. `read_now` returns aware UTC."""

    def __init__(self, settings: SiteSettings, ask: Ask, read_now: Callable[[], dt.datetime]) -> None:
        self._settings = settings
        self._ask = ask
        self._read_now = read_now
        self._began_at = read_now()
        self._heard: dict[Site, tuple[Any, dt.datetime, float, int]] = {}
        self._watchers = 0
        self._come = asyncio.Event()
        self._news = asyncio.Event()
        self._published = asyncio.Condition()
        self._frame: Platform | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look at both agents while the block runs."""
        tasks = [asyncio.create_task(self._follow(site)) for site in DATA_SITES]
        tasks.append(asyncio.create_task(self._publish()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look often while the block runs."""
        self._watchers += 1
        self._come.set()
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._come.clear()

    async def look_now(self) -> Platform:
        """Return what is known, after asking once more whom it has not heard of just now; bounded."""
        old = [site for site in DATA_SITES if time.monotonic() - self._asked_s(site) > 2 * LOOK_SECONDS]
        if old:
            looks = [asyncio.create_task(self._look(site)) for site in old]
            _, pending = await asyncio.wait(looks, timeout=ARRIVAL_SECONDS)
            for look in pending:
                look.cancel()
        return self.platform()

    async def wait_for_news(self) -> Platform:
        """Return what is known after the next answer, the same to all; inside `running` and `watched`."""
        async with self._published:
            seen = self._frame
            await self._published.wait_for(lambda: self._frame is not seen)
            assert self._frame is not None  # noqa: S101 - it was just set
            return self._frame

    def platform(self) -> Platform:
        """Return what is known now."""
        looks = {site: SiteLook() for site in DATA_SITES}
        for site, (status, at, at_s, took_ms) in self._heard.items():
            looks[site] = SiteLook(status, at, time.monotonic() - at_s, took_ms)
        return make_platform(self._settings, looks, self._read_now(), self._began_at)

    def _asked_s(self, site: Site) -> float:
        """Return when the question was asked whose answer is held; long ago while there is none."""
        heard = self._heard.get(site)
        return float("-inf") if heard is None else heard[2]

    async def _follow(self, site: Site) -> None:
        while True:
            await self._look(site)
            with contextlib.suppress(TimeoutError):
                if self._watchers:
                    await asyncio.sleep(LOOK_SECONDS)
                else:
                    await asyncio.wait_for(self._come.wait(), IDLE_SECONDS)

    async def _publish(self) -> None:
        """While somebody watches, give all the same page after each answer and at each look's pause."""
        while True:
            await self._come.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), LOOK_SECONDS)
            self._news.clear()
            async with self._published:
                self._frame = self.platform()
                self._published.notify_all()

    async def _look(self, site: Site) -> None:
        begun_s = time.monotonic()
        status = await self._ask(site)
        if status is None or begun_s < self._asked_s(site):
            return  # silence, or overtaken by the answer to a younger question
        # The answer is at least as old as the question: its age counts from there.
        took_ms = round((time.monotonic() - begun_s) * 1000)
        self._heard[site] = status, self._read_now(), begun_s, took_ms
        self._news.set()
