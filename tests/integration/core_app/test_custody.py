"""What a channel was paid for and confirms comes into custody once, however late, and is never forgotten."""

import asyncio
import datetime as dt
import random
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from core_app.day_end.service import DayEnd
from core_app.errors import Refused
from core_app.funding.catch_up import CaughtUp, catch_up
from core_app.funding.clear import clear_cell
from core_app.funding.clearing import Clearing
from core_app.funding.match import Unmatched, match_channels
from core_app.ids import Letter
from core_app.insight.read import measure, read_metrics
from core_app.sql.apply import apply_migrations, read_migrations
from tests.integration.core_app.lending import draw
from tests.integration.core_app.partners import running_banks
from tests.integration.core_app.test_clearing import clear, clock_day, on_account
from tests.integration.core_app.test_debits import ANSWER_S
from tests.integration.core_app.test_payer import look_until_final, make_payer

FEN = 1_200_000
"""What the helper `draw` draws."""
MANY = 12
ROWS = "select order_id, standing, note, reported_on from core.custody order by order_id, channel"


async def orders_of(cells: Any) -> list[str]:
    rows = await cells.rows("select order_id from core.payout_orders")
    return sorted(order for (order,) in rows)


async def pay(core: Any, cells: Any, folder: Path) -> str:
    """Have all orders paid by a bank; returns its name."""
    async with running_banks(folder, ANSWER_S, "bank_a", "bank_b") as banks:
        await look_until_final([make_payer(core, banks)], cells)
    ((name,),) = set(await cells.rows("select channel from core.payout_orders"))
    return str(name)


def file_of(orders: list[str], channel: str = "bank_a", fen: int = FEN) -> Clearing:
    return Clearing(channel, "payments", clock_day(), dict.fromkeys(orders, fen))


async def catch_up_all(core: Any, day: dt.date) -> CaughtUp:
    found = [await catch_up(core, cell, day) for cell in core.router.cells]
    return CaughtUp(sum(one.looked_at for one in found), sum(one.moved for one in found))


async def open_ones(core: Any, day: dt.date) -> list[Unmatched]:
    return [one for cell in core.router.cells for one in await match_channels(core, cell, day)]


def days_after(days: int) -> dt.date:
    return clock_day() + dt.timedelta(days=days)


