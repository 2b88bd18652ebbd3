"""A cell's portfolio built anew beside it, and day-end run over it undisturbed: what a drill compares with.

The twin is a database of its own on the cell's server, dropped afterwards. Its loans are those of the cell
as they were drawn; every repayment dated up to the day is booked again, in order, by the core itself.
"""

import datetime as dt
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import psycopg
from psycopg.sql import SQL, Identifier

from core_app.commands import make_command
from core_app.core import Connection, LendingCore
from core_app.day_end.fingerprint import read_fingerprint
from core_app.day_end.service import DayEnd
from core_app.directory import Directory
from core_app.loans.repay import repay_loan
from core_app.sql.apply import apply_migrations, read_migrations
from replication.model import Grant
from replication.settings import SiteSettings
from runbooks.drills.read_rows import connect_granted

T = TypeVar("T")

# Each table and which of its rows to take, in the order of their references.
_KEPT = (
    ("product_versions", "true"),
    ("customers", "true"),
    ("applications", "true"),
    ("contracts", "true"),
    ("loans", "drawn_on <= {day}"),
    (
        "instalments",
        "plan_version = 1 and loan_id in (select loan_id from core.loans where drawn_on <= {day})",
    ),
    ("loan_funders", "loan_id in (select loan_id from core.loans where drawn_on <= {day})"),
    ("closings", "on_date < {day}"),
)
_COLUMNS = """
select string_agg(quote_ident(column_name), ', ' order by ordinal_position) from information_schema.columns
where table_schema = 'core' and table_name = %s and is_generated = 'NEVER'
"""
_AS_DRAWN = """
update core.loans l set principal_paid_fen = 0, interest_paid_fen = 0, penalty_paid_fen = 0, open_period = 1,
    plan_version = 1, interest_fen_days = 0, settled_on = null, written_off_on = null,
    interest_to = case when l.anytime then l.drawn_on end,
    interest_fen = (select sum(i.interest_fen) from core.instalments i where i.loan_id = l.loan_id),
    fee_paid_fen = 0, fee_fen = (select sum(i.fee_fen) from core.instalments i where i.loan_id = l.loan_id)
"""
_JOURNAL = """
select loan_id, amount_fen, booked_on from core.repayments where booked_on <= %s order by number
"""
_OTHERS = """
select count(*) from core.repayments r left join core.reversals x using (repayment_id)
where r.booked_on <= %s and (r.kind <> 'repayment' or x.repayment_id is not null)
"""


class NoTwin(psycopg.Error):
    """The portfolio has events that a twin does not book again; the message says which."""


@dataclass(frozen=True, slots=True)
class _Done:
    value: Any
    epoch: int


@dataclass(frozen=True, slots=True)
class _TwinRouter:
    """Runs transactions on one connection to the twin, one after the other."""

    cells: tuple[str, ...]
    directory: Directory
    connection: Connection

    async def write(
        self, cell: str, work: Callable[[Connection, int], Awaitable[T]], *, deadline_seconds: float = 10.0
    ) -> Any:
        async with self.connection.transaction(), self.connection.pipeline():
            return _Done(await work(self.connection, 0), 0)

    async def read(
        self, cell: str, work: Callable[[Connection, int], Awaitable[T]], *, deadline_seconds: float = 10.0
    ) -> Any:
        return await self.write(cell, work, deadline_seconds=deadline_seconds)


async def run_undisturbed(
    core: LendingCore, settings: SiteSettings, grant: Grant, day: dt.date
) -> tuple[str, int]:
    """Return the fingerprint of an undisturbed day-end over the cell's portfolio of that evening, its loans.

    psycopg.Error when the server does not do it, NoTwin when there is more than draws and repayments.
    """
    async with _make_twin(settings, grant) as (source, twin):
        others = await (await source.execute(_OTHERS, [day])).fetchone()
        if others is None or others[0]:
            raise NoTwin("prepayments, recoveries or reversals: only draws and repayments are booked again")
        for table, rows in _KEPT:
            await _copy(source, twin, table, rows.format(day=f"'{day}'"))
        await twin.execute(_AS_DRAWN)
        await twin.execute("set session_replication_role = origin")
        beside = replace(core, router=_TwinRouter(core.router.cells, core.router.directory, twin))
        journal = await (await source.execute(_JOURNAL, [day])).fetchall()
        for number, (loan_id, amount_fen, booked_on) in enumerate(journal):
            await twin.execute("update core.business_date set on_date = %s", [booked_on])
            body = {"loan_id": loan_id, "amount_fen": amount_fen}
            command = make_command(beside, f"twin-{number:012d}", "repayment", body)
            await repay_loan(beside, command, loan_id, amount_fen)
        await twin.execute("update core.business_date set on_date = %s", [day])
        closed = await DayEnd(beside, grant.cell, lambda *_: None, at_once=1).run(day)
        return await read_fingerprint(twin, day), closed.loans


async def _copy(source: Connection, twin: Connection, table: str, rows: str) -> None:
    found = await (await source.execute(_COLUMNS, [table])).fetchone()
    columns = SQL(found[0] if found else "")
    name = Identifier("core", table)
    out = SQL("copy (select {} from {} where {}) to stdout (format binary)")
    into = SQL("copy {} ({}) from stdin (format binary)").format(name, columns)
    async with (
        source.cursor().copy(out.format(columns, name, SQL(rows))) as reading,
        twin.cursor().copy(into) as writing,
    ):
        async for block in reading:
            await writing.write(block)


@asynccontextmanager
async def _make_twin(settings: SiteSettings, grant: Grant) -> AsyncIterator[tuple[Connection, Connection]]:
    """Yield a connection to the cell and one to its empty twin; the twin is dropped in any case."""
    name = f"twin_{secrets.token_hex(4)}"
    async with await connect_granted(settings, grant) as source:
        await source.set_autocommit(True)
        await source.execute(SQL("create database {}").format(Identifier(name)))
        try:
            twin = await psycopg.AsyncConnection.connect(
                host=source.info.host,
                port=source.info.port,
                dbname=name,
                user=source.info.user,
                password=source.info.password,
                autocommit=True,
            )
            async with twin:
                await apply_migrations(twin, read_migrations())
                await twin.execute("set session_replication_role = replica")
                yield source, twin
        finally:
            await source.execute(SQL("drop database {} with (force)").format(Identifier(name)))
