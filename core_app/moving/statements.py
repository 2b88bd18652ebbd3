"""The statements of a move besides those that copy: who has a chunk, and what is written of it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from core_app.directory import Moving
from core_app.errors import CoreError
from core_app.moving.copying import literals, table_name
from core_app.moving.tables import COMMANDS, MOVED, OUTBOX, Moved, where

Connection = psycopg.AsyncConnection[Any]

APPLICATION = "biyi-slots"
"""`application_name` of a move's sessions: another's are found by it."""

_OTHERS = (
    "from pg_stat_activity where application_name = %s and usename = current_user and pid <> pg_backend_pid()"
)
_WAIT_MS = 5000
"""Patience with a row that another move holds. Source: our choice; its session was ended just before."""

_DAY = """
select b.on_date, c.on_date, exists (select from core.day_end_progress p where p.on_date >= b.on_date)
    or coalesce(c.on_date > b.on_date, false)
from core.business_date b, core.day_end_chunks c where c.chunk = %s for share of b
"""
_LEAVE = """
update core.day_end_chunks set place = 'leaving', place_epoch = %(epoch)s, peer = %(target)s
where chunk = %(chunk)s and place in ('dealt', 'owned') and place_epoch < %(epoch)s returning 1
"""
_LOCK_TARGET = """
select 1 from core.day_end_chunks
where chunk = %(chunk)s and place in ('dealt', 'gone') and place_epoch < %(epoch)s for update
"""
_OWN = """
update core.day_end_chunks set place = 'owned', place_epoch = %(epoch)s, peer = %(source)s, on_date = %(day)s
where chunk = %(chunk)s and place_epoch < %(epoch)s returning 1
"""
_STAY = """
update core.day_end_chunks
set place = 'owned', peer = null, place_epoch = greatest(place_epoch, %(epoch)s)
where chunk = %(chunk)s and place in ('dealt', 'owned', 'leaving') and place_epoch <= %(epoch)s returning 1
"""
_SPEND = """
update core.day_end_chunks set place_epoch = greatest(place_epoch, %(epoch)s) where chunk = %(chunk)s
returning place = 'owned' and place_epoch = %(epoch)s
"""
_IS_OWNED = """
select place = 'owned' and place_epoch = %(epoch)s from core.day_end_chunks where chunk = %(chunk)s for update
"""
_GO = """
update core.day_end_chunks set place = 'gone' where chunk = %(chunk)s and place_epoch = %(epoch)s returning 1
"""
_LEAVING = """
select 1 from core.day_end_chunks
where chunk = %(chunk)s and place = 'leaving' and place_epoch = %(epoch)s for update
"""
_NOTE = """
insert into core.slot_moves (chunk, place_epoch, what, from_cell, to_cell, row_counts, rows_sm3)
values (%(chunk)s, %(epoch)s, %(what)s, %(source)s, %(target)s, %(rows)s, %(digest)s)
"""
_ARRIVAL = """
select row_counts, rows_sm3 from core.slot_moves
where chunk = %(chunk)s and place_epoch = %(epoch)s and what = 'arrived'
"""
# One row a loan: whoever follows this cell's outbox learns that it is no longer told about here.
_TELL_LOANS = """
insert into core.outbox (topic, key, payload, idempotency_key)
select 'loan.moved', t.loan_id, jsonb_build_object('to', {target}), {key} from core.loans t where {loans}
"""


class ChunkElsewhere(CoreError):
    """A cell's row of the chunk is not as the move left it; the message says of which cell."""


@dataclass(frozen=True, slots=True)
class DayOf:
    """A cell's business date (None: the calendar's), the chunk's own, whether its day-end has begun."""

    date: dt.date | None
    chunk_date: dt.date | None
    begun: bool


@dataclass(frozen=True, slots=True)
class Arrival:
    """What arrived: rows by table, tables without any left out, and the SM3 over all tables' sums."""

    rows: dict[str, int]
    digest: bytes


def _values(moving: Moving) -> dict[str, Any]:
    return {
        "chunk": moving.chunk,
        "epoch": moving.epoch,
        "source": moving.source,
        "target": moving.target,
    }


async def _one(connection: Connection, statement: str, values: object) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = await (await connection.execute(statement, values)).fetchone()  # type: ignore[call-overload]
    return row


async def say_moving(connection: Connection, by: str) -> None:
    """Say that this transaction moves rows, and by whom: for the triggers and the audit."""
    await connection.execute(
        "select set_config('biyi.moving', 'yes', true), set_config('biyi.actor', %s, true),"
        " set_config('lock_timeout', %s, true)",
        [by, str(_WAIT_MS)],
    )


async def find_others(connection: Connection) -> bool:
    """Say whether another session of a move is open in this cell."""
    row = await _one(connection, f"select exists (select {_OTHERS})", [APPLICATION])
    return row is not None and bool(row[0])


async def end_others(connection: Connection) -> None:
    """End other sessions of moves in this cell, and wait until they are gone."""
    await connection.execute(f"select pg_terminate_backend(pid, {_WAIT_MS}) {_OTHERS}", [APPLICATION])


async def hold_day(connection: Connection, chunk: int) -> DayOf:
    """Return the cell's day; it cannot end before this transaction does."""
    row = await _one(connection, _DAY, [chunk])
    if row is None:
        raise ChunkElsewhere(f"chunk {chunk}: the cell has no business date")
    return DayOf(*row)


