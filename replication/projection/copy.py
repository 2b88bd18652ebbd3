"""Reading the outbox from a local copy, primary or standby, as a reader: never anything but reading."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from replication.postgres.copy import DATABASE, READ
from replication.postgres.observe import TCP_OPTIONS
from replication.projection.position import Applied, Look, Position, Row
from replication.settings import PlaceSettings
from replication.transport import plan_calling

CopyConnection = psycopg.AsyncConnection[Any]

_CONNECT_SECONDS = 2
_STATEMENT_MS = 5000
"""Patience of the server with one look. Source: our choice; a page takes milliseconds, the count
before a reading anew about 0.1 s a million rows. Short, since a look holds up a standby's replay."""

_SEEN = """
seen as materialized (
    select pg_snapshot_xmin(s) as xmin, pg_snapshot_xmax(s) as xmax, pg_is_in_recovery() as in_recovery,
           (select epoch from biyi.epoch) as epoch, biyi.copy_as_of() as as_of
    from pg_current_snapshot() as s
)
"""

# A window that does not begin at the start is small: it is found by its transactions. Materialized,
# so that no plan walks the whole table by number instead.
_PAGE = """
with {seen}, members as materialized (
    select o.outbox_id from seen, {outbox} o
    where o.xid >= %(below)s::text::xid8 and o.xid < coalesce(%(upto)s::text::xid8, seen.xmin)
), page as materialized (
    select outbox_id from members where outbox_id > %(after)s order by outbox_id limit %(page)s
)
select seen.*, o.outbox_id, o.xid, o.topic, o.key, o.payload, o.at
from seen left join (page join {outbox} o using (outbox_id)) on true order by o.outbox_id
"""

# A reading anew takes the whole table: by number, page after page.
_PAGE_OF_ALL = """
with {seen}, page as materialized (
    select o.outbox_id, o.xid, o.topic, o.key, o.payload, o.at from {outbox} o
    where o.outbox_id > %(after)s and o.xid < %(upto)s::text::xid8 order by o.outbox_id limit %(page)s
)
select * from seen left join page on true order by outbox_id
"""

_COUNT = "select count(*) as total from {outbox} where xid < %(upto)s::text::xid8"

_SURVIVING = """
select o.outbox_id from unnest(%(numbers)s::bigint[], %(xids)s::text[], %(ats)s::timestamptz[])
    as held (outbox_id, xid, at)
join {outbox} o on o.outbox_id = held.outbox_id and o.xid = held.xid::xid8 and o.at = held.at
"""

_NUMBERS = "select coalesce(min(outbox_id), 0) as low, coalesce(max(outbox_id), 0) as high from {outbox}"
_AT = "select outbox_id, at from {outbox} where outbox_id >= %(number)s order by outbox_id limit 1"

_NEWEST = """
select distinct on (o.key) o.outbox_id, o.xid, o.topic, o.key, o.payload, o.at
from {outbox} o
where o.key = any(%(keys)s) and o.xid < pg_snapshot_xmin(pg_current_snapshot())
order by o.key, o.outbox_id desc
"""


class LocalCopy:
    """One connection to one place's server; a psycopg.Error says it has to be opened anew."""

    def __init__(self, connection: CopyConnection, outbox: sql.Identifier) -> None:
        self._connection = connection
        self._outbox = outbox
        self._as_of = ""

    async def look(self, position: Position | None, page: int) -> Look:
        """Read the epoch, the bounds and the next page after `position`, in one snapshot."""
        if position is None:  # the bounds only: no row is of a transaction under 0
            query = _PAGE
            values: dict[str, object] = {"below": "0", "upto": "0", "after": 0, "page": 0}
        else:
            query = _PAGE_OF_ALL if position.in_window and position.below == 0 else _PAGE
            upto = str(position.upto) if position.in_window else None
            values = {"below": str(position.below), "upto": upto, "after": position.after, "page": page}
        found = await self._rows(query, values)
        seen = found[0]
        if seen["epoch"] is None:
            raise psycopg.OperationalError("the copy has no epoch yet")
        rows = tuple(_read_row(each) for each in found if each["outbox_id"] is not None)
        # What a standby knows of its age may be younger than the snapshot: the last look's is certain.
        as_of, self._as_of = self._as_of, seen["as_of"].isoformat() if seen["as_of"] else ""
        return Look(
            epoch=seen["epoch"],
            xmin=int(seen["xmin"]),
            xmax=int(seen["xmax"]),
            in_recovery=seen["in_recovery"],
            as_of=as_of,
            rows=rows,
        )

    async def count(self, upto: int) -> int:
        """Return how many rows a reading anew up to transaction `upto` has to apply."""
        return int((await self._rows(_COUNT, {"upto": str(upto)}))[0]["total"])

    async def first_since(self, at: dt.datetime) -> int:
        """Return a number before which every row is older than `at`, found by halves.

        Numbers and times rise together but for transactions that ran at once: give it an hour more.
        """
        bounds = (await self._rows(_NUMBERS, {}))[0]
        low, high = int(bounds["low"]), int(bounds["high"]) + 1
        while low < high:
            middle = (low + high) // 2
            found = await self._rows(_AT, {"number": middle})
            if found and found[0]["at"] < at:
                low = int(found[0]["outbox_id"]) + 1
            else:
                high = middle
        return low

    async def compare(self, applied: Sequence[Applied]) -> tuple[Look, frozenset[int], tuple[Row, ...]]:
        """Look, say which applied rows this history has too, and read the newest row of their keys.

        All in one snapshot, so that it is one history that is compared.
        """
        async with self._connection.transaction():
            await self._connection.execute(b"set transaction isolation level repeatable read read only")
            look = await self.look(None, 0)
            held = {
                "numbers": [row.number for row in applied],
                "xids": [str(row.xid) for row in applied],
                "ats": [row.at for row in applied],
            }
            surviving = await self._rows(_SURVIVING, held)
            newest = await self._rows(_NEWEST, {"keys": sorted({row.key for row in applied})})
        numbers = frozenset(int(each["outbox_id"]) for each in surviving)
        return look, numbers, tuple(_read_row(each) for each in newest)

    async def _rows(self, query: str, values: Mapping[str, object]) -> list[dict[str, Any]]:
        statement = sql.SQL(query).format(outbox=self._outbox, seen=sql.SQL(_SEEN))
        async with self._connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(statement, values)
            return await cursor.fetchall()


def _read_row(found: dict[str, Any]) -> Row:
    return Row(
        number=found["outbox_id"],
        xid=int(found["xid"]),
        topic=found["topic"],
        key=found["key"],
        payload=found["payload"],
        at=found["at"].isoformat(),
    )


async def connect_copy(
    place: PlaceSettings, passfile: Path, *, application: str = "biyi-projector", user: str = READ
) -> CopyConnection:
    """Connect as a reader, autocommit and read-only; psycopg.OperationalError when it cannot be."""
    return await psycopg.AsyncConnection.connect(
        user=user,
        dbname=DATABASE,
        passfile=str(passfile),
        autocommit=True,
        connect_timeout=_CONNECT_SECONDS,
        **plan_calling(place),
        application_name=application,
        options=f"-c default_transaction_read_only=on -c statement_timeout={_STATEMENT_MS} -c timezone=UTC",
        **TCP_OPTIONS,
    )
