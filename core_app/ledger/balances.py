"""Balances of a cell by account and dimensions: read from the view over all lines, for reports."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.sql import SQL, Identifier

from core_app.core import Connection, LendingCore
from core_app.ledger.dimensions import Dimension

_BALANCES = SQL("""
select n.account, a.name_en, a.name_zh, array[{columns}]::text[], sum(n.amount_fen)::bigint, count(*)
from core.ledger_lines n join core.accounts a using (account)
group by n.account, a.name_en, a.name_zh {groups} order by 1, 4
""")


@dataclass(frozen=True, slots=True)
class Balance:
    """What stands on an account, debit positive, for one value of each dimension asked by; in fen."""

    account: str
    name_en: str
    name_zh: str
    values: tuple[str, ...]
    balance_fen: int
    lines: int


async def read_balances(core: LendingCore, cell: str, by: Sequence[Dimension]) -> tuple[Balance, ...]:
    """Return the balances of one cell by account and `by`; they sum to zero for each combination of values.

    Reads the whole ledger of the cell: for reports, not for requests.
    """
    columns = SQL(", ").join(SQL("n.{}").format(Identifier(name)) for name in by)
    groups = SQL("").join(SQL(", n.{}").format(Identifier(name)) for name in by)
    statement = _BALANCES.format(columns=columns, groups=groups)

    async def work(connection: Connection, _: int) -> tuple[Balance, ...]:
        rows = await (await connection.execute(statement)).fetchall()
        return tuple(
            Balance(account, en, zh, tuple(values), fen, lines)
            for account, en, zh, values, fen, lines in rows
        )

    return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value
