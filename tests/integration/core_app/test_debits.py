"""Instalments collected on a real PostgreSQL from fake banks: once, whatever dies, and never twice booked."""

import asyncio
import contextlib
import datetime as dt
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core_app.commands import make_command
from core_app.day_end.service import Step, do_chunk
from core_app.funding.debits import DEBITS, _book, _fix_part
from core_app.funding.fake_bank import DEBITS as DEBITS_PATH
from core_app.funding.payer import OrderBook, Payer
from core_app.funding.settings import ChannelSettings, PayerSettings
from core_app.loans.repay import repay_loan
from runbooks.stand.fake_bank import read_book
from tests.integration.core_app.lending import draw, repay
from tests.integration.core_app.partners import Bank, running_banks

ANSWER_S = 0.3
SETTINGS = PayerSettings(
    channels=(ChannelSettings("bank_a", "bank_debit", ""), ChannelSettings("bank_b", "third_party", "")),
    status_port=0,
    answer_s=ANSWER_S,
    probe_every_s=0.1,
    again_s=0.05,
    lease_s=0.6,
    poll_s=0.02,
)
EVE, DUE = dt.date(2026, 2, 14), dt.date(2026, 2, 15)
INSTALMENT_FEN = 110_016
FAULTS = ("cut_before", "cut_after", "cut_then_book", "hang_before", "hang_after")
ORDERS = (
    "select loan_id, attempt, amount_fen, state, channel from core.debit_orders order by loan_id, attempt"
)


@pytest.fixture
async def banks(tmp_path: Path) -> AsyncIterator[tuple[Bank, Bank]]:
    async with running_banks(tmp_path, ANSWER_S, "bank_a", "bank_b") as (debit, third_party):
        yield debit, third_party


def make_collector(core: Any, banks: tuple[Bank, Bank], site: str = "idc") -> Payer:
    channels = {bank.name: replace(bank.channel, path=DEBITS_PATH) for bank in banks}
    own = replace(core, site=site, router=core.router.payer)  # its own rights, none of the core's
    return Payer(own, SETTINGS, channels, time.monotonic, DEBITS)


async def lend(client: Any, agreement: str | None = "AGR-0001") -> Any:
    loan = await draw(client)
    if agreement is not None:
        body = {"customer_id": loan["customer_id"], "agreement": agreement}
        assert (await client.post("/v1/debit-agreements", body))[0] == 201
    return loan


async def close_eve(core: Any, cells: Any, loans: list[Any], day: dt.date = EVE) -> None:
    """Run day-end for the loans' chunks, then let every cell be on the next day."""
    cells.set_business_date(str(day))
    owners = {loan["customer_id"] for loan in loans}
    places = {(core.cell_of_customer(owner), core.chunk_of_customer(owner)) for owner in owners}
    for step in Step:
        for cell, chunk in sorted(places):
            await do_chunk(core, cell, (day, step, chunk))
    cells.set_business_date(str(day + dt.timedelta(days=1)))
    for database in cells.databases.values():
        # Orders open at eight of their day by the clock, which need not be near the business date here.
        cells.run_sql(
            database,
            "update core.debit_orders set due_at = now(), give_up_at = now() + interval '12 hours'"
            " where state = 'ordered'",
        )


async def look(payers: list[Payer], times: int = 1) -> None:
    for _ in range(times):
        for payer in payers:
            await payer.probe()
            await asyncio.gather(*(payer.look(cell) for cell in ("a", "b")))


async def look_until_booked(payers: list[Payer], cells: Any, seconds: float = 15.0) -> None:
    open_ones = """select state from core.debit_orders
                   where state in ('ordered', 'sent', 'unknown') or (state = 'paid' and booked_at is null)"""
    end = time.monotonic() + seconds
    while await cells.rows(open_ones):
        assert time.monotonic() < end, await cells.rows(ORDERS)
        await look(payers)
        await asyncio.sleep(0.02)


def collected(banks: tuple[Bank, Bank]) -> dict[str, int]:
    books = [{line["order_id"]: line["amount_fen"] for line in read_book(bank.book, "D")} for bank in banks]
    assert not books[0].keys() & books[1].keys(), "collected twice"
    return books[0] | books[1]


async def balance(cells: Any, account: str) -> int:
    rows = await cells.rows(
        f"select coalesce(sum(amount_fen), 0)::bigint from core.entries where account = '{account}'"
    )
    return sum(int(row[0]) for row in rows)


