"""A transaction that says so may last longer than the router's sessions let others, and only that one."""

from typing import Any

import psycopg
import pytest

from core_app.router_line import ALLOW_A_MINUTE


async def test_who_asks_for_a_minute_has_it_and_the_next_transaction_has_not(cells: Any) -> None:
    dsn = cells.server.dsn(cells.databases["a"], "biyi_app")
    options = "-c transaction_timeout=300"
    async with await psycopg.AsyncConnection.connect(dsn, options=options) as connection:
        await connection.execute(ALLOW_A_MINUTE)
        row = await (await connection.execute("select pg_sleep(0.9), 1")).fetchone()
        assert row is not None
        assert row[1] == 1
        await connection.commit()
        with pytest.raises(psycopg.errors.TransactionTimeout):
            await connection.execute("select pg_sleep(5)")
