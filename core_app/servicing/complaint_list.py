"""Show complaints to staff: the list without words or people, one with its words after a recorded look."""

import asyncio
import datetime as dt
from collections.abc import Mapping
from typing import Any

from core_app.core import Connection, LendingCore
from core_app.errors import Kind, Refused
from core_app.ids import Letter

_LIST = """
select c.complaint_id, c.source, c.about, c.received_at, c.first_answer_by, c.decide_by, c.state, c.level,
    c.first_answered_at, c.replied_at
from core.complaints c where %(state)s::text is null or c.state = %(state)s
order by c.level desc, c.decide_by, c.complaint_id limit %(limit)s
"""
_ONE = """
select c.complaint_id, c.source, c.about, c.received_at, c.first_answer_by, c.decide_by, c.state, c.level,
    c.first_answered_at, c.replied_at, c.customer_id, c.loan_id, c.words, c.reference, c.staff,
    (select coalesce(jsonb_agg(jsonb_build_object('number', a.number, 'act', a.act, 'staff', a.staff,
        'words', a.words, 'level', a.level, 'at', a.at) order by a.number), '[]')
     from core.complaint_acts a where a.complaint_id = c.complaint_id) as acts
from core.complaints c where c.complaint_id = %(complaint_id)s
"""


async def list_complaints(core: LendingCore, state: str | None, limit: int) -> list[dict[str, Any]]:
    """Return complaints of all cells, the most urgent first; CellUnavailable when one cannot be asked."""

    async def work(connection: Connection, _: int) -> list[dict[str, Any]]:
        rows = await connection.execute(_LIST, {"state": state, "limit": limit})
        return [_as_plain(rows.description, row) for row in await rows.fetchall()]

    reads = (
        core.router.read(cell, work, deadline_seconds=core.deadline_seconds) for cell in core.router.cells
    )
    found = [one for read in await asyncio.gather(*reads) for one in read.value]
    found.sort(key=lambda one: (-one["level"], one["decide_by"], one["complaint_id"]))
    return found[:limit]


async def read_complaint(core: LendingCore, complaint_id: str) -> Mapping[str, Any]:
    """Return one complaint with its words and all that was done; whoever shows it records a look before.

    Refused (404) when there is none.
    """
    cell = core.cell_of_id(Letter.COMPLAINT, complaint_id)

    async def work(connection: Connection, _: int) -> dict[str, Any] | None:
        rows = await connection.execute(_ONE, {"complaint_id": complaint_id})
        row = await rows.fetchone()
        return None if row is None else _as_plain(rows.description, row)

    found = None
    if cell is not None:
        found = (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value
    if found is None:
        raise Refused(Kind.NOT_FOUND, "There is no such complaint.")
    return found


def _as_plain(description: Any, row: tuple[Any, ...]) -> dict[str, Any]:
    named = {column.name: value for column, value in zip(description, row, strict=True)}
    return {name: _text(value) for name, value in named.items()}


def _text(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    return value.isoformat() if isinstance(value, dt.date) else value
