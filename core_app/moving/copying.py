"""Copying a chunk's rows between two open connections, round after round, and comparing what is there.

A round copies what the round before it cannot have seen. Of a numbered table (it only grows) that is
what has a higher number; of any other, every row version that is newer than its snapshot, put over what is
there by its primary key. A row that was taken away at the source meanwhile is not followed: the comparison
finds it, and the move ends with nothing changed.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from cryptography.hazmat.primitives import hashes
from psycopg import sql

from core_app.errors import CoreError
from core_app.moving.tables import COMMANDS, MOVED, OUTBOX, Moved, bounds, where

Connection = psycopg.AsyncConnection[Any]

LOCK_MS = 1000
"""How long customers of the chunk may wait behind a move that waits for one of them. Source: our choice; a
transaction takes a few ms, and one that hangs is ended by the server after 3 s (`core_app.router_line`)."""
LOCK_TRIES = 10
_PAUSE_SECONDS = 0.2
_SLOT = 1936486260
"""Class of the advisory locks of `core.require_place`; 256 stands for all chunks of the cell."""

_COLUMNS = """
select n.nspname || '.' || c.relname,
       array_agg(a.attname::text order by a.attnum) filter (where a.attgenerated = '' and a.attidentity = ''),
       min(a.attname::text) filter (where a.attidentity <> ''),
       (select array_agg(k.attname::text order by k.attnum) from pg_constraint p
        join pg_attribute k on k.attrelid = c.oid and k.attnum = any (p.conkey)
        where p.conrelid = c.oid and p.contype = 'p')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where n.nspname in ('core', 'keys') and c.relkind = 'r'
group by n.nspname, c.relname, c.oid
"""


class RowsDiffer(CoreError):
    """The cells do not have the same rows of the chunk, or not the same tables; the message says which."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is copied of a table: its columns, its identity column if it has one, its primary key."""

    columns: tuple[str, ...]
    identity: str | None
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a round came: its snapshot, and by numbered table the highest number that had settled."""

    snapshot: str
    numbers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sums:
    """By table how many rows there are and the SHA-256 over theirs in order; equal rows have equal sums."""

    tables: Mapping[str, tuple[int, str]]

    @property
    def rows(self) -> dict[str, int]:
        """Return the number of rows by table, of those that have any."""
        return {name: count for name, (count, _) in sorted(self.tables.items()) if count}

    def join(self, settled: "Sums") -> "Sums":
        """Return the sums of these rows and those that had settled before, one entry a table."""
        none = (0, "")
        return Sums(
            {
                name: (count + settled.tables.get(name, none)[0], text + settled.tables.get(name, none)[1])
                for name, (count, text) in self.tables.items()
            }
        )

    def digest(self) -> bytes:
        """Return the SM3 over all tables' sums."""
        made = hashes.Hash(hashes.SM3())
        made.update(json.dumps({name: list(one) for name, one in sorted(self.tables.items())}).encode())
        return made.finalize()


