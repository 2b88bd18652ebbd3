"""Read a loan with its first open instalments, under its lock or without.

A repayment looks at a few instalments whatever the loan's history: it asks for the rest only when what
has fallen due, or the amount, reaches beyond them.
"""

from typing import Any

from psycopg import AsyncCursor

from core_app.commands import Answer, Done
from core_app.core import Connection, LendingCore
from core_app.errors import Kind, Refused
from core_app.ids import Letter, slot_of_id
from core_app.loans.loan import Loan, Row, make_loan, show_loan_row
from core_app.products.published import find_version
from core_app.slots import chunk_of_slot

FEW_LINES = 4
"""Instalments read at once. Source: our choice; what is due, the next one, and two for a month missed."""
ALL_LINES = 1000
"""More than a plan can have. Source: `Months` in products/parameters/shapes.py, at most 60."""

_READ = "select * from core.read_loan(%s, %s::smallint, %s::date, %s)"
_LOCK = "select * from core.lock_loan(%s, %s::smallint, %s::date, %s)"


async def ask_locked(
    core: LendingCore, connection: Connection, loan_id: str, lines: int = FEW_LINES
) -> AsyncCursor[Any]:
    """Send the question for a loan under its lock and its day's; costs no round trip of its own."""
    return await connection.execute(_LOCK, [loan_id, chunk_of_loan(loan_id), core.read_today(), lines])


async def ask_unlocked(
    core: LendingCore, connection: Connection, loan_id: str, lines: int = ALL_LINES
) -> AsyncCursor[Any]:
    """Send the question for a loan as it is; costs no round trip of its own."""
    return await connection.execute(_READ, [loan_id, chunk_of_loan(loan_id), core.read_today(), lines])


async def fetch_loan(
    core: LendingCore,
    connection: Connection,
    loan_id: str,
    asked: AsyncCursor[Any],
    lines: int = FEW_LINES,
) -> Loan | None:
    """Return the loan asked for, None when there is none."""
    row = await asked.fetchone()
    if row is None:
        return None
    read = Row(*row)
    product = await find_version(core, connection, read.product, read.product_version)
    return make_loan(loan_id, read, product, lines)


def chunk_of_loan(loan_id: str) -> int:
    """Return the chunk whose day a loan lives in."""
    slot = slot_of_id(Letter.LOAN, loan_id)
    return 0 if slot is None else chunk_of_slot(slot)


async def show_loan(core: LendingCore, loan_id: str) -> Done:
    """Return where a loan stands; Refused (404) when there is none."""
    cell = core.cell_of_id(Letter.LOAN, loan_id)
    if cell is None:
        raise Refused(Kind.NOT_FOUND, "There is no such loan.")

    async def work(connection: Connection, epoch: int) -> Answer:
        asked = await ask_unlocked(core, connection, loan_id)
        loan = await fetch_loan(core, connection, loan_id, asked, ALL_LINES)
        if loan is None:
            raise Refused(Kind.NOT_FOUND, "There is no such loan.")
        return Answer(200, show_loan_row(loan), epoch, replayed=False)

    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, read.value)
