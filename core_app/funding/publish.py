"""Make a funder known to the cells, deal its quota to them, stop it and start it again."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core_app.commands import (
    Answer,
    Claim,
    Done,
    finish_command,
    make_command,
    read_earlier_answer,
    run_command,
)
from core_app.core import Connection, LendingCore
from core_app.documents import make_canonical
from core_app.errors import FieldProblem, Kind, Refused
from core_app.funding.funder import Funder
from core_app.funding.quota import deal_quota, plan_raises
from core_app.funding.store import read_funder
from core_app.outbox import Told

_SELECT_VERSION = "select document from core.funder_versions where funder = %s and version = %s"

# The quota row begins with nothing to lend; dealing raises it.
_INSERT = """
with made as (
    insert into core.funder_quotas (funder, total_fen, day_fen) values (%(funder)s, 0, 0)
    on conflict do nothing
)
insert into core.funder_versions (funder, version, document, document_sm3, published_on, idempotency_key)
select %(funder)s, %(version)s, %(document)s, %(document_sm3)s, coalesce(b.on_date, %(today)s::date), %(key)s
from core.business_date b
"""

# The cell's date is d.day; while its day-end runs, some of its chunks are a day ahead of it.
_DAY_USED = "case when q.used_on >= d.day then q.day_used_fen else 0 end"
_EVE_USED = "case when q.used_on > d.day then q.eve_used_fen else 0 end"

_LOWER = f"""
update core.funder_quotas q
set total_fen = case when %(total)s::bigint is null then q.total_fen
                else greatest(least(coalesce(q.total_fen, %(total)s), %(total)s), q.used_fen) end,
    day_fen = case when %(day)s::bigint is null then q.day_fen
              else greatest(least(coalesce(q.day_fen, %(day)s), %(day)s), {_DAY_USED}, {_EVE_USED}) end,
    day_used_fen = {_DAY_USED}, eve_used_fen = {_EVE_USED}, used_on = greatest(q.used_on, d.day)
from (select coalesce(b.on_date, %(today)s::date) from core.business_date b) as d (day)
where q.funder = %(funder)s
returning q.total_fen, q.day_fen
"""  # noqa: S608 - no value is pasted in

_RAISE = """
update core.funder_quotas
set total_fen = case when %(total)s::bigint is null then null else greatest(total_fen, %(total)s) end,
    day_fen = case when %(day)s::bigint is null then null else greatest(day_fen, %(day)s) end
where funder = %(funder)s
returning total_fen, day_fen
"""

_STOP = """
update core.funder_quotas set stopped = %(stopped)s where funder = %(funder)s returning total_fen, day_fen
"""

_SELECT_STANDING = f"""
select q.funder, v.document, q.total_fen, q.used_fen, q.day_fen, greatest({_DAY_USED}, {_EVE_USED}), q.stopped
from (select coalesce(b.on_date, %s::date) from core.business_date b) as d (day), core.funder_quotas q
     join lateral (select document from core.funder_versions f where f.funder = q.funder
                   order by version desc limit 1) v on true
order by q.funder
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Standing:
    """A funder in one cell: its document as text, this cell's quota and what is used of it, in fen.

    `day_used_fen` is that of the fuller day while day-end runs.
    """

    funder: str
    document: str
    total_fen: int | None
    used_fen: int
    day_fen: int | None
    day_used_fen: int
    stopped: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """One cell's quota, in fen."""

    total_fen: int | None
    day_fen: int | None


async def read_standings(core: LendingCore, cell: str) -> dict[str, Standing]:
    """Return every funder that a cell knows."""

    async def work(connection: Connection, _: int) -> dict[str, Standing]:
        rows = await connection.execute(_SELECT_STANDING, [core.read_today()])
        return {row[0]: Standing(*row) for row in await rows.fetchall()}

    return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value


