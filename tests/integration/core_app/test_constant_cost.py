"""A repayment touches as much of the database whatever the loan's history and the length of its plan."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from core_app.commands import make_command
from core_app.ids import Letter
from core_app.loans.repay import repay_loan
from tests.integration.core_app.conftest import DirectRouter
from tests.integration.core_app.lending import draw, register
from tests.integration.core_app.portfolio import lend

# What so many earlier repayments leave behind.
HISTORY = (
    """
    insert into core.repayments (repayment_id, loan_id, amount_fen, penalty_fen, interest_fen, principal_fen,
        booked_on, idempotency_key)
    select 'R000-' || s.n || %(loan_id)s, %(loan_id)s, 1, 0, 1, 0, '2026-01-15', 'history'
    from generate_series(1, %(entries)s) as s (n)
    """,
    """
    insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key,
        booked_on)
    select 'R000-' || s.n || %(loan_id)s, a.account, a.fen, 'CNY', %(loan_id)s, 'history', '2026-01-15'
    from generate_series(1, %(entries)s) as s (n), (values ('1002', 1), ('6011', -1)) as a (account, fen)
    """,
    """
    insert into core.outbox (topic, key, payload, idempotency_key)
    select 'loan.repaid', %(loan_id)s, '{}', 'history' from generate_series(1, %(entries)s)
    """,
)
SUM_OF_HISTORY = "select sum(amount_fen) from core.entries where loan_id = %s"
REPAYMENTS = 10
GROWN = 24
"""Blocks that a repayment may touch more after a long history: a level of an index here and there (7 to 13
were seen); one that reads 1,200 entries touches 66 more."""


async def count_blocks(pool: AsyncConnectionPool[Any]) -> int:
    """Return how many blocks the pool's one session has touched in all."""
    async with pool.connection() as connection:
        await connection.execute("select pg_stat_force_next_flush()")
    async with pool.connection() as connection:
        rows = await connection.execute(
            "select sum(hits) + coalesce(sum(reads), 0) from pg_stat_get_backend_io(pg_backend_pid())"
        )
        return int((await rows.fetchone())[0])  # type: ignore[index]


async def measure(core: Any, cells: Any, loan_id: str, entries: int, *, reads_history: bool = False) -> int:
    """Return the blocks a whole repayment touches, commit and triggers included, after such a history.

    The least of several: what happens to one of them from outside, as when statistics gathered meanwhile make
    every session plan anew, is no cost of a history, which each of them would pay. With `reads_history` each
    sums up the loan's entries too.
    """
    cell = core.cell_of_id(Letter.LOAN, loan_id)
    database = cells.databases[cell]
    async with await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_owner")) as owner:
        for statement in HISTORY:
            await owner.execute(statement, {"loan_id": loan_id, "entries": entries})
    dsn = cells.server.dsn(database, "biyi_app")
    async with AsyncConnectionPool(dsn, min_size=1, max_size=1, open=False) as pool:
        alone = replace(core, router=DirectRouter(dict.fromkeys(cells.databases, pool)))

        async def repay(number: int) -> None:
            body = {"loan_id": loan_id, "amount_fen": 1}
            key = f"cost-{entries}-{number}-{loan_id[-8:]}"
            await repay_loan(alone, make_command(alone, key, "repayment", body), loan_id, 1)
            if reads_history:
                async with pool.connection() as connection:
                    await connection.execute(SUM_OF_HISTORY, [loan_id])

        for number in range(6):  # until every statement is prepared and planned
            await repay(number)
        counted = [await count_blocks(pool)]
        for number in range(REPAYMENTS):
            await repay(100 + number)
            counted.append(await count_blocks(pool))
        return min(after - before for before, after in pairwise(counted))


async def test_history_does_not_make_a_repayment_dearer(client: Any, core: Any, cells: Any) -> None:
    found = {}
    for entries in (12, 120, 1_200):
        found[entries] = await measure(core, cells, (await draw(client))["loan_id"], entries)
    # An index may have grown by a level; a history of 1,200 read once would be many more blocks.
    assert max(found.values()) - min(found.values()) <= GROWN, found
    loan_id = (await draw(client))["loan_id"]
    read = await measure(core, cells, loan_id, 1_200, reads_history=True)
    assert read - found[1_200] > GROWN, "a repayment that read its history would not be seen"


async def test_a_long_plan_does_not_make_a_repayment_dearer(client: Any, core: Any, cells: Any) -> None:
    short = (await lend(client, await register(client), "instalment-12", 100_000, 3))["loan_id"]
    long = (await lend(client, await register(client), "scene-renovation", 5_000_000, 36))["loan_id"]
    few, many = [await measure(core, cells, loan_id, 1) for loan_id in (short, long)]
    assert many - few <= 6, (few, many)
