"""The day's check of public opinion: once all cells have closed a day, the feed is read to its end.

The watch (`complaint_watch`) takes posts in as they come; the check makes a day's reading complete and writes
it down, so that a day on which nobody could ask the feed shows. One may run at each site: a post is one
complaint and a day one check, whoever writes it first. Without the feed it is asked again: the day stays due.
"""

import asyncio
import datetime as dt
import logging
from dataclasses import dataclass

from psycopg.errors import InsufficientPrivilege, UndefinedTable

from core_app.core import Connection, LendingCore
from core_app.router import CellUnavailable
from core_app.servicing.complaint_watch import FEED, POLL_SECONDS, ComplaintWatch

log = logging.getLogger("biyi.opinions")

MOST_BATCHES = 1_000
"""Batches read for one day's check. Source: our choice, 100,000 posts; the next look goes on from there."""
_CLOSED = "select on_date - 1 from core.business_date"
_CHECKED = "select max(on_date) from core.opinion_checks where feed = %s"
_KEEP = """
insert into core.opinion_checks (feed, on_date, posts, taken, place, site)
select %(feed)s, %(day)s, %(posts)s, %(taken)s,
       coalesce((select f.place from core.opinion_feeds f where f.feed = %(feed)s), 0), %(site)s
on conflict (feed, on_date) do nothing
returning on_date
"""


@dataclass(frozen=True, slots=True)
class Checked:
    """A day's check as it was kept: posts since the last reading, and complaints made of them."""

    day: dt.date
    posts: int
    taken: int


@dataclass(slots=True)
class OpinionCheck:
    """Checks each closed day once, at one site; the watch reads the feed."""

    core: LendingCore
    watch: ComplaintWatch

    async def run(self) -> None:
        """Check until it is cancelled; without an answer of feed or cell a day stays due."""
        while True:
            try:
                await self.check()
            except (CellUnavailable, UndefinedTable, InsufficientPrivilege):
                pass
            except (TimeoutError, OSError) as error:
                log.warning("the opinion feed cannot be asked (%s): the day's check stays due", error)
            await asyncio.sleep(POLL_SECONDS)

    async def check(self) -> Checked | None:
        """Check the newest day that all cells have closed; None when there is none that is due, or no feed.

        TimeoutError or OSError when the feed cannot be asked.
        """
        if self.watch.feed is None or (day := await self.find_due()) is None:
            return None
        posts = taken = 0
        for _ in range(MOST_BATCHES):
            read, made = await self.watch.read_batch()
            if not read:
                break
            posts, taken = posts + read, taken + made
        else:
            return None
        values = {"feed": FEED, "day": day, "posts": posts, "taken": taken, "site": self.core.site}

        async def keep(connection: Connection, _: int) -> bool:
            return await (await connection.execute(_KEEP, values)).fetchone() is not None

        cell = self.core.router.cells[0]
        kept = await self.core.router.write(cell, keep, deadline_seconds=self.core.deadline_seconds)
        return Checked(day, posts, taken) if kept.value else None

    async def find_due(self) -> dt.date | None:
        """Return the newest day that every cell has closed, None when it is checked or no day-end has run."""
        closed = [await self._read(cell, _CLOSED, []) for cell in self.core.router.cells]
        days = [day for day in closed if day is not None]
        if len(days) < len(closed):
            return None
        checked = await self._read(self.core.router.cells[0], _CHECKED, [FEED])
        return None if checked is not None and checked >= min(days) else min(days)

    async def _read(self, cell: str, query: str, values: list[str]) -> dt.date | None:
        async def work(connection: Connection, _: int) -> dt.date | None:
            row = await (await connection.execute(query, values)).fetchone()
            return row[0] if row else None

        found = await self.core.router.read(cell, work, deadline_seconds=self.core.deadline_seconds)
        return found.value
