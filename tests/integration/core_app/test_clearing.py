"""Clearing files of channels: three ways compared, on a real PostgreSQL and with fake banks of their own."""

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core_app.day_end.service import DayEnd
from core_app.errors import Refused
from core_app.funding.catch_up import catch_up
from core_app.funding.clear import clear_cell
from core_app.funding.clearing import (
    Clearing,
    ClearingInvalid,
    read_clearing,
    write_clearing,
)
from core_app.funding.fake_bank import DEBITS as DEBITS_PATH
from core_app.funding.fake_bank import PAYMENTS as PAYMENTS_PATH
from core_app.funding.match import match_channels
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
from tests.integration.core_app.test_debits import (
    ANSWER_S,
    INSTALMENT_FEN,
    close_eve,
    lend,
    look_until_booked,
    make_collector,
)
from tests.integration.core_app.test_payer import look_until_final, make_payer

DAY = dt.date(2026, 2, 15)
# Five fen more on the bank's account than was collected; balanced, so that the ledger takes it.
FORGED = """
insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key, booked_on)
select 'forged', account, fen, 'CNY', '{loan_id}', '{key}', '2026-02-15'
from (values ('1002', 5), ('2241', -5)) as e (account, fen)
"""


def clock_day() -> dt.date:
    return dt.datetime.now(dt.timezone(dt.timedelta(hours=8))).date()


async def clear(core: Any, clearing: Clearing) -> list[str]:
    found = []
    for cell in core.router.cells:
        found += (await clear_cell(core, cell, clearing)).answer.body["differences"]
    return found


async def on_account(cells: Any, account: str) -> int:
    rows = await cells.rows(f"select sum(amount_fen)::bigint from core.entries where account = '{account}'")
    return sum(fen or 0 for (fen,) in rows)


async def unmatched(core: Any, day: dt.date, later: int) -> dict[str, tuple[int, int, int]]:
    """Return what a day-end some days later finds: orders in no file, not in the ledger, differences."""
    found: dict[str, tuple[int, int, int]] = {}
    for cell in core.router.cells:
        await catch_up(core, cell, day + dt.timedelta(days=later))
        for one in await match_channels(core, cell, day + dt.timedelta(days=later)):
            before = found.get(one.kind, (0, 0, 0))
            more = (one.without_file, one.without_entries, one.differences)
            found[one.kind] = (before[0] + more[0], before[1] + more[1], before[2] + more[2])
    return found


async def fetch(bank: Bank, path: str, day: dt.date) -> Clearing:
    return read_clearing(await replace(bank.channel, path=path).fetch_clearing(day))


