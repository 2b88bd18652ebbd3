"""Tasks that alerts open: one at a time for each rule and its dimensions, however often it fires meanwhile.

They live in the first cell, whose figures they are not alone: a metric is of all cells.
"""

import json
from collections.abc import Sequence
from typing import Any

from core_app.core import Connection, LendingCore
from core_app.insight.alert import Fired

_OPEN = """
with opened as (
    insert into core.alert_tasks (alert, metric, dimensions, value, threshold, on_date, action, owner)
    values (%(alert)s, %(metric)s, %(dimensions)s, %(value)s::numeric, %(threshold)s, %(on_date)s, %(action)s,
        %(owner)s)
    on conflict (alert, dimensions) where closed_at is null do nothing
    returning task_id, alert, metric, dimensions, value, threshold, on_date, action, owner
), told as (
    insert into core.outbox (topic, key, payload, idempotency_key)
    select 'alert.raised', 'alert-' || o.task_id, to_jsonb(o), 'alert-' || o.task_id from opened o
)
select task_id from opened
"""
_LIST = """
select task_id, alert, metric, dimensions, value::text, threshold::text, on_date::text, action, owner,
    closed_by, note
from core.alert_tasks where closed_at is null or %(all)s order by task_id
"""
_CLOSE = """
with closed as (
    update core.alert_tasks set closed_at = now(), closed_by = %(staff)s, note = %(note)s
    where task_id = %(task_id)s and closed_at is null returning task_id, alert, dimensions, closed_by as staff
), told as (
    insert into core.outbox (topic, key, payload, idempotency_key)
    select 'alert.closed', 'alert-' || c.task_id, to_jsonb(c), 'alert-' || c.task_id from closed c
)
select task_id from closed
"""


async def open_tasks(core: LendingCore, fired: Sequence[Fired]) -> int:
    """Open a task for each rule that fired and has none open; return how many were opened."""
    rows = [_columns(one) for one in fired]

    async def work(connection: Connection, _: int) -> int:
        opened = [await (await connection.execute(_OPEN, row)).fetchone() for row in rows]
        return sum(one is not None for one in opened)

    cell = core.router.cells[0]
    return (await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)).value


def _columns(fired: Fired) -> dict[str, Any]:
    alert = fired.alert
    named = dict(zip(alert.per, fired.dimensions, strict=True)) | dict(alert.where)
    return {
        "alert": alert.id,
        "metric": alert.metric,
        "dimensions": json.dumps(named, sort_keys=True, ensure_ascii=False),
        "value": f"{float(fired.value):.8f}",
        "threshold": alert.threshold,
        "on_date": fired.on,
        "action": alert.action,
        "owner": alert.owner,
    }


async def list_tasks(core: LendingCore, *, closed_too: bool = False) -> list[dict[str, Any]]:
    """Return the open tasks, or all, the oldest first."""

    async def work(connection: Connection, _: int) -> list[dict[str, Any]]:
        rows = await connection.execute(_LIST, {"all": closed_too})
        found = await rows.fetchall()  # first: in a pipeline nothing is known of the columns before
        names = [column.name for column in rows.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found]

    cell = core.router.cells[0]
    return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value


async def close_task(core: LendingCore, task_id: int, staff: str, note: str) -> bool:
    """Close an open task, with who did and what they found; False when there is no such one."""

    async def work(connection: Connection, _: int) -> bool:
        values = {"task_id": task_id, "staff": staff, "note": note}
        return await (await connection.execute(_CLOSE, values)).fetchone() is not None

    cell = core.router.cells[0]
    return (await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)).value
