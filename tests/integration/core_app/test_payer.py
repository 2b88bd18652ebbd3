"""Payouts on a real PostgreSQL and fake banks in processes of their own: paid once, whatever dies."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from core_app.funding.breaker import Breaker
from core_app.funding.payer import Payer
from core_app.funding.settings import ChannelSettings, PayerSettings
from core_app.ids import Letter
from tests.integration.core_app.lending import draw
from tests.integration.core_app.partners import (
    Bank,
    draw_contract,
    make_partner,
    publish,
    running_banks,
    sign_joint,
)

ANSWER_S = 0.3
SETTINGS = PayerSettings(
    channels=tuple(ChannelSettings(name, "bank_transfer", "") for name in ("bank_a", "bank_b")),
    status_port=0,
    answer_s=ANSWER_S,
    probe_every_s=0.1,
    again_s=0.05,
    lease_s=0.6,
    poll_s=0.02,
)
FAULTS = ("cut_before", "cut_after", "cut_then_book", "hang_before", "hang_after")
ORDERS = "select order_id, amount_fen, state, channel from core.payout_orders order by order_id"
HISTORY = "select state, channel from core.payout_events order by event_id"


@pytest.fixture
async def banks(tmp_path: Path) -> AsyncIterator[tuple[Bank, Bank]]:
    async with running_banks(tmp_path, ANSWER_S, "bank_a", "bank_b") as (favoured, other):
        yield favoured, other


def make_payer(
    core: Any, banks: tuple[Bank, Bank], site: str = "idc", settings: PayerSettings = SETTINGS
) -> Payer:
    channels = {bank.name: bank.channel for bank in banks}
    own = replace(core, site=site, router=core.router.payer)  # its own rights, none of the core's
    return Payer(own, settings, channels, time.monotonic)


async def look_until_final(payers: list[Payer], cells: Any, seconds: float = 15.0) -> list[Any]:
    end = time.monotonic() + seconds
    while any(row[2] not in ("paid", "failed") for row in await cells.rows(ORDERS)):
        assert time.monotonic() < end, await cells.rows(ORDERS)
        for payer in payers:
            await payer.probe()
            await asyncio.gather(*(payer.look(cell) for cell in ("a", "b")))
        await asyncio.sleep(0.02)
    rows: list[Any] = await cells.rows(ORDERS)
    return rows


def assert_paid_once(rows: list[Any], banks: tuple[Bank, Bank]) -> None:
    books = {bank.name: bank.payments() for bank in banks}
    assert not books["bank_a"].keys() & books["bank_b"].keys(), "paid twice"
    assert {order_id: fen for order_id, fen, *_ in rows} == books["bank_a"] | books["bank_b"]
    for order_id, _, state, channel in rows:
        assert state == "paid"
        assert order_id in books[channel]


async def test_a_draw_is_paid_at_the_favoured_channel_and_its_history_is_kept(
    client: Any, core: Any, cells: Any, banks: tuple[Bank, Bank]
) -> None:
    await draw(client)
    rows = await look_until_final([make_payer(core, banks)], cells)
    assert [row[2:] for row in rows] == [("paid", "bank_a")]
    assert await cells.rows(HISTORY) == [("ordered", None), ("sent", "bank_a"), ("paid", "bank_a")]
    assert_paid_once(rows, banks)
    again = "update core.payout_orders set state = 'ordered', channel = null returning 1"
    with pytest.raises(psycopg.Error) as refused:
        await cells.rows(again)
    assert refused.value.sqlstate == "BY104", "what is paid stays paid"


async def test_a_killed_channel_is_left_at_once_for_new_orders_and_only_asked_for_old_ones(
    client: Any, core: Any, cells: Any, banks: tuple[Bank, Bank]
) -> None:
    payer = make_payer(core, banks)
    await draw(client)
    await banks[0].break_down("hang_after")  # booked, never answered
    await asyncio.gather(*(payer.look(cell) for cell in ("a", "b")))
    banks[0].end()
    await asyncio.gather(*(draw(client) for _ in range(6)))
    wanted, end = [("paid", "bank_b")] * 6 + [("unknown", "bank_a")], time.monotonic() + 15
    while (states := sorted(row[2:] for row in await cells.rows(ORDERS))) != wanted:
        assert time.monotonic() < end, states
        await asyncio.gather(*(payer.look(cell) for cell in ("a", "b")))
        await asyncio.sleep(0.05)
    assert not payer.breakers["bank_a"].is_closed
    await banks[0].start()
    rows = await look_until_final([payer], cells)
    assert sorted(row[3] for row in rows) == ["bank_a"] + ["bank_b"] * 6
    assert_paid_once(rows, banks)


async def test_an_order_that_every_channel_refuses_is_voided_and_its_quota_free(
    client: Any, core: Any, cells: Any, banks: tuple[Bank, Bank]
) -> None:
    for bank in banks:
        await bank.break_down("refuse")
    loan = await draw(client)
    rows = await look_until_final([make_payer(core, banks)], cells)
    assert [row[2] for row in rows] == ["failed"]
    assert await cells.rows("select loan_id, reason from core.draw_voids") == [
        (loan["loan_id"], "refused by bank_a, bank_b")
    ]
    assert sum(row[0] for row in await cells.rows("select amount_fen from core.entries")) == 0
    assert [bank.payments() for bank in banks] == [{}, {}]


async def test_an_order_of_a_lost_history_is_asked_for_everywhere_before_it_is_paid(
    client: Any, core: Any, cells: Any, banks: tuple[Bank, Bank]
) -> None:
    """A forced promotion lost the rows that said sent: one order had reached the second bank, one none."""
    payer = make_payer(core, banks)
    banks[0].end()
    await draw(client)
    await look_until_final([payer], cells)
    await banks[0].start()
    await draw(client)
    rewound = """
        update core.payout_orders set state = 'ordered', channel = null, valid_until = null,
            due_at = now(), epoch = 6
    """
    for database in cells.databases.values():
        cells.server.run(
            "psql", "-U", "biyi_admin", "-d", database, "-qc",
            f"set session_replication_role = replica; {rewound}",
        )  # fmt: skip
    rows = await look_until_final([make_payer(core, banks)], cells)
    assert sorted(row[3] for row in rows) == ["bank_a", "bank_b"]
    assert_paid_once(rows, banks)


async def test_an_order_not_found_while_its_request_may_still_come_stays_in_doubt(
    client: Any, core: Any, cells: Any, banks: tuple[Bank, Bank]
) -> None:
    payer = make_payer(core, banks, settings=replace(SETTINGS, answer_s=4.0, lease_s=5.0))
    await draw(client)
    ((order_id, *_),) = await cells.rows(ORDERS)
    cell = core.cell_of_id(Letter.PAYOUT, order_id)
    await banks[0].break_down("cut_then_book")
    assert await payer.look(cell) == 1
    await asyncio.sleep(SETTINGS.again_s)
    assert await payer.look(cell) == 1, "asked before the request has come through"
    assert (await cells.rows(ORDERS))[0][2:] in (("unknown", "bank_a"), ("paid", "bank_a"))
    payer.breakers["bank_a"] = Breaker(SETTINGS.failures, time.monotonic() + 0.5)
    rows = await look_until_final([payer], cells)
    assert rows[0][2:] == ("paid", "bank_a")
    assert_paid_once(rows, banks)


async def test_an_answer_that_comes_after_another_payer_took_over_is_not_written(
    client: Any, core: Any, cells: Any, banks: tuple[Bank, Bank]
) -> None:
    await draw(client)
    ((order_id, *_),) = await cells.rows(ORDERS)
    cell = core.cell_of_id(Letter.PAYOUT, order_id)
    await banks[0].break_down("hang_before")
    await banks[1].break_down("cut_after")
    patient = (replace(banks[0], answer_s=1.5), banks[1])
    slow, other = make_payer(core, patient), make_payer(core, banks, "cloud")
    sending = asyncio.create_task(slow.look(cell))  # waits for the first bank beyond its lease
    await asyncio.sleep(SETTINGS.lease_s + 0.1)
    assert await other.look(cell) == 1, "asks the first bank, which never booked it"
    other.breakers["bank_a"] = Breaker(SETTINGS.failures, time.monotonic() + 60)
    assert await other.look(cell) == 1, "pays at the second bank, whose answer is lost"
    before = await cells.rows(ORDERS)
    assert before[0][2:] == ("unknown", "bank_b")
    await sending
    assert await cells.rows(ORDERS) == before
    await banks[0].break_down("none")
    rows = await look_until_final([other], cells)
    assert rows[0][2:] == ("paid", "bank_b")
    assert_paid_once(rows, banks)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 10))])
async def test_payers_and_banks_that_break_down_at_random_pay_every_order_exactly_once(
    client: Any, core: Any, cells: Any, banks: tuple[Bank, Bank], seed: int
) -> None:
    dice = random.Random(seed)
    payers = [make_payer(core, banks, site) for site in ("idc", "cloud")]
    for _ in range(6):
        await asyncio.gather(*(draw(client) for _ in range(4)))
        for bank in banks:
            if bank.process is None:
                await bank.start()
            elif dice.random() < 0.2:
                bank.end()
            else:
                await bank.break_down(dice.choice(("none", "none", *FAULTS)))
        looks = [
            asyncio.create_task(payer.look(cell)) for payer in payers for cell in ("a", "b") for _ in range(2)
        ]
        # A payer that dies at any moment: its transaction rolls back, or its order stays as sent.
        await asyncio.sleep(dice.uniform(0.0, 0.4))
        for look in dice.sample(looks, 3):
            look.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*looks, return_exceptions=True)
    for bank in banks:
        if bank.process is None:
            await bank.start()
        await bank.break_down("none")
    rows = await look_until_final(payers, cells)
    assert len(rows) == 24
    assert_paid_once(rows, banks)


async def test_a_joint_loans_whole_amount_is_one_payout(
    client: Any, core: Any, cells: Any, banks: tuple[Bank, Bank]
) -> None:
    await publish(core, make_partner("bank_east", {"total_fen": 10_000_000}))
    assert (await draw_contract(client, await sign_joint(client)))[0] == 201
    rows = await look_until_final([make_payer(core, banks)], cells)
    assert [row[1] for row in rows] == [1_200_000]
    assert_paid_once(rows, banks)
