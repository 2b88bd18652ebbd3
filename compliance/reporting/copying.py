"""COPY of a query's rows into a file and a hash, at the price of the bytes rather than of the rows.

psycopg hands out COPY row by row, each through the event loop: 2.2 µs a row, as much as reading a plain row
costs the server. Here all rows that have arrived are taken from libpq at once.
"""

import asyncio
from typing import Any, BinaryIO

import psycopg
from psycopg.abc import PQGen
from psycopg.generators import fetch_many
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.sql import SQL, Composed
from psycopg.waiting import Wait

BATCH_BYTES = 256 * 1024
"""What is written and hashed at once. Source: our choice."""


async def copy_out(
    connection: psycopg.AsyncConnection[Any], statement: SQL | Composed, file: BinaryIO, digest: Any
) -> int:
    """Append what a COPY TO STDOUT sends to `file` and `digest`; returns its rows. psycopg.Error, OSError.

    Writing and hashing are done in a thread, while more is read: both leave the interpreter to others. In
    order, and never more than two batches are held.
    """

    def keep(batch: bytearray) -> None:
        file.write(batch)
        digest.update(batch)

    keeping: asyncio.Task[None] | None = None
    async with connection.cursor() as cursor, cursor.copy(statement):
        ended: PGresult | None = None
        try:
            while ended is None:
                batch, ended = await connection.wait(_read_batch(connection.pgconn))
                if keeping is not None:
                    await asyncio.shield(keeping)
                keeping = asyncio.create_task(asyncio.to_thread(keep, batch))
        finally:
            if keeping is not None:  # nobody may close a file that is still written to
                await keeping
    return ended.command_tuples or 0


def _read_batch(libpq: PGconn) -> PQGen[tuple[bytearray, PGresult | None]]:
    """Take rows from libpq until there are enough; the second value is the COPY's result after the last.

    Each is copied at once: a list of them would have the garbage collector run every 700 rows.
    """
    batch = bytearray()
    while len(batch) < BATCH_BYTES:
        length, row = libpq.get_copy_data(1)
        if length > 0:
            batch += row
        elif length == 0:  # nothing more has arrived
            while not (yield Wait.R):
                pass
            libpq.consume_input()
        else:
            (result,) = yield from fetch_many(libpq)
            if result.status != ExecStatus.COMMAND_OK:
                raise psycopg.errors.error_from_result(result)
            return batch, result
    return batch, None