async def lock_target(target: Connection, moving: Moving) -> None:
    """Hold the target's row of the chunk until the move is decided."""
    if await _one(target, _LOCK_TARGET, _values(moving)) is None:
        raise ChunkElsewhere(
            f"chunk {moving.chunk}: cell {moving.target} has it, or a newer move of it was begun"
        )


async def leave_chunk(source: Connection, moving: Moving) -> None:
    """Fence the chunk at its source."""
    if await _one(source, _LEAVE, _values(moving)) is None:
        raise ChunkElsewhere(
            f"chunk {moving.chunk}: not cell {moving.source}'s, or a newer move of it was begun"
        )
    await _note(source, moving, "leaving", None)


async def own_chunk(target: Connection, moving: Moving, day: dt.date | None, arrived: Arrival) -> None:
    """Make the chunk the target's, and write down what arrived."""
    if await _one(target, _OWN, _values(moving) | {"day": day}) is None:
        raise ChunkElsewhere(f"chunk {moving.chunk}: a newer move of it was begun")
    await _note(target, moving, "arrived", arrived)


async def spend_number(target: Connection, moving: Moving) -> bool:
    """Return whether the target has the chunk by this move; if not, it never can under this number."""
    await target.execute("select set_config('lock_timeout', %s, true)", [str(_WAIT_MS)])
    row = await _one(target, _IS_OWNED, _values(moving))
    if row is not None and row[0]:
        return True
    await target.execute(_SPEND, _values(moving))
    return False


async def stay(source: Connection, moving: Moving) -> None:
    """Give the chunk back to its source; a fence under this number can come no more."""
    if await _one(source, _STAY, _values(moving)) is None:
        raise ChunkElsewhere(f"chunk {moving.chunk}: cell {moving.source} does not have it")
    await _note(source, moving, "stayed", None)


async def lock_leaving(source: Connection, moving: Moving) -> bool:
    """Hold the source's row of the chunk; False when its rows were taken away already."""
    return await _one(source, _LEAVING, _values(moving)) is not None


async def go(source: Connection, moving: Moving, arrived: Arrival) -> None:
    """Write down that the chunk's rows are gone from the source."""
    await _one(source, _GO, _values(moving))
    await _note(source, moving, "left", arrived)


async def _note(connection: Connection, moving: Moving, what: str, arrived: Arrival | None) -> None:
    rows, digest = (arrived.rows, arrived.digest) if arrived else ({}, None)
    values = _values(moving) | {"what": what, "rows": Jsonb(rows), "digest": digest}
    await connection.execute(_NOTE, values)


async def read_arrival(target: Connection, moving: Moving) -> Arrival:
    """Return what the target wrote down of what arrived."""
    row = await _one(target, _ARRIVAL, _values(moving))
    if row is None:
        raise ChunkElsewhere(f"chunk {moving.chunk}: cell {moving.target} has no record of its arrival")
    return Arrival(dict(row[0]), bytes(row[1]))


async def tell_loans(source: Connection, moving: Moving) -> None:
    """Tell whoever follows the source's outbox that each loan has left; before they are taken away."""
    loans = next(moved for moved in MOVED if moved.name == "core.loans")
    statement = sql.SQL(_TELL_LOANS).format(
        target=sql.Literal(moving.target),
        key=sql.Literal(f"slots-{moving.chunk:03d}-{moving.epoch}"),
        loans=sql.SQL(where(loans, literals(moving.chunk))),
    )
    await source.execute(statement)


async def delete_rows(source: Connection, chunk: int) -> dict[str, int]:
    """Take the chunk's rows away; return how many by table, those without any left out."""
    first = (COMMANDS, OUTBOX)  # what finds them goes with the customers
    rest = [moved for moved in reversed(MOVED) if moved not in first]
    counts: dict[str, int] = {}
    for moved in (*first, *rest):
        found = sql.SQL(where(moved, literals(chunk)))
        done = await source.execute(
            sql.SQL("delete from {} t where {}").format(table_name(moved.name), found)
        )
        if done.rowcount:
            counts[moved.name] = done.rowcount
    return dict(sorted(counts.items()))


async def read_highest(connection: Connection, numbered: Sequence[Moved]) -> dict[str, int]:
    """Return the highest number of each numbered table in this cell."""
    own = [moved for moved in numbered if moved is not COMMANDS]
    one = sql.SQL("select {}, coalesce(max(t.{}), 0) from {} t")
    asked = [
        one.format(sql.Literal(moved.name), sql.Identifier(moved.numbered or ""), table_name(moved.name))
        for moved in own
    ]
    rows = await (await connection.execute(sql.SQL(" union all ").join(asked))).fetchall()
    found = dict(rows)
    return found | {COMMANDS.name: found[OUTBOX.name]}


async def read_ground_rows(connection: Connection, chunk: int) -> tuple[frozenset[Any], frozenset[Any], int]:
    """Return the cell's product versions, key versions it takes no rows of, and the chunk's joint loans."""
    products = await connection.execute(
        "select product, version, encode(document_sm3, 'hex') from core.product_versions"
    )
    closed = await connection.execute("select relation, key_version from keys.closed_versions")
    funders = next(moved for moved in MOVED if moved.name == "core.loan_funders")
    asked = sql.SQL(
        "select count(distinct t.loan_id) from core.loan_funders t where t.funder <> 'own' and {}"
    )
    joint = await connection.execute(asked.format(sql.SQL(where(funders, literals(chunk)))))
    row = await joint.fetchone()
    return (
        frozenset(await products.fetchall()),
        frozenset(await closed.fetchall()),
        int(row[0]) if row else 0,
    )
