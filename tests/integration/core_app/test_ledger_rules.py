"""What the database itself refuses, whoever asks; and that random business keeps the ledger straight."""

import random
from typing import Any

import psycopg
import pytest

from core_app.ledger.posting import Account
from tests.integration.core_app.lending import draw, repay
from tests.integration.core_app.test_lending_flow import BALANCES

INSERT = """
insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key, booked_on)
values ('t', '1002', %s, 'CNY', 'l', 'k', '2026-01-15'), ('t', %s, %s, 'CNY', 'l', 'k', '2026-01-15')
"""


async def execute(cells: Any, user: str, statement: str, *values: Any) -> None:
    dsn = cells.server.dsn(cells.databases["a"], user)
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(statement, values or None)


async def test_the_database_takes_balanced_entries(cells: Any) -> None:
    await execute(cells, "biyi_app", INSERT, 100, "1303", -100)


@pytest.mark.parametrize(
    ("values", "code"),
    [((100, "1303", -99), "BY101"), ((100, "9999", -100), "BY102"), ((0, "1303", 0), "23514")],
    ids=["unbalanced", "unknown account", "zero"],
)
async def test_the_database_refuses_bad_entries(cells: Any, values: tuple[Any, ...], code: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        await execute(cells, "biyi_app", INSERT, *values)
    assert refused.value.sqlstate == code


@pytest.mark.parametrize("table", ["entries", "repayments", "instalments"])
@pytest.mark.parametrize(
    "change", ["update core.{} set loan_id = 'x'", "delete from core.{}", "truncate core.{} cascade"]
)
async def test_even_the_owner_cannot_change_what_is_append_only(
    client: Any, cells: Any, table: str, change: str
) -> None:
    loan = await draw(client)
    await repay(client, loan["loan_id"], 1)
    with pytest.raises(psycopg.Error) as refused:
        await execute(cells, "biyi_owner", change.format(table))
    assert refused.value.sqlstate == "BY103"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await execute(cells, "biyi_app", change.format(table))


async def test_the_chart_in_the_database_is_the_chart_in_the_code(cells: Any) -> None:
    accounts = await cells.rows("select account from core.accounts")
    assert {row[0] for row in accounts} == set(Account)


async def test_random_business_keeps_every_cell_at_zero_and_balances_true(client: Any, cells: Any) -> None:
    dice = random.Random(20260115)
    loans = [await draw(client, dice.randrange(10_000, 300_000), dice.choice((3, 6, 12))) for _ in range(6)]
    for _ in range(60):
        loan = dice.choice(loans)
        status, _, _ = await repay(client, loan["loan_id"], dice.randrange(1, 60_000))
        assert status in (201, 422)
    assert [row[0] for row in await cells.rows("select coalesce(sum(amount_fen), 0) from core.entries")] == [
        0,
        0,
    ]
    assert all(balance == booked for balance, booked in await cells.rows(BALANCES))
    unmatched = await cells.rows(
        "select idempotency_key from core.commands where kind in ('draw', 'repayment') "
        "except select idempotency_key from core.entries"
    )
    assert unmatched == []
    assert await cells.rows("select 1 from core.commands where status is null or response is null") == []
    told = await cells.rows("select idempotency_key from core.outbox")
    assert len(told) == len(set(told)) == (await cells.counts())["commands"]
