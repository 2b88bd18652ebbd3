"""Migrations: each once, in order, refused when an applied file changed."""

import asyncio
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from core_app.sql.apply import MigrationChanged, apply_migrations, read_migrations


async def test_a_second_run_applies_nothing_and_an_edited_file_is_refused(cells: Any) -> None:
    wanted = read_migrations()
    dsn = cells.server.dsn(cells.databases["a"], "biyi_owner")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        assert await apply_migrations(connection, wanted) == ()
        edited = (replace(wanted[0], sha256="0" * 64), *wanted[1:])
        with pytest.raises(MigrationChanged, match="edited"):
            await apply_migrations(connection, edited)
        with pytest.raises(MigrationChanged, match="missing"):
            await apply_migrations(connection, wanted[1:])


async def test_two_starters_at_once_apply_a_new_file_once(cells: Any) -> None:
    wanted = read_migrations()
    new = replace(
        wanted[0], name="999_new.sql", statements="create table core.fresh (x int)", sha256="1" * 64
    )
    dsn = cells.server.dsn(cells.databases["a"], "biyi_owner")

    async def start() -> tuple[str, ...]:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            return await apply_migrations(connection, (*wanted, new))

    try:
        assert sorted(await asyncio.gather(start(), start())) == [(), ("999_new.sql",)]
    finally:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute("drop table core.fresh")
            await connection.execute("delete from biyi_migrations.applied where name = '999_new.sql'")
