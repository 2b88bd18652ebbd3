"""What was committed after a snapshot: commits and money, exact whatever order transactions end in."""

from typing import Any

import psycopg
import pytest

from tests.integration.core_app.lending import draw, repay
from tests.integration.core_app.test_ledger_rules import INSERT

SNAPSHOT = "select pg_current_snapshot()::text"
SINCE = "select commits, moved_fen from core.money_posted_since(%s::text::pg_snapshot)"
Row = tuple[Any, ...]


async def connect(cells: Any, user: str) -> psycopg.AsyncConnection[Row]:
    dsn = cells.server.dsn(cells.databases["a"], user)
    return await psycopg.AsyncConnection.connect(dsn)


async def snapshot_of(cells: Any) -> str:
    async with await connect(cells, "biyi_read") as reader:
        row = await (await reader.execute(SNAPSHOT)).fetchone()
        assert row is not None
        return str(row[0])


async def since(cells: Any, snapshot: str) -> Row:
    async with await connect(cells, "biyi_read") as reader:
        row = await (await reader.execute(SINCE, (snapshot,))).fetchone()
        assert row is not None
        return row


async def test_nothing_is_counted_where_nothing_was_committed(cells: Any) -> None:
    async with await connect(cells, "biyi_app") as before:
        await before.execute(INSERT, (100, "1303", -100))
    assert await since(cells, await snapshot_of(cells)) == (0, 0)


async def test_a_transaction_that_was_open_at_the_snapshot_counts_once_it_commits(cells: Any) -> None:
    async with await connect(cells, "biyi_app") as late, await connect(cells, "biyi_app") as gone:
        await late.execute(INSERT, (700, "1303", -700))
        await gone.execute(INSERT, (9, "1303", -9))
        snapshot = await snapshot_of(cells)
        assert await since(cells, snapshot) == (0, 0)
        await late.commit()
        await gone.rollback()
    assert await since(cells, snapshot) == (1, 700)


async def test_lines_of_a_savepoint_count_with_their_transaction(cells: Any) -> None:
    async with await connect(cells, "biyi_app") as late, late.transaction(), late.transaction():
        await late.execute(INSERT, (30, "1303", -30))
        snapshot = await snapshot_of(cells)
    assert await since(cells, snapshot) == (1, 30)


async def test_counts_commands_and_the_debit_side_of_what_they_posted(cells: Any, client: Any) -> None:
    befores = {}
    for cell in cells.databases:
        async with await psycopg.AsyncConnection.connect(
            cells.server.dsn(cells.databases[cell], "biyi_read")
        ) as reader:
            befores[cell] = await (await reader.execute(SNAPSHOT)).fetchone()
    loan = await draw(client, 1_200_000)
    status, _, _ = await repay(client, loan["loan_id"], 50_000)
    assert status == 201
    total = [0, 0]
    for cell, before in befores.items():
        async with await psycopg.AsyncConnection.connect(
            cells.server.dsn(cells.databases[cell], "biyi_read")
        ) as reader:
            found = await (await reader.execute(SINCE, before)).fetchone()
            assert found is not None
            total = [total[0] + found[0], total[1] + found[1]]
    assert total == [5, 1_250_000]  # customer, application, contract, draw, repayment


async def test_the_reader_sees_sums_and_no_line(cells: Any) -> None:
    async with await connect(cells, "biyi_read") as reader:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await reader.execute("select * from core.entries")


@pytest.mark.parametrize("table", ["outbox", "entries"])
async def test_the_sums_are_read_by_transaction_not_by_scanning_the_table(cells: Any, table: str) -> None:
    condition = "and amount_fen > 0" if table == "entries" else ""
    async with await connect(cells, "biyi_owner") as owner:
        await owner.execute("set enable_seqscan = off")
        plan = await owner.execute(
            f"explain select xid from core.{table}"
            f" where xid >= pg_snapshot_xmin(pg_current_snapshot()) {condition}".encode()
        )
        assert any(f"{table}_by_xid" in row[0] for row in await plan.fetchall())
