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
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.lending import repay
from tests.integration.core_app.portfolio import (
    close_day,
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


async def count_done(cells: Any, database: str) -> int:
    async with await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_app")) as connection:
        row = await (await connection.execute("select count(*) from core.day_end_progress")).fetchone()
        return int(row[0]) if row else 0


async def start(cells: Any, database: str) -> "asyncio.subprocess.Process":
    module = "tests.integration.core_app.day_end_process"
    dsn = cells.server.dsn(database, "biyi_app")
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, dsn, "a", EVENING.isoformat(), cwd=ROOT
    )


async def run_with_kills(cells: Any, database: str, dice: random.Random, kills: int) -> int:
    """Run day-end as a process, killing it `kills` times at random moments of its work; return how often."""
    killed = 0
    while True:
        running = await start(cells, database)
        if killed == kills:
            assert await asyncio.wait_for(running.wait(), 60) == 0
            return killed
        before, patience = await count_done(cells, database), time.monotonic() + 30
        while running.returncode is None and await count_done(cells, database) == before:
            assert time.monotonic() < patience, "no chunk was done in 30 s"
            await asyncio.sleep(0.005)
        await asyncio.sleep(dice.random() * 0.25)
        if running.returncode is not None:
            return killed
        running.send_signal(signal.SIGKILL)
        assert await running.wait() == -signal.SIGKILL
        killed += 1


@pytest.mark.parametrize("kills", [4, pytest.param(40, marks=pytest.mark.slow)])
async def test_a_day_end_that_is_killed_again_and_again_ends_with_the_same_rows(
    client: Any, core: Any, cells: Any, kills: int
) -> None:
    dice = random.Random(kills)
    await make_portfolio(client, cells, dice, 5)
    async with twin_of(cells, "a") as twin:
        await DayEnd(core, "a", lambda *_: None).run(EVENING)
        assert await run_with_kills(cells, twin, dice, kills) > 1
        undisturbed = await fingerprint(cells, cells.databases["a"])
        assert await fingerprint(cells, twin) == undisturbed
    # The hash can tell: one row less is another hash.
    async with await psycopg.AsyncConnection.connect(
        cells.server.dsn(cells.databases["a"], "biyi_admin")
    ) as connection:
        await connection.execute("set session_replication_role = replica")
        await connection.execute(
            "delete from core.loan_snapshots where loan_id = (select min(loan_id) from core.loan_snapshots)"
        )
        assert await read_fingerprint(connection, EVENING) != undisturbed
        await connection.rollback()


@pytest.mark.parametrize("seed", [1, 2])
async def test_beside_customers_every_snapshot_has_exactly_the_days_events(
    client: Any, core: Any, cells: Any, seed: int
) -> None:
    dice = random.Random(seed)
    loans = await make_portfolio(client, cells, dice, 6)
    products = await read_products(core, cells)
    stop = asyncio.Event()
    new: list[Any] = []

    async def be_a_customer(number: int) -> int:
        own, paid = random.Random(100 * seed + number), 0
        while not stop.is_set():
            loan = own.choice(loans)
            _, shown, _ = await client.get(f"/v1/loans/{loan.loan_id}")
            amount_fen = own.randrange(1, 5_000)
            if shown["outstanding_fen"] > amount_fen:
                status, _, _ = await repay(client, loan.loan_id, amount_fen)
                paid += status == 201
            if number == 0 and own.random() < 0.1:
                new.extend(await lend_some(client, own, EVENING, {}))
        return paid

    customers = [asyncio.create_task(be_a_customer(number)) for number in range(4)]
    await asyncio.sleep(0.2)
    await close_day(core, EVENING)
    stop.set()
    assert sum(await asyncio.gather(*customers)) > 50
    journals = await read_journals(cells)
    booked = {event.on for journal in journals.values() for event in journal}
    assert {EVENING, EVENING + dt.timedelta(days=1)} <= booked, "both days were met"
    rows = await cells.rows(f"select to_jsonb(s) from core.loan_snapshots s where on_date = '{EVENING}'")
    drawn_on = dict(await cells.rows("select loan_id, drawn_on from core.loans"))
    found = {row["loan_id"]: row for (row,) in rows}
    gone = {
        row[0] for row in await cells.rows(f"select loan_id from core.loans where settled_on < '{EVENING}'")
    }
    assert set(found) == {loan_id for loan_id, on in drawn_on.items() if on <= EVENING} - gone
    for loan in (*loans, *new):
        if loan.loan_id in found:
            journal = [event for event in journals.get(loan.loan_id, []) if event.on <= EVENING]
            wanted = stand(core, products[loan.product, loan.version], loan, journal, EVENING)
            wanted["next_due"] = wanted["next_due"] and wanted["next_due"].isoformat()
            assert {name: found[loan.loan_id][name] for name in wanted} == wanted, loan
    totals = await cells.rows("select sum(amount_fen)::bigint from core.entries")
    assert {row[0] for row in totals} <= {0, None}


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
