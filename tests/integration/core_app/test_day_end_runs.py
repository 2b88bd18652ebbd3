"""Day-end killed at any moment ends with the same rows; beside customers it sees each day whole."""

import asyncio
import contextlib
import datetime as dt
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from core_app.day_end.fingerprint import read_fingerprint
from core_app.day_end.service import DayEnd, DayNotOpen, read_status
from core_app.ids import Letter, slot_of_id
from core_app.slots import cell_of_slot, chunk_of_slot
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.lending import repay
from tests.integration.core_app.portfolio import (
    close_chunks_of,
    lend_some,
    pay_something,
    read_journals,
    read_products,
    set_day,
    stand,
)

ROOT = Path(__file__).parents[3]
EVENING = dt.date(2026, 5, 3)  # a day on which bills are made, two instalments after the first loans


async def make_portfolio(client: Any, cells: Any, dice: random.Random, customers: int) -> list[Any]:
    loans = [loan for _ in range(customers) for loan in await lend_some(client, dice, TODAY, {})]
    set_day(cells, EVENING)
    for loan in loans:
        if dice.random() < 0.4:
            await pay_something(client, dice, loan)
    return loans


@contextlib.asynccontextmanager
async def twin_of(cells: Any, cell: str) -> AsyncIterator[str]:
    """Yield the name of a copy of a cell's database as it is now."""
    name = "twin"
    admin = await psycopg.AsyncConnection.connect(cells.server.dsn("postgres", "biyi_admin"), autocommit=True)
    async with admin:
        source = cells.databases[cell]
        await admin.execute(
            f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{source}'"
        )
        await admin.execute(f"create database {name} template {source}")
        try:
            yield name
        finally:
            await admin.execute(f"drop database {name} with (force)")


async def fingerprint(cells: Any, database: str) -> str:
    async with await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_app")) as connection:
        return await read_fingerprint(connection, EVENING)


async def count_done(connection: Any) -> int:
    row = await (await connection.execute("select count(*) from core.day_end_progress")).fetchone()
    return int(row[0])


async def start(cells: Any, database: str, cell: str) -> "asyncio.subprocess.Process":
    module = "tests.integration.core_app.day_end_process"
    dsn = cells.server.dsn(database, "biyi_app")
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, dsn, cell, EVENING.isoformat(), cwd=ROOT
    )


async def run_with_kills(cells: Any, cell: str, database: str, kills: int) -> int:
    """Run day-end as a process, killing it `kills` times at random moments of its work; return how often."""
    dice = random.Random(kills)
    dsn = cells.server.dsn(database, "biyi_app")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        for killed in range(kills):
            running = await start(cells, database, cell)
            before, patience = await count_done(connection), time.monotonic() + 30
            while running.returncode is None and await count_done(connection) == before:
                assert time.monotonic() < patience, "no chunk was done in 30 s"
                await asyncio.sleep(0.01)
            await asyncio.sleep(dice.random() * 0.4 / kills)
            if running.returncode is not None:
                return killed
            running.send_signal(signal.SIGKILL)
            assert await running.wait() == -signal.SIGKILL
    assert await asyncio.wait_for((await start(cells, database, cell)).wait(), 60) == 0
    return kills


@pytest.mark.parametrize("kills", [2, pytest.param(40, marks=pytest.mark.slow)])
async def test_a_day_end_that_is_killed_again_and_again_ends_with_the_same_rows(
    client: Any, core: Any, cells: Any, kills: int
) -> None:
    loans = await make_portfolio(client, cells, random.Random(kills), 3)
    # The cell with more of them: each person lives where the hash of the number says.
    places = [str(core.cell_of_id(Letter.LOAN, loan.loan_id)) for loan in loans]
    cell = max(cells.databases, key=places.count)
    async with twin_of(cells, cell) as twin:
        assert await run_with_kills(cells, cell, cells.databases[cell], 0) == 0
        killed = await run_with_kills(cells, cell, twin, kills)
        assert killed >= min(kills, 20), "day-end was over before it could be killed so often"
        undisturbed = await fingerprint(cells, cells.databases[cell])
        assert await fingerprint(cells, twin) == undisturbed
    # The hash can tell: one row less is another hash.
    async with await psycopg.AsyncConnection.connect(
        cells.server.dsn(cells.databases[cell], "biyi_admin")
    ) as connection:
        await connection.execute("set session_replication_role = replica")
        await connection.execute(
            "delete from core.loan_snapshots where loan_id = (select min(loan_id) from core.loan_snapshots)"
        )
        assert await read_fingerprint(connection, EVENING) != undisturbed
        await connection.rollback()


