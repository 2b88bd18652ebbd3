"""How many applications came with the same device, WiFi, IP or address in the last minutes: exact counts.

The truth is core.evidence: a row is written in its application's own transaction, so it is there if
and only if the application is, on every copy, after every failover. Counting happens in the same
transaction under a lock on each value, so of two applications at once one sees the other. Other cells
are asked at their primaries, before: applications of the same moment in two cells do not see each other.
So each cell lets in at most what is allowed, and all together at most that times the cells, within the time
from the question to the commit (a step's budget and a commit); whoever comes after it is counted exactly.
To see each other they would have to commit twice, each the other's wait; gangs are searched over all cells
anyway (`gang_search`). Valkey holds a view for showing (`read_models.windows`) that decides
nothing: see docs/decisions/014-window-counts-come-from-postgresql.md.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from core_app.core import Connection, LendingCore
from core_app.decisions.evidence import Evidence, EvidenceKind
from core_app.router import CellUnavailable

# In the order of the values everywhere, so that two applications with the same values do not deadlock.
_LOCK = """
select pg_advisory_xact_lock(hashtextextended('evidence' || v.kind || encode(v.value_index, 'hex'), 0))
from (select * from unnest(%(kinds)s::text[], %(indexes)s::bytea[]) as g (kind, value_index)
      order by value_index, kind) as v
"""

_COUNT = """
select v.kind, (select count(*) from core.evidence e
                where e.kind = v.kind and e.value_index = v.value_index
                    and e.at > now() - make_interval(mins => %(minutes)s)),
       extract(hour from now() at time zone 'Asia/Shanghai')::integer
from unnest(%(kinds)s::text[], %(indexes)s::bytea[]) as v (kind, value_index)
"""

_INSERT = """
insert into core.evidence (application_id, customer_id, kind, value_index)
select %(application_id)s, %(customer_id)s, v.kind, v.value_index
from unnest(%(kinds)s::text[], %(indexes)s::bytea[]) as v (kind, value_index)
"""

# The newest instants of each value, this application's included: the row a window's view is made of. The
# locks are held until the commit, so the rows of one value are numbered in the order of their commits.
_TELL = """
insert into core.outbox (topic, key, payload, idempotency_key)
select 'window.seen', 'window:' || v.kind || ':' || encode(v.value_index, 'hex'),
    jsonb_build_object('window', jsonb_build_object('ats', (
        select jsonb_agg(extract(epoch from n.at) order by n.at desc)
        from (select e.at from core.evidence e where e.kind = v.kind and e.value_index = v.value_index
              order by e.at desc limit %(newest)s) as n))), %(key)s
from unnest(%(kinds)s::text[], %(indexes)s::bytea[]) as v (kind, value_index)
"""

NEWEST_TOLD = 100
"""Instants a window's view holds. Source: our choice; above what any product allows in a window."""

Counts = dict[EvidenceKind, int]


def _columns(evidence: Sequence[Evidence]) -> dict[str, Any]:
    return {
        "kinds": [str(one.kind) for one in evidence],
        "indexes": [one.index for one in evidence],
    }


async def count_here(
    connection: Connection, evidence: Sequence[Evidence], minutes: int
) -> tuple[Counts, int | None]:
    """Lock the values until the transaction ends, count earlier applications, and tell the hour in Shanghai.

    One round trip; none without evidence, and the hour is then None.
    """
    if not evidence:
        return {}, None
    values = _columns(evidence) | {"minutes": minutes}
    await connection.execute(_LOCK, values)
    # A statement of its own: its snapshot is taken when the locks are held.
    counted = await connection.execute(_COUNT, values)
    rows = await counted.fetchall()
    return {EvidenceKind(kind): count for kind, count, _ in rows}, rows[0][2]


async def count_elsewhere(
    core: LendingCore, own_cell: str, evidence: Sequence[Evidence], minutes: int, patience_ms: int
) -> Counts | None:
    """Return the counts of all other cells together, or None when one of them cannot be asked in time."""
    others = [cell for cell in core.router.cells if cell != own_cell]
    try:
        async with asyncio.timeout(patience_ms / 1000):
            found = await asyncio.gather(*(count_in_cell(core, cell, evidence, minutes) for cell in others))
    except (CellUnavailable, TimeoutError):
        return None
    return {one.kind: sum(counts[one.kind] for counts in found) for one in evidence}


async def count_in_cell(core: LendingCore, cell: str, evidence: Sequence[Evidence], minutes: int) -> Counts:
    """Return the counts at one cell's primary; CellUnavailable when it cannot be asked."""
    values = _columns(evidence) | {"minutes": minutes}

    async def work(connection: Connection, epoch: int) -> Counts:
        rows = await (await connection.execute(_COUNT, values)).fetchall()
        return {EvidenceKind(kind): count for kind, count, _ in rows}

    return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value


async def keep_evidence(
    connection: Connection,
    application: Mapping[str, str],
    evidence: Sequence[Evidence],
    key: str,
    *,
    locked: bool,
) -> None:
    """Write the evidence of an application and tell of its windows; sent without waiting for an answer.

    `key` is the command's. Unless `locked` by `count_here`, it locks: an application that failed before its
    windows were counted counts for the next one too.
    """
    if evidence:
        values = {**application, **_columns(evidence)}
        if not locked:
            await connection.execute(_LOCK, values)
        await connection.execute(_INSERT, values)
        await connection.execute(_TELL, values | {"key": key, "newest": NEWEST_TOLD})