async def test_a_file_that_came_before_its_order_was_paid_is_reported_by_the_next_day_end_once(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    loan = await draw(client)
    (order,) = await orders_of(cells)
    found = await clear(core, file_of([order]))
    assert found == [f"{order}: booked by the channel, {FEN} fen; with us not paid by it"]
    assert await pay(core, cells, tmp_path) == "bank_a"
    assert await on_account(cells, "100201") == 0
    # The whole day-end, run again as after a kill, and the days after it: moved once.
    cells.set_business_date(str(days_after(1)))
    cell = core.cell_of_id(Letter.LOAN, loan["loan_id"])
    for day in (1, 1, 2):
        closed = await DayEnd(core, cell, lambda *_: None).run(days_after(day))
        assert closed.unmatched == ()
        assert (await on_account(cells, "1002"), await on_account(cells, "100201")) == (0, -FEN)
    assert await cells.rows(ROWS) == [(order, "agrees", "", days_after(2))]


async def test_a_wrong_amount_stays_open_until_a_corrected_file_and_is_reported_once(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    await draw(client)
    channel = await pay(core, cells, tmp_path)
    orders = await orders_of(cells)
    wrong = file_of(orders, channel, FEN - 1)
    said = f"{orders[0]}: booked by the channel, {FEN - 1} fen; ordered {FEN} fen"
    assert await clear(core, wrong) == [said]
    assert (await catch_up_all(core, days_after(1))).moved == 0
    assert [one.differences for one in await open_ones(core, days_after(1))] == [1]
    right = file_of(orders, channel)
    with pytest.raises(Refused, match="was compared already: a corrected one"):
        await clear(core, right)
    for _ in range(2):
        done = [await clear_cell(core, cell, right, corrected=True) for cell in core.router.cells]
        assert [one.answer.body["differences"] for one in done] == [[], []]
        assert (await on_account(cells, "1002"), await on_account(cells, "100201")) == (0, -FEN)
    assert await clear(core, wrong) == [said], "the first file again answers as before, and changes nothing"
    assert (await catch_up_all(core, days_after(2))).moved == 0
    assert await open_ones(core, days_after(2)) == []
    # Another correction takes it back: nothing is moved any more, and somebody has to look.
    gone = file_of([], channel)
    found = [await clear_cell(core, cell, gone, corrected=True) for cell in core.router.cells]
    assert sum(len(one.answer.body["differences"]) for one in found) == 1
    assert (await catch_up_all(core, days_after(3))).moved == 0
    assert [one.without_file for one in await open_ones(core, days_after(3))] == [1]
    assert await on_account(cells, "100201") == -FEN
    again = replace(right, lines={**right.lines, orders[0][:4] + "-" + "f" * 32: 7})
    for cell in core.router.cells:
        await clear_cell(core, cell, again, corrected=True)
    assert await on_account(cells, "100201") == -FEN, "what was reported once is not reported again"
    assert [one.differences for one in await open_ones(core, days_after(4))] == [1]


async def test_what_stays_open_is_named_for_ever_and_counted_as_stale_after_a_week(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    await draw(client)
    channel = await pay(core, cells, tmp_path)
    stale = [read_metrics()["custody_stale"]]
    for days, late in ((1, False), (7, False), (8, True), (400, True)):
        (one,) = await open_ones(core, days_after(days))
        assert (one.without_file, one.amount_fen, one.days_open, one.stale) == (1, FEN, days, late)
        assert ("longer than a late file explains" in str(one)) is late
        (found,) = await measure(core, stale, days_after(days))
        assert dict(found.cube) == ({(channel, "payments"): (1, 1)} if late else {})
    assert await clear(core, file_of(await orders_of(cells), channel)) == []
    assert await open_ones(core, days_after(401)) == []
    assert await on_account(cells, "100201") == -FEN


async def test_kills_and_both_sites_at_once_report_each_order_exactly_once(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    """Files that come while day-ends of both sites, stopped at random, catch up: each order's money once."""
    for _ in range(MANY):
        await draw(client)
    orders, dice = await orders_of(cells), random.Random(11)
    await clear(core, file_of(orders[: MANY // 2]))  # before they are paid
    assert await pay(core, cells, tmp_path) == "bank_a"
    late = file_of(orders, fen=FEN)
    sites = [replace(core, site=site, new_uuid=uuid.uuid4) for site in ("idc", "cloud")]

    came = asyncio.Event()

    async def site_works(site: Any) -> None:
        while not came.is_set():
            work = asyncio.ensure_future(
                asyncio.gather(*(catch_up(site, cell, days_after(1), 1) for cell in "ab"))
            )
            await asyncio.wait({work}, timeout=dice.random() * 0.1)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def file_comes() -> None:
        while not await cells.rows("select 1 from core.custody where reported_on is not null"):
            await asyncio.sleep(0.01)  # until a day-end has begun to report
        await asyncio.gather(*(clear_cell(core, cell, late, corrected=True) for cell in "ab"))
        came.set()

    await asyncio.gather(*(site_works(site) for site in sites), file_comes())
    for cell in "ab":
        await catch_up(core, cell, days_after(1), 1)
    assert (await on_account(cells, "1002"), await on_account(cells, "100201")) == (0, -MANY * FEN)
    assert {row[1] for row in await cells.rows(ROWS)} == {"agrees"}
    moved = await cells.rows(
        "select sum((payload ->> 'moved')::integer) from core.outbox where topic = 'custody.caught_up'"
    )
    assert 0 < sum(count or 0 for (count,) in moved) < MANY, "day-ends and the file reported some each"


async def test_a_batch_goes_on_behind_the_one_before_it(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    for _ in range(3):
        await draw(client)
    orders = await orders_of(cells)
    await clear(core, file_of(orders, fen=FEN - 1))
    await pay(core, cells, tmp_path)
    found = [await catch_up(core, cell, days_after(1), 1) for cell in core.router.cells]
    assert sum(one.looked_at for one in found) == 3
    assert {row[1] for row in await cells.rows(ROWS)} == {"amount"}


async def test_the_database_itself_reports_no_order_twice_and_forgets_none(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    await draw(client)
    channel = await pay(core, cells, tmp_path)
    (order,) = await orders_of(cells)
    await clear(core, file_of([order], channel))
    ((database,),) = await cells.rows("select current_database() from core.custody")
    second = "insert into core.custody (order_id, channel, kind, on_date, standing, reported_on) values"
    for statement, state in (
        ("update core.custody set reported_on = reported_on + 1", "BY103"),
        ("update core.custody set standing = 'no_file', reported_on = null", "BY103"),
        (f"{second} ('{order}', 'bank_z', 'payments', '2026-02-15', 'agrees', '2026-02-15')", "23505"),
        ("delete from core.custody", "BY103"),
        ("truncate core.custody", "BY103"),
    ):
        async with await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_owner")) as owner:
            with pytest.raises(psycopg.Error) as refused:
                await owner.execute(statement)
        assert refused.value.sqlstate == state, statement


BEFORE = """
set session_replication_role = replica;
insert into core.payout_events (order_id, state, channel, note, epoch, by_site, at)
select o, 'paid', 'bank_a', '', 1, 'idc', '2026-02-15 20:00+08' from unnest(array['P1', 'P2', 'P3']) as o;
insert into core.debit_events (order_id, state, channel, note, epoch, by_site, at)
values ('D1', 'paid', 'bank_b', '', 1, 'idc', '2026-02-15 20:00+08');
insert into core.clearings (channel, kind, on_date, lines, amount_fen, differences, file_sm3,
    idempotency_key, at)
values ('bank_a', 'payments', '2026-02-15', 2, 10, '["P2: booked by the channel, 4 fen; ordered 5 fen"]',
        decode(repeat('00', 32), 'hex'), 'clear-1', '2026-02-17 09:00+08'),
       ('bank_b', 'debits', '2026-02-15', 1, 5, '[]', decode(repeat('00', 32), 'hex'), 'clear-2',
        '2026-02-18 09:00+08');
insert into core.clearing_lines (order_id, channel, kind, on_date, amount_fen)
values ('P1', 'bank_a', 'payments', '2026-02-15', 5), ('P2', 'bank_a', 'payments', '2026-02-15', 4),
       ('D1', 'bank_b', 'debits', '2026-02-15', 5);
set session_replication_role = origin;
"""


async def test_what_was_paid_before_has_its_row_and_only_what_was_moved_counts_as_reported(
    cells: Any,
) -> None:
    name, server = "before_custody", cells.server
    admin = await psycopg.AsyncConnection.connect(server.dsn("postgres", "biyi_admin"), autocommit=True)
    every = read_migrations()
    async with admin:
        await admin.execute(f"create database {name} owner biyi_owner")
        try:
            async with await psycopg.AsyncConnection.connect(
                server.dsn(name, "biyi_owner"), autocommit=True
            ) as owner:
                await apply_migrations(owner, tuple(one for one in every if one.name < "116"))
                server.run("psql", "-U", "biyi_admin", "-d", name, "-v", "ON_ERROR_STOP=1", "-qc", BEFORE)
                await apply_migrations(owner, every)
                rows = await (
                    await owner.execute(
                        "select order_id, standing, reported_on::text, on_date::text"
                        " from core.custody order by order_id"
                    )
                ).fetchall()
        finally:
            await admin.execute(f"drop database {name} with (force)")
    assert rows == [
        ("D1", "agrees", "2026-02-18", "2026-02-15"),
        ("P1", "agrees", "2026-02-17", "2026-02-15"),
        ("P2", "no_file", None, "2026-02-15"),
        ("P3", "no_file", None, "2026-02-15"),
    ]
