"""Read the rows that the checkers judge, from each cell's primary, in one snapshot a cell."""

from collections.abc import Collection
from typing import Any

import psycopg

from replication.model import Grant
from replication.settings import SiteSettings
from replication.transport import plan_calling
from runbooks.drills.rows import CellRows, CommandRow, EntryRow, LoanRow

_CONNECT_SECONDS = 5
"""Patience with connecting. Source: our choice; the stand is at rest when rows are read."""

_LOAN_ACCOUNTS = ["1303", "1321"]
"""Accounts whose entries make a loan's principal balance: our share and partners'. Source:
core_app/ledger/posting.py."""

_COMMANDS = "select idempotency_key, kind, epoch, status, response from core.commands order by at"
_ENTRIES = """
    select entry_id::text, transaction_id, account, amount_fen, idempotency_key, loan_id
    from core.entries order by entry_id
"""
_LOANS = """
    select l.loan_id, l.balance_fen, coalesce(sum(e.amount_fen), 0)::bigint
    from core.loans l left join core.entries e on e.loan_id = l.loan_id and e.account = any(%s)
    where l.written_off_on is null group by l.loan_id, l.balance_fen
"""


class Unreadable(Exception):
    """A cell's rows could not be read from its granted primary; the message says why."""


async def read_keys(settings: SiteSettings, grant: Grant) -> frozenset[str]:
    """Return the idempotency keys a cell holds now; Unreadable when its primary does not answer."""
    try:
        async with await connect_granted(settings, grant) as connection:
            cursor = await connection.execute("select idempotency_key from core.commands")
            return frozenset([row[0] for row in await cursor.fetchall()])
    except psycopg.Error as error:
        raise Unreadable(f"cell {grant.cell} at {grant.primary}: {error}") from error


async def read_cell(settings: SiteSettings, grant: Grant, earlier: Collection[str]) -> CellRows:
    """Return a cell's rows; `earlier` are the keys that were there before the drill.

    Unreadable when the primary does not answer, is no primary, or is of another epoch than granted.
    """
    try:
        async with await connect_granted(settings, grant) as connection:
            await connection.execute("set transaction isolation level repeatable read, read only")
            epoch = await check_is_granted(connection, grant)
            commands = await (await connection.execute(_COMMANDS)).fetchall()
            entries = await (await connection.execute(_ENTRIES)).fetchall()
            loans = await (await connection.execute(_LOANS, (_LOAN_ACCOUNTS,))).fetchall()
    except psycopg.Error as error:
        raise Unreadable(f"cell {grant.cell} at {grant.primary}: {error}") from error
    keys = {row[0] for row in commands}
    return CellRows(
        cell=grant.cell,
        epoch=epoch,
        commands=tuple(
            CommandRow(key, kind, at, status or 0, said or {}) for key, kind, at, status, said in commands
        ),
        entries=tuple(EntryRow(*row) for row in entries),
        loans=tuple(LoanRow(*row) for row in loans),
        trial_balance_fen=sum(row[3] for row in entries),
        earlier_missing=tuple(sorted(set(earlier) - keys)),
    )


async def check_is_granted(connection: psycopg.AsyncConnection[tuple[Any, ...]], grant: Grant) -> int:
    """Return the epoch of a cell's own row; Unreadable when this is no primary in the granted epoch."""
    cursor = await connection.execute("select epoch, pg_is_in_recovery() from biyi.epoch")
    row = await cursor.fetchone()
    if row is None or row[1] or row[0] != grant.epoch:
        raise Unreadable(
            f"cell {grant.cell}: {grant.primary} has (epoch, standby) {row}, granted {grant.epoch}"
        )
    return grant.epoch


async def connect_granted(settings: SiteSettings, grant: Grant) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    """Connect as administrator to the place of the granted primary; psycopg.Error when it does not answer."""
    place = settings.place(grant.primary.place)
    return await psycopg.AsyncConnection.connect(
        **plan_calling(place),
        dbname="biyi",
        user="biyi_admin",
        passfile=str(settings.passfile),
        connect_timeout=_CONNECT_SECONDS,
        application_name="biyi-drill",
    )