async def test_what_falls_due_is_collected_on_its_day_and_booked_once(
    client: Any, core: Any, cells: Any, banks: tuple[Bank, Bank]
) -> None:
    loans = [await lend(client), await lend(client, None)]
    collector = make_collector(core, banks)
    await close_eve(core, cells, loans, EVE - dt.timedelta(days=1))
    await look([collector])
    assert await cells.rows(ORDERS) == [], "nothing is due the next day"
    await close_eve(core, cells, loans)
    await look([collector], 3)
    assert await cells.rows(ORDERS) == [(loans[0]["loan_id"], 1, INSTALMENT_FEN, "paid", "bank_a")]
    assert list(collected(banks).values()) == [INSTALMENT_FEN]
    repaid = await cells.rows("select loan_id, amount_fen, booked_on, idempotency_key from core.repayments")
    (order_id,) = collected(banks)
    assert repaid == [(loans[0]["loan_id"], INSTALMENT_FEN, DUE, f"debit-{order_id}")]
    assert await balance(cells, "2241") == 0
    await close_eve(core, cells, loans, DUE)
    await look([collector])
    assert len(await cells.rows(ORDERS)) == 1, "the next instalment is not due yet"


async def test_without_money_the_next_channel_is_tried_then_later_the_same_day_and_then_no_more(
    client: Any, core: Any, cells: Any, banks: tuple[Bank, Bank]
) -> None:
    loan, collector = await lend(client), make_collector(core, banks)
    await close_eve(core, cells, [loan])
    for bank in banks:
        await bank.break_down("refuse")
    for attempt in range(1, 4):
        await look([collector], 4)
        rows = await cells.rows(
            "select attempt, state, due_at > now() + interval '3 hours' from core.debit_orders"
        )
        states = {n: (state, later) for n, state, later in rows}
        assert states[attempt] == ("failed", False)
        assert len(states) == min(attempt + 1, 3)
        if attempt < 3:
            assert states[attempt + 1] == ("ordered", True)
            for database in cells.databases.values():
                cells.run_sql(database, "update core.debit_orders set due_at = now() where state = 'ordered'")
    refused = await cells.rows("select distinct refused_by from core.debit_orders")
    assert refused == [(["bank_a", "bank_b"],)]
    assert (collected(banks), await cells.rows("select from core.repayments")) == ({}, [])
    await banks[1].break_down("none")
    await close_eve(core, cells, [loan], DUE)
    await look([collector], 4)
    penalty_fen = 69  # of 920.16 yuan for one day: 18 % times 1.5 over 360 days
    assert list(collected(banks).values()) == [INSTALMENT_FEN + penalty_fen]
    assert (await cells.rows("select channel from core.debit_orders where state = 'paid'")) == [("bank_b",)]


async def test_what_was_paid_before_the_look_is_not_collected_and_what_was_paid_after_it_is_owed_back(
    client: Any, core: Any, cells: Any, banks: tuple[Bank, Bank]
) -> None:
    early, late = await lend(client), await lend(client)
    collector = make_collector(core, banks)
    await close_eve(core, cells, [early, late])
    assert (await repay(client, early["loan_id"], INSTALMENT_FEN))[0] == 201
    await banks[0].break_down("hang_after")  # collected, and nobody is told
    await look([collector])
    _, payoff, _ = await client.get(f"/v1/loans/{late['loan_id']}/payoff")
    full = {"loan_id": late["loan_id"], "mode": "full", "amount_fen": payoff["total_fen"]}
    assert (await client.post("/v1/prepayments", full))[0] == 201
    await banks[0].break_down("none")
    await look_until_booked([collector], cells)
    states = dict(await cells.rows("select loan_id, state from core.debit_orders"))
    assert states == {early["loan_id"]: "needless", late["loan_id"]: "paid"}
    assert list(collected(banks).values()) == [INSTALMENT_FEN]
    assert await balance(cells, "2241") == -INSTALMENT_FEN, "owed back to the borrower"
    assert (
        sum(row[0] or 0 for row in await cells.rows("select sum(amount_fen)::bigint from core.entries")) == 0
    )


