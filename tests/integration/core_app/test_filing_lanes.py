"""How an evening's rows leave the database: in several sessions of one instant, whole or not at all."""

import asyncio
import hashlib
import io
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL

from compliance.reporting.copying import BATCH_BYTES, copy_out
from compliance.reporting.lanes import LANES, open_lanes
from compliance.reporting.snapshot import open_snapshot
from tests.integration.core_app.filing_house import MONTH_END, corrupt, evening, open_house
from tests.integration.core_app.portfolio import set_day

DAY_AFTER = MONTH_END.replace(month=2, day=1)
ROWS = 50_000
MANY = SQL("copy (select n, repeat('比翼', 10) from generate_series(1, {}) as n) to stdout").format(ROWS)
BREAKS = SQL("copy (select 1 / (40000 - n) from generate_series(1, 50000) as n) to stdout")


@pytest.fixture
async def connection(cells: Any) -> Any:
    dsn = cells.server.dsn(cells.databases["a"], "biyi_report")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as opened:
        yield opened


async def test_what_is_copied_is_hashed_and_counted_to_the_byte(connection: Any) -> None:
    file, digest = io.BytesIO(), hashlib.sha256()
    assert await copy_out(connection, MANY, file, digest) == ROWS
    wanted = "".join(f"{n}\t{'比翼' * 10}\n" for n in range(1, ROWS + 1)).encode()
    assert len(wanted) > 10 * BATCH_BYTES
    assert file.getvalue() == wanted
    assert digest.digest() == hashlib.sha256(wanted).digest()
    empty = SQL("copy (select 1 where false) to stdout")
    assert await copy_out(connection, empty, file, digest) == 0
    assert len(file.getvalue()) == len(wanted)


async def test_an_error_of_the_server_in_the_middle_is_raised_as_it_is(connection: Any) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await copy_out(connection, BREAKS, io.BytesIO(), hashlib.sha256())
    assert await copy_out(connection, MANY, io.BytesIO(), hashlib.sha256()) == ROWS


async def test_a_disk_that_takes_no_more_ends_the_copy(connection: Any) -> None:
    class Full(io.BytesIO):
        def write(self, batch: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        await copy_out(connection, MANY, Full(), hashlib.sha256())
    row = await (await connection.execute("select 1")).fetchone()
    assert row == (1,)


async def test_who_is_cancelled_leaves_no_statement_behind(connection: Any) -> None:
    # Of rows that fill the server's buffer: before its first answer the session would be psycopg's to mend.
    wide = "select repeat('x', 9000), pg_sleep(0.001) from generate_series(1, 1000000)"
    endless = SQL("copy ({}) to stdout").format(SQL(wide))
    task = asyncio.create_task(copy_out(connection, endless, io.BytesIO(), hashlib.sha256()))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


async def test_every_lane_sees_the_instant_of_the_first(core: Any, cells: Any, tmp_path: Path) -> None:
    house = open_house(core, cells, tmp_path)
    set_day(cells, DAY_AFTER)
    counted = "select count(*), pg_backend_pid() from core.accounts"
    async with open_snapshot(house.connect, "a", house.tables, evening(core)) as snapshot:
        corrupt(cells, "insert into core.accounts values ('9999', 'Written since', '后记')")
        try:
            async with open_lanes(house.connect, [snapshot]) as lanes:
                found = [await (await lane[0].connection.execute(counted)).fetchone() for lane in lanes]
                settings = [
                    await (await lane[0].connection.execute("show transaction_read_only")).fetchone()
                    for lane in lanes
                ]
        finally:
            corrupt(cells, "delete from core.accounts where account = '9999'")
    assert len(lanes) == LANES
    assert settings == [("on",)] * LANES
    assert len({count for count, _ in found}) == 1, "what was written after the first lane began is in none"
    assert len({pid for _, pid in found}) == LANES
