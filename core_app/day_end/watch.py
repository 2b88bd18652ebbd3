"""How many business days each cell is late: days that should be closed and are not, for Prometheus.

Runs in the payers of both sites, so that the loss of one hides nothing. A cell that was not read lately has
no figure: another site's is the truth then, and where there is none the alert DayEndUnseen says so.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psycopg
from prometheus_client.core import GaugeMetricFamily, Metric

from core_app.business_calendar import business_date_at
from core_app.core import Connection, LendingCore
from core_app.day_end.lateness import count_days_late
from core_app.router import CellUnavailable

log = logging.getLogger("biyi.day_end")
LOOK_SECONDS = 60.0
"""Pause between two looks. Source: our choice; dates change once a day."""
STALE_SECONDS = 300.0
"""A date read longer ago is not told. Source: our choice, five looks; day-end may have run since."""
_SELECT = """
select b.on_date, case when b.on_date is null
    then (select o.at from core.outbox o order by o.outbox_id limit 1) end
from core.business_date b
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """A cell's first open day and the day of its first change, None where it has none; `at` is aware UTC."""

    open_day: dt.date | None
    begun_on: dt.date | None
    at: dt.datetime


@dataclass(slots=True)
class DayWatch:
    """Looks at every cell's business date until it is cancelled."""

    core: LendingCore
    read_now: Callable[[], dt.datetime]
    seen: dict[str, Seen] = field(default_factory=dict)

    async def run(self) -> None:
        """Look again and again; a cell that is away keeps what was seen of it, which grows stale."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look at every cell once."""
        for cell in self.core.router.cells:
            try:
                self.seen[cell] = await self._read(cell)
            except (CellUnavailable, psycopg.Error, TimeoutError) as error:
                log.warning("cell %s: its business date was not read: %s", cell, type(error).__name__)

    async def _read(self, cell: str) -> Seen:
        at = self.read_now()

        async def work(connection: Connection, _: int) -> Seen:
            row = await (await connection.execute(_SELECT)).fetchone()
            open_day, first = row or (None, None)
            return Seen(open_day, business_date_at(first) if first else None, at)

        return (await self.core.router.read(cell, work, deadline_seconds=self.core.deadline_seconds)).value

    def figures(self) -> Iterator[Metric]:
        """Return days late by cell, by the calendar of this moment."""
        late = GaugeMetricFamily(
            "biyi_day_end_days_late", "Business days that should be closed and are not", labels=["cell"]
        )
        now = self.read_now()
        for cell, one in self.seen.items():
            if (now - one.at).total_seconds() <= STALE_SECONDS:
                late.add_metric([cell], count_days_late(one.open_day, one.begun_on, now))
        yield late