async def test_two_who_book_the_last_instalment_at_once_book_it_on_the_loan_and_owe_nothing_back(
    client: Any, core: Any, cells: Any, banks: tuple[Bank, Bank]
) -> None:
    loan = await lend(client)
    outstanding_fen = (await client.get(f"/v1/loans/{loan['loan_id']}"))[1]["outstanding_fen"]
    assert (await repay(client, loan["loan_id"], outstanding_fen - 7))[0] == 201
    await close_eve(core, cells, [loan], dt.date(2027, 1, 14))
    without_booking = OrderBook(DEBITS.due, DEBITS.write, DEBITS.give_up, DEBITS.before)
    channels = {bank.name: replace(bank.channel, path=DEBITS_PATH) for bank in banks}
    await look(
        [Payer(replace(core, router=core.router.payer), SETTINGS, channels, time.monotonic, without_booking)]
    )
    assert [row[2:4] for row in await cells.rows(ORDERS)] == [(7, "paid")]
    cell = core.cell_of_customer(loan["customer_id"])
    ((order_id, amount_fen),) = await cells.rows("select order_id, amount_fen from core.debit_orders")
    order = (order_id, loan["loan_id"], amount_fen)
    # One payer books it on the loan and dies; others have read the order unbooked too.
    assert await _fix_part(core, cell, order) == 7
    body = {"loan_id": loan["loan_id"], "amount_fen": 7}
    await repay_loan(core, make_command(core, f"debit-{order_id}", "repayment", body), loan["loan_id"], 7)
    assert await asyncio.gather(*(_book(core, cell, order) for _ in range(4))) == [True] * 4
    assert await _book(core, cell, order)
    booked = await cells.rows("select amount_fen from core.repayments where idempotency_key like 'debit-%'")
    assert (booked, await balance(cells, "2241")) == ([(7,)], 0)
    assert (await client.get(f"/v1/loans/{loan['loan_id']}"))[1]["status"] == "settled"


async def test_an_agreement_that_ended_collects_nothing(
    client: Any, core: Any, cells: Any, banks: tuple[Bank, Bank]
) -> None:
    loan = await lend(client)
    ended = {"customer_id": loan["customer_id"]}
    assert (await client.post("/v1/debit-agreements", ended))[1]["active"] is False
    await close_eve(core, cells, [loan])
    await look([make_collector(core, banks)])
    assert await cells.rows(ORDERS) == []
    status, refused, _ = await client.post("/v1/debit-agreements", {"customer_id": "C" + "0" * 24})
    assert (status, refused["errors"][0]["found"]) == (422, "no such customer")


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 8))])
async def test_collectors_and_banks_that_break_down_at_random_collect_and_book_each_instalment_once(
    client: Any, core: Any, cells: Any, banks: tuple[Bank, Bank], seed: int
) -> None:
    dice = random.Random(seed)
    loans = [await lend(client) for _ in range(8)]
    await close_eve(core, cells, loans)
    payers = [make_collector(core, banks, site) for site in ("idc", "cloud")]
    for _ in range(5):
        for bank in banks:
            if bank.process is None:
                await bank.start()
            elif dice.random() < 0.2:
                bank.end()
            else:
                await bank.break_down(dice.choice(("none", *FAULTS)))
        looks = [
            asyncio.create_task(payer.look(cell)) for payer in payers for cell in ("a", "b") for _ in "12"
        ]
        paid = asyncio.create_task(repay(client, dice.choice(loans)["loan_id"], dice.randrange(1, 200_000)))
        await asyncio.sleep(dice.uniform(0.0, 0.4))
        for one in dice.sample(looks, 3):
            one.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*looks, return_exceptions=True)
        assert (await paid)[0] == 201
    for bank in banks:
        if bank.process is None:
            await bank.start()
        await bank.break_down("none")
    await look_until_booked(payers, cells)
    orders = await cells.rows(
        "select order_id, amount_fen, part_fen from core.debit_orders where state = 'paid'"
    )
    assert collected(banks) == {order_id: amount_fen for order_id, amount_fen, _ in orders}
    booked = await cells.rows(
        "select substr(idempotency_key, 7), amount_fen from core.repayments"
        " where idempotency_key like 'debit-%'"
    )
    assert dict(booked) == {order_id: part_fen for order_id, _, part_fen in orders if part_fen}
    surplus_fen = sum(amount_fen - part_fen for _, amount_fen, part_fen in orders)
    assert await balance(cells, "2241") == -surplus_fen
    assert (
        sum(row[0] or 0 for row in await cells.rows("select sum(amount_fen)::bigint from core.entries")) == 0
    )