@dataclass(slots=True)
class Copier:
    """Copies one chunk from `source` to `target`; `tell` hears a table and how many rows of it went over."""

    source: Connection
    target: Connection
    chunk: int
    tell: Callable[[str, int], None]
    shapes: dict[str, Shape] = field(default_factory=dict)

    async def prepare(self) -> None:
        """Read the tables' shapes; RowsDiffer when the cells are not on the same migrations."""
        for connection in (self.source, self.target):
            await connection.execute(
                "select set_config('timezone', 'UTC', false), set_config('datestyle', 'ISO', false)"
            )
        ours, theirs = await _read_shapes(self.source), await _read_shapes(self.target)
        different = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        if different:
            raise RowsDiffer(f"{', '.join(different)}: the cells are on different migrations")
        self.shapes = ours

    async def copy_round(self, since: Mark | None) -> tuple[Mark, int]:
        """Copy, in one snapshot of the source, what came after `since`; return how far, and how many rows.

        The snapshot and the numbers are taken at an instant at which no transaction of the chunk is open, so
        what is not seen here was begun later: it has a greater transaction id and greater numbers.
        """
        await take_place(self.source, self.chunk)
        try:
            await self.source.execute("begin isolation level repeatable read, read only")
            (snapshot,) = await _row(self.source, sql.SQL("select pg_current_snapshot()::text"))
            numbers = await self._read_numbers()
        finally:
            await self.source.execute("select pg_advisory_unlock_all()")
        rows = await self._copy_all(since, numbers)
        await self.source.execute("commit")
        return Mark(snapshot, numbers), rows

    async def _read_numbers(self) -> dict[str, int]:
        numbers = {}
        asked = sql.SQL("select coalesce(pg_sequence_last_value(pg_get_serial_sequence({}, {})), 0)")
        for moved in MOVED:
            if moved.numbered is not None and moved is not COMMANDS:
                names = sql.Literal(moved.name), sql.Literal(moved.numbered)
                numbers[moved.name] = int((await _row(self.source, asked.format(*names)))[0])
        return numbers | {COMMANDS.name: numbers[OUTBOX.name]}

    async def copy_rest(self, since: Mark) -> int:
        """Copy what came after the last round; the source is fenced, so there is an end to it."""
        return await self._copy_all(since, {})

    async def _copy_all(self, since: Mark | None, numbers: Mapping[str, int]) -> int:
        wanted = {moved.name: self._wanted(moved, since, numbers) for moved in MOVED}
        counts = dict.fromkeys(wanted, -1) if since is None else await self._count(wanted)
        rows = 0
        for moved in MOVED:
            if counts[moved.name]:
                over = since is not None and moved.numbered is None
                rows += await (self._put_over if over else self._copy)(moved, wanted[moved.name])
        return rows

    def _wanted(self, moved: Moved, since: Mark | None, numbers: Mapping[str, int]) -> sql.SQL:
        above = since.numbers[moved.name] if since is not None and moved.numbered else None
        found = where(moved, literals(self.chunk), above, numbers.get(moved.name))
        if since is not None and moved.numbered is None:
            found = f"({found}) and core.is_newer(t.xmin, '{since.snapshot}'::pg_snapshot)"
        return sql.SQL(found)

    async def _count(self, wanted: Mapping[str, sql.SQL]) -> dict[str, int]:
        one = sql.SQL("select {}, count(*) from {} t where {}")
        asked = [one.format(sql.Literal(name), table_name(name), found) for name, found in wanted.items()]
        rows = await self.source.execute(sql.SQL(" union all ").join(asked))
        return dict(await rows.fetchall())

    async def _copy(self, moved: Moved, wanted: sql.SQL, into: sql.Composable | None = None) -> int:
        """Copy rows as they are; those with an identity in its order, so that the target's rises alike."""
        shape, columns = self.shapes[moved.name], self._columns(moved)
        order = (
            sql.SQL(" order by t.{}").format(sql.Identifier(shape.identity))
            if shape.identity
            else sql.SQL("")
        )
        out = sql.SQL("copy (select {} from {} t where {}{}) to stdout").format(
            columns, table_name(moved.name), wanted, order
        )
        put = sql.SQL("copy {} ({}) from stdin").format(into or table_name(moved.name), columns)
        reading = self.source.cursor()
        async with reading.copy(out) as taken, self.target.cursor().copy(put) as given:
            async for block in taken:
                await given.write(block)
        rows = max(0, reading.rowcount)
        if rows:
            self.tell(moved.name, rows)
        return rows

    async def _put_over(self, moved: Moved, wanted: sql.SQL) -> int:
        """Copy rows over those of the same key."""
        beside, columns, shape = sql.Identifier("biyi_moving"), self._columns(moved), self.shapes[moved.name]
        makes = sql.SQL("create temp table {} on commit drop as select {} from {} t with no data")
        await self.target.execute(makes.format(beside, columns, table_name(moved.name)))
        rows = await self._copy(moved, wanted, beside)
        rest = [name for name in self._names(moved) if name not in shape.key]
        sets = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in rest)
        mine = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in rest)
        other = sql.SQL(", ").join(sql.SQL("excluded.{}").format(sql.Identifier(name)) for name in rest)
        key = sql.SQL(", ").join(map(sql.Identifier, shape.key))
        does: sql.SQL | sql.Composed = sql.SQL("nothing")
        if rest:
            does = sql.SQL("update set {} where ({}) is distinct from ({})").format(sets, mine, other)
        puts = sql.SQL("insert into {} as t ({}) select {} from {} on conflict ({}) do {}")
        await self.target.execute(puts.format(table_name(moved.name), columns, columns, beside, key, does))
        await self.target.execute(sql.SQL("drop table {}").format(beside))
        return rows

    def _names(self, moved: Moved) -> list[str]:
        return [name for name in self.shapes[moved.name].columns if name not in moved.fresh]

    def _columns(self, moved: Moved) -> sql.Composed:
        return sql.SQL(", ").join(map(sql.Identifier, self._names(moved)))

    async def sum_rows(
        self,
        connection: Connection,
        tables: Sequence[Moved],
        above: Mapping[str, int],
        upto: Mapping[str, int],
    ) -> Sums:
        """Return the sums of a chunk's rows; of numbered tables those above and up to what is given."""
        one = sql.SQL(
            "select {}, count(*),"
            " encode(sha256(coalesce(string_agg(r.h, ''::bytea order by r.h), '')), 'hex')"
            " from (select sha256(convert_to(row({})::text, 'UTF8')) as h from {} t where {}) as r"
        )
        asked = []
        for moved in tables:
            columns = sql.SQL(", ").join(
                sql.SQL("t.{}").format(sql.Identifier(n)) for n in self._names(moved)
            )
            found = where(moved, literals(self.chunk), above.get(moved.name), upto.get(moved.name))
            asked.append(one.format(sql.Literal(moved.name), columns, table_name(moved.name), sql.SQL(found)))
        rows = await connection.execute(sql.SQL(" union all ").join(asked))
        return Sums({name: (count, text) for name, count, text in await rows.fetchall()})

    async def require_kept(self, settled: Sums, upto: Mapping[str, int]) -> None:
        """Raise RowsDiffer when rows that had settled were taken back at the source since; fenced."""
        one = sql.SQL("select {}, count(*) from {} t where {}")
        asked = [
            one.format(
                sql.Literal(moved.name),
                table_name(moved.name),
                sql.SQL(where(moved, literals(self.chunk), None, upto[moved.name])),
            )
            for moved in MOVED
            if moved.withdrawn
        ]
        rows = await self.source.execute(sql.SQL(" union all ").join(asked))
        for name, count in await rows.fetchall():
            if (copied := settled.tables[name][0]) != count:
                raise RowsDiffer(
                    f"{name}: {copied - count} rows were taken back while they were copied: move again"
                )


