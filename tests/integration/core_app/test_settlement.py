"""A partner's business day on a real PostgreSQL: settled once; what is not right is noticed."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from core_app.commands import make_command
from core_app.core import LendingCore
from core_app.errors import Refused
from core_app.funding.service import Void, void_draw
from core_app.funding.settle import read_cell_day, settle_cell
from core_app.funding.settlement import read_settlement, sum_lines, write_settlement
from runbooks.settlement import Read, compare_cells, keep_file
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.lending import repay
from tests.integration.core_app.partners import draw_contract, make_partner, publish, sign_joint

NEXT = TODAY + dt.timedelta(days=1)
BANK = "bank_east"


def set_day(cells: Any, day: dt.date) -> None:
    for database in cells.databases.values():
        statement = f"update core.business_date set on_date = '{day}'"
        cells.server.run("psql", "-U", "biyi_owner", "-d", database, "-qc", statement)


async def settle(core: LendingCore, day: dt.date) -> Read:
    for cell in core.router.cells:
        await settle_cell(core, cell, BANK, day)
    return await look(core, day)


async def look(core: LendingCore, day: dt.date) -> Read:
    days = {cell: await read_cell_day(core, cell, BANK, day) for cell in core.router.cells}
    return compare_cells(BANK, day, days)


async def lend(client: Any, core: LendingCore, count: int) -> list[Any]:
    await publish(core, make_partner(BANK, {"total_fen": 100_000_000}))
    return [(await draw_contract(client, await sign_joint(client)))[1] for _ in range(count)]


async def test_two_days_are_settled_in_step_with_ledger_and_loans_and_quota_comes_back(
    client: Any, core: LendingCore, cells: Any, tmp_path: Path
) -> None:
    set_day(cells, TODAY)
    loans = await lend(client, core, 4)
    for number, loan in enumerate(loans):
        for part in range(number):
            assert (await repay(client, loan["loan_id"], 40_001 + part))[0] == 201
    with pytest.raises(Refused, match="not over"):
        await settle(core, TODAY)
    set_day(cells, NEXT)
    assert (await repay(client, loans[3]["loan_id"], 55_555))[0] == 201

    first = await settle(core, TODAY)
    totals = sum_lines(first.settlement.lines)
    assert (first.faults, totals.lines, totals.drawn_fen) == ((), 4, 4 * 840_000)
    assert {line.due for line in first.settlement.lines} == {NEXT}
    used = sum(row[0] for row in await cells.rows("select used_fen from core.funder_quotas"))
    assert used == 4 * 840_000 - totals.principal_fen
    assert await settle(core, TODAY) == first
    assert used == sum(row[0] for row in await cells.rows("select used_fen from core.funder_quotas"))

    set_day(cells, NEXT + dt.timedelta(days=1))
    second = await settle(core, NEXT)
    assert (second.faults, [line.loan_id for line in second.settlement.lines]) == (
        (),
        [loans[3]["loan_id"]],
    )
    owed = "select -sum(amount_fen) from core.entries where account in ('231401', '231402')"
    collected = [sum_lines(read.settlement.lines) for read in (first, second)]
    assert sum(one.interest_fen + one.penalty_fen for one in collected) == sum(
        row[0] or 0 for row in await cells.rows(owed)
    )

    path = tmp_path / "out" / "bank.txt"
    text = write_settlement(first.settlement)
    assert keep_file(path, text) == keep_file(path, text) == []
    assert read_settlement(path.read_text(encoding="utf-8")) == first.settlement
    assert "another content" in keep_file(path, write_settlement(second.settlement))[0]


async def test_a_void_on_a_later_day_is_settled_as_drawn_back(
    client: Any, core: LendingCore, cells: Any
) -> None:
    set_day(cells, TODAY)
    (loan,) = await lend(client, core, 1)
    set_day(cells, NEXT)
    ((seen_at,),) = await cells.rows("select changed_at from core.payout_orders")
    command = make_command(core, "void-late-0001", "void", {"loan_id": loan["loan_id"]})
    await void_draw(core, command, Void(loan["loan_id"], "refused", seen_at))
    set_day(cells, NEXT + dt.timedelta(days=1))
    drawn = [sum_lines((await settle(core, day)).settlement.lines).drawn_fen for day in (TODAY, NEXT)]
    assert drawn == [840_000, -840_000]
    assert (await look(core, NEXT)).faults == ()


@pytest.mark.parametrize("amount_fen", [1, -1])
async def test_a_ledger_line_that_the_loans_do_not_explain_is_noticed(
    client: Any, core: LendingCore, cells: Any, amount_fen: int
) -> None:
    set_day(cells, TODAY)
    (loan,) = await lend(client, core, 1)
    await repay(client, loan["loan_id"], 10_000)
    set_day(cells, NEXT)
    good = await settle(core, TODAY)
    planted = f"""
        insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key,
            booked_on, funder)
        select 'planted', account, fen, 'CNY', '{loan["loan_id"]}', 'planted', '{TODAY}', '{BANK}'
        from (values ('1002', {amount_fen}), ('231401', {-amount_fen})) as planted (account, fen)
    """
    cell = core.cell_of_id("L", loan["loan_id"])  # type: ignore[arg-type]
    cells.server.run("psql", "-U", "biyi_owner", "-d", f"cell_{cell}", "-qc", planted)
    faults = (await look(core, TODAY)).faults
    assert good.faults == ()
    assert len(faults) == 2
    assert loan["loan_id"] in faults[0]
    assert "settled with other lines" in faults[1]