async def test_beside_customers_every_snapshot_has_exactly_the_days_events(
    client: Any, core: Any, cells: Any
) -> None:
    dice = random.Random(1)
    loans = await make_portfolio(client, cells, dice, 2)
    products = await read_products(core, cells)
    evenings = [EVENING + dt.timedelta(days=days) for days in range(12)]
    stop = asyncio.Event()

    async def be_a_customer(number: int) -> int:
        own, paid = random.Random(number), 0
        while not stop.is_set():
            loan = own.choice(loans)
            status, _, _ = await repay(client, loan.loan_id, own.randrange(1, 300))
            paid += status == 201
        return paid

    customers = [asyncio.create_task(be_a_customer(number)) for number in range(6)]
    for evening in evenings:
        await asyncio.sleep(0.1)
        await close_chunks_of(core, loans, evening)
    stop.set()
    assert sum(await asyncio.gather(*customers)) > 100
    journals = await read_journals(cells)
    rows = await cells.rows("select on_date, loan_id, to_jsonb(s) from core.loan_snapshots s")
    found = {(day, loan_id): row for day, loan_id, row in rows}
    booked = {event.on for journal in journals.values() for event in journal}
    assert set(evenings) <= booked, "customers paid on every one of the days"
    for loan in loans:
        for evening in evenings:
            row = found.get((evening, loan.loan_id))
            journal = [event for event in journals.get(loan.loan_id, []) if event.on <= evening]
            wanted = stand(core, products[loan.product, loan.version], loan, journal, evening)
            wanted["next_due"] = wanted["next_due"] and wanted["next_due"].isoformat()
            if row is None:
                assert wanted["balance_fen"] == wanted["penalty_fen"] == 0, loan
                continue
            assert {name: row[name] for name in wanted} == wanted, (loan, evening)
    totals = await cells.rows("select sum(amount_fen)::bigint from core.entries")
    assert {row[0] for row in totals} <= {0, None}


async def test_day_end_waits_for_the_commands_of_its_day_and_they_for_it(
    client: Any, core: Any, cells: Any
) -> None:
    loan = (await lend_some(client, random.Random(1), TODAY, {}))[0]
    set_day(cells, EVENING)
    slot = slot_of_id(Letter.LOAN, loan.loan_id)
    assert slot is not None
    database = cells.databases[cell_of_slot(slot, core.router.cells)]
    dsn = cells.server.dsn(database, "biyi_app")
    enter = f"select core.enter_day({chunk_of_slot(slot)}::smallint, '{EVENING}')"
    async with await psycopg.AsyncConnection.connect(dsn) as command:
        await command.execute(enter)
        closing = asyncio.create_task(close_chunks_of(core, [loan], EVENING))
        await asyncio.sleep(0.3)
        assert not closing.done(), "a command dated this day is not committed yet"
        # A command that comes now waits behind day-end, and is dated the next day.
        late = asyncio.create_task(repay(client, loan.loan_id, 1_000))
        await asyncio.sleep(0.2)
        assert not late.done()
        await command.commit()
        await closing
        assert (await late)[0] == 201
    journals = await read_journals(cells)
    assert [event.on for event in journals[loan.loan_id]] == [EVENING + dt.timedelta(days=1)]


async def test_two_runners_at_once_close_a_day_once(client: Any, core: Any, cells: Any) -> None:
    await make_portfolio(client, cells, random.Random(9), 1)
    first, second = await asyncio.gather(
        DayEnd(core, "a", lambda *_: None).run(EVENING), DayEnd(core, "a", lambda *_: None).run(EVENING)
    )
    assert (first.loans, first.closings) == (second.loans, second.closings)
    again = await DayEnd(core, "a", lambda *_: None).run(EVENING)
    assert (again.loans, again.closings) == (first.loans, first.closings)
    status = await read_status(core, "a")
    assert (status["business_date"], status["day_end_of"]) == ("2026-05-04", "2026-05-03")
    assert {step["chunks"] for step in status["steps"].values()} == {128}
    with pytest.raises(DayNotOpen, match="cell a is on 2026-05-04"):
        await DayEnd(core, "a", lambda *_: None).run(EVENING + dt.timedelta(days=2))


async def test_a_cell_that_followed_the_calendar_is_taken_over_by_its_first_day_end(
    core: Any, cells: Any
) -> None:
    closed = await DayEnd(core, "b", lambda *_: None).run()
    assert closed.day == TODAY
    assert (await read_status(core, "b"))["business_date"] == "2026-01-16"
    assert (await read_status(core, "a"))["business_date"] is None
