"""The machine at complaints: raises what runs late, closes what nobody objects to, takes public posts in.

Levels: 1 the first answer is late (to the supervisor), 2 the decision is near its last day (to the head of
service), 3 it is over (to the management). Each level is told once; another last
day begins anew. Two machines at once do no harm.
"""

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import Any

from psycopg.errors import InsufficientPrivilege, UndefinedTable

from core_app.business_calendar import business_date_at
from core_app.core import Connection, LendingCore
from core_app.ids import Letter
from core_app.router import CellUnavailable
from core_app.servicing.complaint_desk import clock_values
from core_app.servicing.complaints import Source, compute_clocks
from core_app.servicing.opinions import OpinionFeed, Post
from core_app.servicing.read import read_workdays

POLL_SECONDS = 30.0
"""Pause between two looks. Source: our choice; the shortest clock is of hours."""
_FEED_SECONDS = 5.0
FEED = "opinions"
_BATCH = 100

# A statement of its own: what is read next was committed before the locks were held.
_LOCK = """
select complaint_id from core.complaints
where (state = 'open' and decide_by <= %(today)s::date + %(warn)s::integer)
    or (state <> 'closed' and first_answered_at is null and first_answer_by <= %(now)s)
    or (state = 'replied' and replied_at <= %(now)s - make_interval(days => %(silence)s::integer))
for update skip locked
"""
_RAISE = """
with late as (
    select c.complaint_id, case
        when c.state = 'open' and c.decide_by < %(today)s then 3
        when c.state = 'open' and c.decide_by <= %(today)s::date + %(warn)s::integer then 2
        when c.first_answered_at is null and c.first_answer_by <= %(now)s then 1
        else 0 end::smallint as level
    from core.complaints c where c.complaint_id = any(%(ids)s)
), raised as (
    update core.complaints c set level = l.level from late l
    where l.complaint_id = c.complaint_id and l.level > c.level
    returning c.complaint_id, c.level
), closed as (
    update core.complaints c set state = 'closed'
    where c.complaint_id = any(%(ids)s) and c.state = 'replied'
        and c.replied_at <= %(now)s - make_interval(days => %(silence)s::integer)
    returning c.complaint_id
), did as (
    select complaint_id, 'escalate' as act, level from raised
    union all select complaint_id, 'close', null from closed
), noted as (
    insert into core.complaint_acts (complaint_id, number, act, level, idempotency_key)
    select d.complaint_id, n.number + 1, d.act, d.level, d.complaint_id
    from did d, lateral (
        select count(*) as number from core.complaint_acts a where a.complaint_id = d.complaint_id) as n
), told as (
    insert into core.outbox (topic, key, payload, idempotency_key)
    select 'complaint.' || d.act || 'd', d.complaint_id,
           jsonb_build_object('complaint_id', d.complaint_id, 'level', d.level), d.complaint_id
    from did d
)
select complaint_id from did
"""
_PLACE = "select place from core.opinion_feeds where feed = %s for update"
_MARK = """
insert into core.opinion_feeds (feed, place) values (%s, %s)
on conflict (feed) do update set place = greatest(core.opinion_feeds.place, excluded.place), at = now()
"""
_TAKE = """
with taken as (
    insert into core.complaints (complaint_id, source, about, reference, received_at, received_on,
        first_answer_by, simple_by, complex_by, special_by, decide_by, idempotency_key)
    values (%(complaint_id)s, %(source)s, %(about)s, %(reference)s, %(received_at)s, %(received_on)s,
        %(first_answer_by)s, %(simple_by)s, %(complex_by)s, %(special_by)s, %(simple_by)s, %(complaint_id)s)
    on conflict (reference) do nothing
    returning complaint_id, source, about, reference
), told as (
    insert into core.outbox (topic, key, payload, idempotency_key)
    select 'complaint.taken', t.complaint_id, to_jsonb(t), t.complaint_id from taken t
)
select complaint_id from taken
"""


@dataclass(slots=True)
class ComplaintWatch:
    """Watches the complaints of all cells, at one site; one may run at each."""

    core: LendingCore
    feed: OpinionFeed | None = None

    async def run(self) -> None:
        """Watch until it is cancelled; a cell without an answer, or not migrated yet, is looked at again."""
        while True:
            for look in (*(self._looking(cell) for cell in self.core.router.cells), self.read_feed):
                try:
                    await look()
                except (CellUnavailable, UndefinedTable, InsufficientPrivilege, TimeoutError, OSError):
                    continue
            await asyncio.sleep(POLL_SECONDS)

    def _looking(self, cell: str) -> Any:
        return lambda: self.look(cell)

    async def look(self, cell: str) -> int:
        """Raise and close what is due in a cell; return how many acts were written."""
        now = self.core.read_now()
        today, rules = business_date_at(now), self.core.catalogue.rulebook
        values: dict[str, Any] = {"now": now, "today": today}
        values |= {"warn": int(rules.value("complaint.warn", today))}
        values |= {"silence": int(rules.value("complaint.silence", today))}

        async def work(connection: Connection, _: int) -> int:
            ids = [row[0] for row in await (await connection.execute(_LOCK, values)).fetchall()]
            did = await connection.execute(_RAISE, values | {"ids": ids})
            return len(await did.fetchall())

        return (await self.core.router.write(cell, work, deadline_seconds=self.core.deadline_seconds)).value

    async def read_feed(self) -> int:
        """Take new posts in as complaints, each once; return how many. TimeoutError or OSError without it."""
        return (await self.read_batch())[1]

    async def read_batch(self) -> tuple[int, int]:
        """Read a batch of new posts; return how many there were and how many complaints they made."""
        if self.feed is None:
            return 0, 0
        cell = self.core.router.cells[0]

        async def read_place(connection: Connection, _: int) -> int:
            row = await (await connection.execute(_PLACE, [FEED])).fetchone()
            return int(row[0]) if row else 0

        patience = self.core.deadline_seconds
        place = (await self.core.router.write(cell, read_place, deadline_seconds=patience)).value
        async with asyncio.timeout(_FEED_SECONDS):
            posts = await self.feed.read(place, _BATCH)
        if not posts:
            return 0, 0
        rows = [self._columns(post) for post in posts]

        async def take(connection: Connection, _: int) -> int:
            taken = [await (await connection.execute(_TAKE, row)).fetchone() for row in rows]
            await connection.execute(_MARK, [FEED, posts[-1].place])
            return sum(one is not None for one in taken)

        made = (await self.core.router.write(cell, take, deadline_seconds=patience)).value
        return len(posts), made

    def _columns(self, post: Post) -> dict[str, Any]:
        # Clocks run from when we learn of it; slot 0 is the first cell's.
        now: dt.datetime = self.core.read_now()
        clocks = compute_clocks(self.core.catalogue.rulebook, read_workdays(), now, None)
        named = {"complaint_id": self.core.new_id(Letter.COMPLAINT, 0), "source": str(Source.OPINION)}
        named |= {"about": post.about, "reference": f"{post.site}/{post.reference}"}
        return named | clock_values(clocks, now)