async def take_place(connection: Connection, chunk: int) -> None:
    """Wait until no transaction of the chunk is open, and keep it so until all advisory locks are let go.

    RowsDiffer when one stays open too long. Held by the session, so that it is let go of when we die.
    """
    await connection.execute(sql.SQL("set lock_timeout = {}").format(sql.Literal(LOCK_MS)))
    for tried in range(LOCK_TRIES):
        try:
            for what in (256, chunk):  # the chunk's customers last, so that they wait the least
                lock = sql.SQL("select pg_advisory_lock({}, {})").format(
                    sql.Literal(_SLOT), sql.Literal(what)
                )
                await connection.execute(lock)
        except psycopg.errors.LockNotAvailable:
            await connection.execute("select pg_advisory_unlock_all()")
            await asyncio.sleep(_PAUSE_SECONDS * tried)
        else:
            return
    raise RowsDiffer(
        f"a transaction of chunk {chunk}, or of its whole cell, stays open: nobody could move it now"
    )


def require_equal(source: Sums, target: Sums) -> None:
    """Raise RowsDiffer unless both have the same rows."""
    for name, (count, text) in source.tables.items():
        there, found = target.tables[name]
        if (count, text) != (there, found):
            raise RowsDiffer(
                f"{name}: {count} rows at the source, {there} at the target, or not the same ones"
            )


def literals(chunk: int) -> dict[str, str]:
    """Return the bounds of a chunk as SQL literals."""
    return {name: sql.Literal(value).as_string(None) for name, value in bounds(chunk).items()}


def table_name(name: str) -> sql.Identifier:
    """Return `schema.table` as an identifier."""
    return sql.Identifier(*name.split("."))


async def _row(connection: Connection, asked: sql.SQL | sql.Composed) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = await (await connection.execute(asked)).fetchone()
    if row is None:
        raise RowsDiffer("a statement of the move without its row")
    return row


async def _read_shapes(connection: Connection) -> dict[str, Shape]:
    wanted = {moved.name for moved in MOVED}
    rows = await (await connection.execute(_COLUMNS)).fetchall()
    return {
        name: Shape(tuple(columns), identity, tuple(key or ()))
        for name, columns, identity, key in rows
        if name in wanted
    }
