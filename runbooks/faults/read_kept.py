"""Make the matrix's tables in a cell, read what they keep, drop them: as administrator, on the primary."""

from importlib.resources import files

import psycopg
from psycopg import sql

from replication.model import Grant
from replication.settings import SiteSettings
from runbooks.drills.read_rows import Unreadable, check_is_granted, connect_granted
from runbooks.faults.rows import AccountRow, DoneRow, KeptRows, RegisterRow
from runbooks.faults.workloads import ACCOUNTS, OPENING_FEN

_DONE = """
select d.token, d.batch, d.action, d.epoch, d.copy, (extract(epoch from d.at) * 1000000)::bigint, d.answer,
    coalesce(array_agg(l.amount_fen) filter (where l.token is not null), '{}')
from faults.done as d left join faults.legs as l using (token)
where %(batch)s::integer is null or d.batch = %(batch)s
group by d.token order by d.at
"""
_ACCOUNTS = """
select a.account, a.balance_fen, coalesce(sum(l.amount_fen), 0)::bigint
from faults.accounts as a left join faults.legs as l using (account)
group by a.account, a.balance_fen order by a.account
"""
_REGISTERS = """
select key, version, value from faults.registers
where %(batch)s::integer is null or batch = %(batch)s order by key
"""


async def make_tables(settings: SiteSettings, grant: Grant) -> None:
    """Make the tables of one cell anew, accounts opened; Unreadable when its primary does not answer."""
    schema = files("runbooks.faults").joinpath("schema.sql").read_text("utf-8")
    try:
        async with await connect_granted(settings, grant) as connection:
            await connection.execute(schema.encode())
            await connection.execute(
                "insert into faults.accounts select n, %s from generate_series(0, %s) as n",
                (OPENING_FEN, ACCOUNTS - 1),
            )
    except psycopg.Error as error:
        raise Unreadable(f"cell {grant.cell} at {grant.primary}: {error}") from error


async def drop_tables(settings: SiteSettings, grant: Grant) -> None:
    """Drop the tables of one cell."""
    try:
        async with await connect_granted(settings, grant) as connection:
            await connection.execute(sql.SQL("drop schema if exists faults cascade"))
    except psycopg.Error as error:
        raise Unreadable(f"cell {grant.cell} at {grant.primary}: {error}") from error


async def read_kept(settings: SiteSettings, grant: Grant, batch: int | None = None) -> KeptRows:
    """Return what a cell keeps of one batch (None: of all), in one snapshot on its granted primary.

    Unreadable when the primary does not answer, is none, or is in another epoch than granted.
    """
    wanted = {"batch": batch}
    try:
        async with await connect_granted(settings, grant) as connection:
            await connection.execute("set transaction isolation level repeatable read, read only")
            epoch = await check_is_granted(connection, grant)
            done = await (await connection.execute(_DONE, wanted)).fetchall()
            accounts = await (await connection.execute(_ACCOUNTS)).fetchall()
            registers = await (await connection.execute(_REGISTERS, wanted)).fetchall()
    except psycopg.Error as error:
        raise Unreadable(f"cell {grant.cell} at {grant.primary}: {error}") from error
    return KeptRows(
        grant.cell,
        epoch,
        tuple(
            DoneRow(token, number, action, at_epoch, copy, at_us, answer or {}, tuple(legs))
            for token, number, action, at_epoch, copy, at_us, answer, legs in done
        ),
        tuple(AccountRow(*row) for row in accounts),
        tuple(RegisterRow(*row) for row in registers),
    )