async def test_what_banks_booked_agrees_with_orders_and_ledger_and_what_does_not_is_named(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    async with running_banks(tmp_path, ANSWER_S, "bank_a", "bank_b") as banks:
        first, second = banks
        loans = [await lend(client) for _ in range(3)]
        await look_until_final([make_payer(core, (first, second))], cells)
        await close_eve(core, cells, loans)
        await look_until_booked([make_collector(core, (first, second))], cells)
        # By its own clock the bank books on the calendar's day, whatever the business date is.
        day = clock_day()
        debits = await fetch(first, DEBITS_PATH, day)
        assert (len(debits.lines), set(debits.lines.values())) == (3, {INSTALMENT_FEN})
        assert (await fetch(first, DEBITS_PATH, day - dt.timedelta(days=1))).lines == {}
        with pytest.raises(OSError, match="no clearing file"):
            await replace(second.channel, url="http://127.0.0.1:9").fetch_clearing(day)
        payments = [await fetch(bank, PAYMENTS_PATH, day) for bank in banks]
    assert await unmatched(core, day, 0) == {}, "of the day that ends no file is out yet"
    assert await unmatched(core, day, 1) == {"payments": (3, 0, 0), "debits": (3, 0, 0)}
    before = await cells.counts()
    assert await clear(core, debits) == []
    assert await clear(core, debits) == [], "the same file again answers as before"
    assert await on_account(cells, "100201") == 3 * INSTALMENT_FEN
    after = await cells.counts()
    assert after["clearing_lines"] - before["clearing_lines"] == 3
    assert after["clearings"] - before["clearings"] == 2
    with pytest.raises(Refused):
        await clear(core, replace(debits, lines={**debits.lines, "D000-" + "0" * 32: 1}))
    assert await unmatched(core, day, 2) == {"payments": (3, 0, 0)}
    assert await unmatched(core, day, 1) == {"payments": (3, 0, 0), "debits": (3, 0, 0)}, "said once a day"
    assert [await clear(core, one) for one in payments] == [[], []]
    paid_out_fen = sum(fen for one in payments for fen in one.lines.values())
    # Nothing is on its way any more: all there is on the bank's account is in custody of the channel.
    assert await on_account(cells, "1002") == 0
    assert await on_account(cells, "100201") == 3 * INSTALMENT_FEN - paid_out_fen
    assert await unmatched(core, day, 3) == {}
    order = min(debits.lines)
    ((cell, loan_id),) = await cells.rows(
        f"select current_database(), loan_id from core.debit_orders where order_id = '{order}'"
    )
    cells.run_sql(cell, FORGED.format(loan_id=loan_id, key=f"debit-{order}"))
    assert await unmatched(core, day, 4) == {"debits": (0, 1, 0)}
    wrong = {name: fen for name, fen in debits.lines.items() if name != order}
    wrong |= {"D3ff-" + "1" * 32: 7, "nonsense": 9}
    other = replace(debits, channel="bank_b", lines=wrong)
    found = await clear(core, other)
    assert sorted(one.split(": ")[1].split(";")[0] for one in found) == [
        "booked by the channel, 110016 fen",
        "booked by the channel, 110016 fen",
        "booked by the channel, 7 fen",
        "booked by the channel, 9 fen",
    ]
    assert await unmatched(core, day, 5) == {"debits": (0, 1, 4)}
    assert await on_account(cells, "1002") == 5, "what is disputed is not moved"


async def test_a_joint_loans_payout_is_held_for_each_funder_and_a_disputed_one_is_not_moved(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    await publish(core, make_partner("bank_east", {"total_fen": 10_000_000}))
    assert (await draw_contract(client, await sign_joint(client)))[0] == 201
    loan = await draw(client)
    async with running_banks(tmp_path, ANSWER_S, "bank_a", "bank_b") as banks:
        days = {clock_day()}
        await look_until_final([make_payer(core, banks)], cells)
        files = [await fetch(banks[0], PAYMENTS_PATH, day) for day in sorted(days | {clock_day()})]
    ((disputed,),) = await cells.rows(
        f"select order_id from core.payout_orders where loan_id = '{loan['loan_id']}'"
    )
    found = []
    for file in files:
        lines = {order: fen + (order == disputed) for order, fen in file.lines.items()}
        found += await clear(core, replace(file, lines=lines))
    assert [one.split(":")[0] for one in found] == [disputed]
    held = await cells.rows(
        """select funder, account, sum(amount_fen)::bigint from core.entries
           where account in ('1002', '100201') group by funder, account having sum(amount_fen) <> 0"""
    )
    assert sorted(held) == [
        ("bank_east", "100201", -840_000),
        ("own", "1002", -1_200_000),
        ("own", "100201", -360_000),
    ]


async def test_a_wrong_banks_claim_keeps_no_order_from_custody_and_a_second_booking_is_named(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    async with running_banks(tmp_path, ANSWER_S, "bank_a", "bank_b") as banks:
        loan = await draw(client)
        days = {clock_day()}
        await look_until_final([make_payer(core, banks)], cells)
        files = [
            await fetch(bank, PAYMENTS_PATH, day) for bank in banks for day in sorted(days | {clock_day()})
        ]
    ((order, channel),) = await cells.rows(
        f"select order_id, channel from core.payout_orders where loan_id = '{loan['loan_id']}'"
    )
    (right,) = (file for file in files if order in file.lines)
    assert right.channel == channel
    wrong = replace(right, channel="bank_b" if channel == "bank_a" else "bank_a")
    named = f"{order}: booked by the channel, 1200000 fen; with us not paid by it"
    assert await clear(core, wrong) == [named]
    assert await on_account(cells, "100201") == 0
    assert await unmatched(core, right.day, 1) == {"payments": (1, 0, 1)}, "the wrong file is not the order's"
    assert await clear(core, right) == []
    assert (await on_account(cells, "1002"), await on_account(cells, "100201")) == (0, -1_200_000)
    assert await unmatched(core, right.day, 2) == {"payments": (0, 0, 1)}
    again = replace(right, day=right.day + dt.timedelta(days=1))
    assert await clear(core, again) == [
        f"{order}: booked by the channel, 1200000 fen; booked before, in its file of {right.day}"
    ]
    assert (await on_account(cells, "1002"), await on_account(cells, "100201")) == (0, -1_200_000)


async def test_a_day_end_says_what_is_unmatched_up_to_its_eve(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    loan = await draw(client)
    async with running_banks(tmp_path, ANSWER_S, "bank_a", "bank_b") as banks:
        await look_until_final([make_payer(core, banks)], cells)
    day = clock_day()
    cells.set_business_date(str(day + dt.timedelta(days=1)))
    cell = core.cell_of_id(Letter.LOAN, loan["loan_id"])
    closed = await DayEnd(core, cell, lambda *_: None).run()
    assert [(one.kind, one.orders, one.without_file) for one in closed.unmatched] == [("payments", 1, 1)]


def test_a_file_that_was_changed_or_is_none_is_refused() -> None:
    clearing = Clearing("bank_a", "debits", DAY, {"D000-" + "0" * 32: 5, "D001-" + "0" * 32: 6})
    text = write_clearing(clearing)
    assert read_clearing(text) == clearing
    for bad in (
        text.replace("|5", "|50"),
        text.replace("debits", "gifts"),
        text[:-3],
        "",
        write_clearing(replace(clearing, lines={"D000-" + "0" * 32: -5})),
        "\n".join(reversed(text.splitlines())),
    ):
        with pytest.raises(ClearingInvalid):
            read_clearing(bad)
