"""The calls that are open for a collector: of customers assigned to them, each row recorded as a look."""

import uuid
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.types.json import Jsonb

from core_app.core import Connection, LendingCore
from core_app.ids import Letter, make_routed_id
from core_app.servicing.contact import Channel
from core_app.staff.looks import FACTS, Kind, Purpose, Subject, Viewer, Wish, record_of
from core_app.staff.pages import Action, Page

_TASKS = """
select t.task_id, t.loan_id, t.customer_id, t.script, t.days_past_due, t.on_date
from core.collection_tasks t join core.staff_assignments s using (customer_id)
where t.state = 'ordered' and t.channel = %(channel)s and s.staff = %(staff)s and s.until_at > now()
order by t.due_at, t.task_id limit %(most)s
"""
_RECORD = "select look_id, facts from core.record_looks(%s)"
_PAGE = "select core.record_page(%s, %s, %s)"


@dataclass(frozen=True, slots=True)
class Rows:
    """What a collector is shown."""

    page_id: str
    rows: list[dict[str, Any]]


async def show_worklist(core: LendingCore, viewer: Viewer, most: int) -> Rows:
    """Show one's open calls with the loan's facts; `core` logs in as the portal's role.

    Cells are asked one after the other; the last one tells the page as a whole. Rows are recorded before they
    are shown.
    """
    page_id = core.new_id(Letter.LOOK, 0)
    shown: list[dict[str, Any]] = []
    for cell in core.router.cells:
        asked = _Ask(page_id, cell == core.router.cells[-1], len(shown), most - len(shown))
        shown += await _show_cell(core, cell, viewer, asked)
    return Rows(page_id, shown)


@dataclass(frozen=True, slots=True)
class _Ask:
    page_id: str
    tells: bool
    elsewhere: int
    most: int


async def _show_cell(core: LendingCore, cell: str, viewer: Viewer, ask: _Ask) -> list[dict[str, Any]]:
    page_id = ask.page_id if ask.tells else core.new_id(Letter.LOOK, 0)

    async def work(connection: Connection, _: int) -> list[dict[str, Any]]:
        values = {"channel": str(Channel.PERSON), "staff": viewer.staff, "most": max(0, ask.most)}
        tasks = await (await connection.execute(_TASKS, values)).fetchall()
        page = {**asdict(viewer), **asdict(Page(Action.LIST, Purpose.COLLECTION, None))}
        page |= {"page_id": page_id, "site": core.site, "rows": len(tasks)}
        await connection.execute(_PAGE, [Jsonb(page), ask.tells, ask.elsewhere])
        look_ids = [_look_id(core, page_id, task[0], task[2]) for task in tasks]
        wishes = [
            record_of(look_id, core.site, viewer, _wish(task[1], page_id))
            for look_id, task in zip(look_ids, tasks, strict=True)
        ]
        facts = dict(await (await connection.execute(_RECORD, [Jsonb(wishes)])).fetchall())
        return [_row(look_id, task, facts[look_id]) for look_id, task in zip(look_ids, tasks, strict=True)]

    return (await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)).value


def _look_id(core: LendingCore, page_id: str, task_id: str, customer_id: str) -> str:
    # Made of the page and the task: run again after a failover, it is the same look.
    unique = core.vault.request_digest(f"look|{page_id}|{task_id}".encode())[:16]
    return make_routed_id(Letter.LOOK, core.slot_of_customer(customer_id), uuid.UUID(bytes=unique))


def _wish(loan_id: str, page_id: str) -> Wish:
    return Wish(
        Subject.LOAN, loan_id, (), clear=False, purpose=Purpose.COLLECTION, case_id=None, kind=Kind.LIST_ROW,
        page_id=page_id,
    )  # fmt: skip


def _row(look_id: str, task: tuple[Any, ...], facts: dict[str, Any]) -> dict[str, Any]:
    task_id, loan_id, customer_id, script, days, on_date = task
    return {
        "look_id": look_id,
        "task_id": task_id,
        "loan_id": loan_id,
        "customer_id": customer_id,
        "script": script,
        "days_past_due": days,
        "for_day": on_date.isoformat(),
        "facts": {name: facts[name] for name in FACTS[Subject.LOAN]},
    }
