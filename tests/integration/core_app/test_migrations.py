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


@pytest.fixture
def empty(cells: Any) -> Any:
    """A database that nobody uses yet."""
    cells.server.run("createdb", "-U", "biyi_admin", "-O", "biyi_owner", "empty")
    yield cells.server.dsn("empty", "biyi_owner")
    cells.server.run("dropdb", "-U", "biyi_admin", "empty")


HALF_DONE = """
do $$ begin create table public.half (x int); raise exception 'the power fails here'; end $$
"""
NOTED = "select count(*), count(distinct at) from biyi_migrations.applied"


async def test_an_empty_database_gets_all_of_them_or_none(empty: str) -> None:
    wanted = read_migrations()[:5]
    cut_off = replace(wanted[0], name="998_cut_off.sql", statements=HALF_DONE, sha256="2" * 64)
    async with await psycopg.AsyncConnection.connect(empty, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.RaiseException) as failed:
            await apply_migrations(connection, (*wanted, cut_off))
        assert failed.value.__notes__ == ["in migration 998_cut_off.sql"]
        assert await (await connection.execute(NOTED)).fetchone() == (0, 0)
        assert await apply_migrations(connection, wanted) == tuple(one.name for one in wanted)
        # The same instant: one transaction.
        assert await (await connection.execute(NOTED)).fetchone() == (5, 1)


async def test_a_database_in_use_keeps_what_came_before_the_one_that_failed(empty: str) -> None:
    """Each is a transaction of its own there: no lock is held until the last one is done."""
    wanted = read_migrations()[:5]
    cut_off = replace(wanted[0], name="998_cut_off.sql", statements=HALF_DONE, sha256="2" * 64)
    async with await psycopg.AsyncConnection.connect(empty, autocommit=True) as connection:
        await apply_migrations(connection, wanted[:2])
        with pytest.raises(psycopg.errors.RaiseException):
            await apply_migrations(connection, (*wanted, cut_off))
        assert await (await connection.execute(NOTED)).fetchone() == (5, 4)
        assert await apply_migrations(connection, wanted) == ()


BEFORE_VERSIONS = f"""
insert into core.customers (customer_id, slot, name, id_number, id_number_index, phone, phone_index,
    idempotency_key)
select 'C{"0" * 24}', 0, sealed, sealed, index, sealed, index, 'k'
from decode('010001' || repeat('00', 28), 'hex') as sealed, decode(repeat('00', 32), 'hex') as index;
insert into core.applications (application_id, customer_id, product, product_version, amount_fen, periods,
    decision, reasons, limit_fen, decided_on, idempotency_key)
values ('A', 'C{"0" * 24}', 'instalment-12', 3, 1, 1, 'approved', '[]', 1, '2026-01-15', 'k');
insert into core.contracts (contract_id, application_id, customer_id, product, product_version, amount_fen,
    periods, rate_annual, signed_on, idempotency_key)
values ('K', 'A', 'C{"0" * 24}', 'instalment-12', 3, 1, 1, 0, '2026-01-15', 'k');
insert into core.loans (loan_id, contract_id, customer_id, product, drawn_on, principal_fen, interest_fen,
    idempotency_key)
values ('L', 'K', 'C{"0" * 24}', 'instalment-12', '2026-01-15', 1, 0, 'k');
"""


async def test_a_loan_from_before_versions_gets_its_contracts(cells: Any) -> None:
    wanted = read_migrations()
    older = tuple(migration for migration in wanted if migration.name < "004")
    cells.server.run("createdb", "-U", "biyi_admin", "-O", "biyi_owner", "older")
    try:
        dsn = cells.server.dsn("older", "biyi_owner")
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await apply_migrations(connection, older)
            await connection.execute(BEFORE_VERSIONS)
            assert "004_products.sql" in await apply_migrations(connection, wanted)
            rows = await connection.execute("select loan_id, product_version from core.loans")
            assert await rows.fetchall() == [("L", 3)]
    finally:
        cells.server.run("dropdb", "-U", "biyi_admin", "older")


async def test_contracts_from_before_limits_hold_their_place(cells: Any) -> None:
    """One was drawn, one only signed: what they hold is what is owed and promised."""
    wanted = read_migrations()
    older = tuple(migration for migration in wanted if migration.name < "004")
    drawn = BEFORE_VERSIONS + "update core.contracts set status = 'drawn';"
    second = """
    insert into core.applications (application_id, customer_id, product, product_version, amount_fen, periods,
        decision, reasons, limit_fen, decided_on, idempotency_key)
    select 'A2', customer_id, product, 3, 70, 1, decision, reasons, 1, decided_on, 'k' from core.applications;
    insert into core.contracts (contract_id, application_id, customer_id, product, product_version,
        amount_fen, periods, rate_annual, signed_on, idempotency_key)
    select 'K2', 'A2', customer_id, product, 3, 70, 1, 0, signed_on, 'k' from core.contracts;
    """
    cells.server.run("createdb", "-U", "biyi_admin", "-O", "biyi_owner", "older")
    try:
        dsn = cells.server.dsn("older", "biyi_owner")
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await apply_migrations(connection, older)
            await connection.execute(drawn)
            await connection.execute(second)
            assert "006_decisions.sql" in await apply_migrations(connection, wanted)
            query = "select node, reserved_fen, used_fen from core.limits order by node"
            rows = await (await connection.execute(query)).fetchall()
            assert rows == [("customer", 70, 1), ("product:instalment-12", 70, 1)]
            query = "select contract_id, reserved_fen, used_fen from core.limit_holds order by contract_id"
            assert await (await connection.execute(query)).fetchall() == [("K", 0, 1), ("K2", 70, 0)]
    finally:
        cells.server.run("dropdb", "-U", "biyi_admin", "older")


BEFORE_DAY_END = (
    BEFORE_VERSIONS.replace(
        "principal_fen, interest_fen,\n", "principal_fen, interest_fen, product_version,\n"
    )
    .replace("'2026-01-15', 1, 0, 'k');\n", "'2026-01-15', 300, 30, 1, 'k');\n")
    .replace("insert into core.loans", "update core.contracts set amount_fen = 300;\ninsert into core.loans")
    + """
insert into core.instalments (loan_id, period, due, principal_fen, interest_fen) values
    ('L', 1, '2026-02-15', 100, 15), ('L', 2, '2026-03-15', 100, 10), ('L', 3, '2026-04-15', 100, 5);
update core.loans set principal_paid_fen = 130, interest_paid_fen = 25;
"""
)


async def test_a_loan_from_before_day_end_knows_where_its_instalments_stand(cells: Any) -> None:
    wanted = read_migrations()
    older = tuple(migration for migration in wanted if migration.name < "007")
    cells.server.run("createdb", "-U", "biyi_admin", "-O", "biyi_owner", "before_day_end")
    try:
        dsn = cells.server.dsn("before_day_end", "biyi_owner")
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await apply_migrations(connection, older)
            await connection.execute(BEFORE_DAY_END)
            await apply_migrations(connection, wanted)
            rows = await connection.execute(
                """select period, begins::text, principal_before_fen, interest_before_fen
                   from core.instalments order by period"""
            )
            assert await rows.fetchall() == [
                (1, "2026-01-15", 0, 0),
                (2, "2026-02-15", 100, 15),
                (3, "2026-03-15", 200, 25),
            ]
            rows = await connection.execute("select open_period, settled_on from core.loans")
            assert await rows.fetchall() == [(2, None)]
    finally:
        cells.server.run("dropdb", "-U", "biyi_admin", "before_day_end")
