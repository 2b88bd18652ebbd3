"""A joint loan through every command that books on it: each funder's part, to the fen."""

import datetime as dt
import random
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from core_app.core import LendingCore
from core_app.funding.settle import read_cell_day
from core_app.funding.settlement import find_differences
from core_app.funding.shares import Share, own_part
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.lending import repay
from tests.integration.core_app.partners import draw_contract, make_partner, publish, sign_joint
from tests.integration.core_app.portfolio import Drawn, close_chunks_of, set_day

BANK = "bank_east"
SHARES = [Share(BANK, Decimal("0.70")), Share("own", Decimal("0.30"))]
BOOKED = """
select funder, account, sum(amount_fen)::bigint from core.entries group by funder, account
having sum(amount_fen) <> 0
"""
DRAWN_FEN = 1_200_000


async def lend_jointly(client: Any, core: LendingCore) -> str:
    await publish(core, make_partner(BANK, {"total_fen": 100_000_000}))
    status, loan, _ = await draw_contract(client, await sign_joint(client, DRAWN_FEN))
    assert status == 201, loan
    return str(loan["loan_id"])


async def booked(cells: Any) -> dict[tuple[str, str], int]:
    return {(funder, account): int(fen) for funder, account, fen in await cells.rows(BOOKED)}


async def check_books(client: Any, core: LendingCore, cells: Any, loan_id: str) -> None:
    """What is held for each funder is its part of all principal less its part of what was paid; what the
    settlement of the day finds in the ledger is what the loans' rows demand."""
    _, shown, _ = await client.get(f"/v1/loans/{loan_id}")
    found = await booked(cells)
    own = own_part(DRAWN_FEN, SHARES) - own_part(DRAWN_FEN - shown["balance_fen"], SHARES)
    assert found.get(("own", "1303"), 0) == own
    assert found.get((BANK, "1321"), 0) == shown["balance_fen"] - own
    day = dt.date.fromisoformat(shown["as_of"])
    for cell in core.router.cells:
        read = await read_cell_day(core, cell, BANK, day)
        assert find_differences(read.ledger, read.business) == ()


async def test_repayment_reversal_and_prepayment_are_split_to_each_funder(
    client: Any, core: LendingCore, cells: Any
) -> None:
    set_day(cells, TODAY)
    loan_id, dice, paid, day = await lend_jointly(client, core), random.Random(3), [], TODAY
    for days in (35, 20, 40):
        day += dt.timedelta(days=days)
        set_day(cells, day)
        status, body, _ = await repay(client, loan_id, dice.randrange(20_001, 140_000))
        assert status == 201, body
        paid.append(body["repayment_id"])
        await check_books(client, core, cells, loan_id)
    wish = {"repayment_id": paid[1], "reason": "bounced_debit"}
    status, body, _ = await client.post("/v1/reversals", wish)
    assert status == 201, body
    await check_books(client, core, cells, loan_id)
    _, payoff, _ = await client.get(f"/v1/loans/{loan_id}/payoff")
    whole = {"loan_id": loan_id, "mode": "full", "amount_fen": payoff["total_fen"]}
    status, body, _ = await client.post("/v1/prepayments", whole)
    assert status == 201, body
    await check_books(client, core, cells, loan_id)
    found = await booked(cells)
    assert not {key for key in found if key[1] in ("1303", "1321")}
    assert {funder for funder, account in found if account == "6021"} <= {"own"}
    assert sum(found.values()) == 0
    held = await cells.rows("select reserved_fen, used_fen from core.limit_holds")
    assert held == [(0, 0)], "all that was repaid is given back to the limits"


async def test_only_our_own_part_is_provided_for_written_off_and_recovered(
    client: Any, core: LendingCore, cells: Any
) -> None:
    set_day(cells, TODAY)
    loan_id = await lend_jointly(client, core)
    assert (await repay(client, loan_id, 33_333))[0] == 201
    drawn = [Drawn(loan_id, "", "joint-instalment", 1, DRAWN_FEN, 12, TODAY)]
    evening = dt.date(2027, 3, 20)
    set_day(cells, evening)
    await close_chunks_of(core, drawn, evening)
    _, shown, _ = await client.get(f"/v1/loans/{loan_id}")
    own_fen = own_part(shown["balance_fen"], SHARES)
    assert await cells.rows("select loss_fen from core.closings") == [(own_fen,)]
    before = await booked(cells)
    assert abs(before["own", "1304"] + own_fen) <= -before["own", "1304"] // 50  # and the general part
    status, _, _ = await client.post("/v1/write-offs", {"loan_id": loan_id, "reason": "uncollectable"})
    assert status == 201
    after = await booked(cells)
    assert ("own", "1303") not in after
    assert after[BANK, "1321"] == before[BANK, "1321"], "whether it is a loss is for the partner to say"
    _, body, _ = await repay(client, loan_id, 50_001)
    assert body["principal_fen"] == 50_001
    final = await booked(cells)
    taken = own_part(shown["principal_fen"] - shown["balance_fen"], SHARES)
    recovered = own_part(shown["principal_fen"] - shown["balance_fen"] + 50_001, SHARES) - taken
    assert final[BANK, "1321"] == after[BANK, "1321"] - (50_001 - recovered)
    assert final["own", "1304"] == after.get(("own", "1304"), 0) - recovered
    await close_chunks_of(core, drawn, evening + dt.timedelta(days=1))
    assert ("own", "1304") not in await booked(cells), "nothing is left to provide for"


async def test_sql_and_python_have_the_same_own_part(client: Any, core: LendingCore, cells: Any) -> None:
    loan_id, dice = await lend_jointly(client, core), random.Random(7)
    totals = [0, 1, 2, 3, 5, *(dice.randrange(10**8) for _ in range(300))]
    listed = ", ".join(map(str, totals))
    query = f"select array(select core.own_part('{loan_id}', t) from unnest(array[{listed}]::bigint[]) t)"
    rows = [row[0] for row in await cells.rows(query)]
    assert [own_part(total, SHARES) for total in totals] in rows


async def test_the_ledger_refuses_lines_that_do_not_balance_by_funder(cells: Any) -> None:
    database = next(iter(cells.databases.values()))
    async with await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_app")) as connection:
        with pytest.raises(psycopg.Error, match="do not sum to zero"):
            await connection.execute(
                "insert into core.entries (transaction_id, account, amount_fen, currency, loan_id,"
                " idempotency_key, booked_on, funder) values"
                " ('t', '1002', 5, 'CNY', 'L', 'k', '2026-01-15', 'own'),"
                " ('t', '1303', -5, 'CNY', 'L', 'k', '2026-01-15', 'bank_east')"
            )