async def publish_funder(core: LendingCore, cell: str, key: str, funder: Funder) -> Done:
    """Write a funder's version into one cell, once; it has no quota there until that is dealt.

    Refused (409) when this version is known there with other terms, compared as products are
    (`core_app.products.published.publish_version`).
    """
    known = await _read_document(core, cell, funder)
    same = known is not None and read_funder(known) == funder
    plain = json.loads(known) if known is not None and same else funder.model_dump(mode="json")
    document, command = make_canonical(plain), make_command(core, key, "funder", plain)

    async def work(connection: Connection, claim: Claim) -> Answer:
        rows = await connection.execute(_SELECT_VERSION, [funder.id, funder.version])
        row = await rows.fetchone()
        if row is not None and read_funder(row[0]) != funder:
            found = f"{funder.version}, which is published with another document"
            problem = FieldProblem("version", found, "a higher version for a changed document")
            raise Refused(Kind.CONFLICT, f"version: {found}", problem)
        if (answer := await read_earlier_answer(connection, claim)) is not None:
            return answer
        values = {
            "funder": funder.id,
            "version": funder.version,
            "document": document.text,
            "document_sm3": document.sm3,
            "today": command.today,
            "key": command.key,
        }
        await connection.execute(_INSERT, values)
        body = {"funder": funder.id, "version": funder.version, "document_sm3": document.sm3.hex()}
        return await finish_command(connection, claim, 201, body, Told("funder.published", funder.id, body))

    return await run_command(core, cell, command, work)


async def _read_document(core: LendingCore, cell: str, funder: Funder) -> str | None:
    async def work(connection: Connection, _: int) -> str | None:
        rows = await connection.execute(_SELECT_VERSION, [funder.id, funder.version])
        row = await rows.fetchone()
        return None if row is None else str(row[0])

    return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value


async def deal_to_cells(core: LendingCore, funder: Funder, token: str) -> dict[str, Parts]:
    """Deal a published funder's quota evenly over the cells and return each cell's part.

    Also the way to even out what draws have used unevenly. May be repeated at any time, under a fresh
    `token`, by one operator at a time: two at once could both give away what one of them freed.
    CellUnavailable when a cell cannot be told: until this is run again, less can be lent than agreed.
    """
    cells = core.router.cells
    standings = [(await read_standings(core, cell))[funder.id] for cell in cells]
    total, day = funder.quota.total_fen, funder.quota.day_fen
    wanted_total = _deal(total, [one.used_fen for one in standings])
    wanted_day = _deal(day, [one.day_used_fen for one in standings])
    wanted = [Parts(*pair) for pair in zip(wanted_total, wanted_day, strict=True)]
    lowered = [
        await _change_quota(core, cell, f"{token}-lower-{cell}", _LOWER, _values(core, funder.id, parts))
        for cell, parts in zip(cells, wanted, strict=True)
    ]
    raised_total = _raise(total, [one.total_fen for one in lowered], wanted_total)
    raised_day = _raise(day, [one.day_fen for one in lowered], wanted_day)
    return {
        cell: await _change_quota(
            core, cell, f"{token}-raise-{cell}", _RAISE, _values(core, funder.id, parts)
        )
        for cell, parts in zip(cells, map(Parts, raised_total, raised_day), strict=True)
    }


def _deal(quota_fen: int | None, used_fen: Sequence[int]) -> tuple[int | None, ...]:
    return (None,) * len(used_fen) if quota_fen is None else deal_quota(quota_fen, used_fen)


def _raise(
    quota_fen: int | None, lowered_fen: Sequence[int | None], wanted_fen: Sequence[int | None]
) -> tuple[int | None, ...]:
    if quota_fen is None:
        return (None,) * len(wanted_fen)
    return plan_raises(quota_fen, [fen or 0 for fen in lowered_fen], [fen or 0 for fen in wanted_fen])


async def stop_funder(core: LendingCore, cell: str, funder_id: str, token: str, *, stopped: bool) -> Parts:
    """Keep a funder out of every further choice in one cell, or let it in again."""
    return await _change_quota(
        core, cell, f"{token}-{cell}", _STOP, {"funder": funder_id, "stopped": stopped}
    )


def _values(core: LendingCore, funder_id: str, parts: Parts) -> Mapping[str, Any]:
    today: dt.date = core.read_today()
    return {"funder": funder_id, "total": parts.total_fen, "day": parts.day_fen, "today": today}


async def _change_quota(
    core: LendingCore, cell: str, key: str, statement: str, values: Mapping[str, Any]
) -> Parts:
    plain = {name: str(value) for name, value in values.items()}
    command = make_command(core, key, "funder-quota", plain)

    async def work(connection: Connection, claim: Claim) -> Answer:
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        row = await (await connection.execute(statement, values)).fetchone()
        if row is None:
            raise Refused(Kind.NOT_FOUND, f"There is no funder {values['funder']} in cell {cell}.")
        body = {"funder": values["funder"], "total_fen": row[0], "day_fen": row[1]}
        return await finish_command(
            connection, claim, 200, body, Told("funder.quota", values["funder"], body)
        )

    body = (await run_command(core, cell, command, work)).answer.body
    return Parts(body["total_fen"], body["day_fen"])
