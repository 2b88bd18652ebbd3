"""The machine at collection tasks: calls by robot, text messages and letters, each once, within the limits.

A task's turn is written down before anybody is contacted, so that two machines take different ones; who dies
leaves it to the next after the lease. The contact is on record before it is made and bears one number:
brought again under it, nobody is contacted twice. What the limits refuse is recorded and not made.
"""

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import Any

from compliance.protection.errors import SubjectShredded
from compliance.protection.fields import CUSTOMER_PHONE
from core_app.core import Connection, LendingCore
from core_app.errors import Refused
from core_app.notices.gateway import Delivery, Message, MessageGateway
from core_app.rounds import go_round
from core_app.servicing.attempts import (
    END,
    Judged,
    Wanted,
    as_told,
    contact_of_task,
    judge_and_record,
    tell,
)
from core_app.servicing.contact import DEBTOR, Channel
from core_app.servicing.voice import Call, VoiceRobot

BATCH = 50
"""Tasks taken at a look. Source: our choice; one transaction takes them, each is worked on for itself."""
LEASE = dt.timedelta(seconds=60)
"""How long a task is its taker's. Source: our choice; a contact brought again after it is not made again."""
POLL_SECONDS = 10.0
"""Pause between two looks. Source: our choice; an idle cell is asked little, and no call is urgent."""
_ANSWER_SECONDS = 5.0

_TAKE = """
with taken as (
    select t.task_id, t.customer_id, t.channel from core.collection_tasks t
    where t.state = 'ordered' and t.channel <> 'person' and t.due_at <= %(now)s
        and extract(hour from %(now)s at time zone 'Asia/Shanghai') >= t.quiet_until
        and extract(hour from %(now)s at time zone 'Asia/Shanghai') < t.quiet_from
    order by t.due_at limit %(batch)s for update skip locked
)
update core.collection_tasks t
set due_at = %(now)s + %(lease)s, tries = t.tries + 1, changed_by = %(site)s, changed_at = now()
from taken n left join core.customers c
    on c.customer_id = n.customer_id and n.channel in ('voice_robot', 'sms')
where t.task_id = n.task_id and (n.channel = 'letter' or c.phone is not null)
returning t.task_id, t.loan_id, t.customer_id, t.channel, t.script, c.phone, t.give_up_at < %(now)s
"""

_CLOSE = """
update core.collection_tasks set state = %s, changed_by = %s, changed_at = now()
where task_id = %s and state = 'ordered' returning idempotency_key
"""


@dataclass(frozen=True, slots=True)
class _Taken:
    task_id: str
    loan_id: str
    customer_id: str
    channel: str
    script: str
    phone: bytes | None
    """Sealed; for a call or a text message."""
    too_late: bool


@dataclass(slots=True)
class Collector:
    """Works on the machine's tasks of all cells, at one site; one may run at each."""

    core: LendingCore
    gateway: MessageGateway
    robot: VoiceRobot

    async def run(self) -> None:
        """Work until it is cancelled; a cell without an answer, or not migrated yet, is looked at again."""
        await go_round(self.core, self.look, BATCH, POLL_SECONDS)

    async def look(self, cell: str) -> int:
        """Take and do what is due in a cell; return how many tasks were taken."""
        values = {"batch": BATCH, "lease": LEASE, "site": self.core.site, "now": self.core.read_now()}

        async def work(connection: Connection, _: int) -> list[_Taken]:
            rows = await (await connection.execute(_TAKE, values)).fetchall()
            return [_Taken(*row) for row in rows]

        taken = await self.core.router.write(cell, work, deadline_seconds=self.core.deadline_seconds)
        for task in taken.value:
            await self._do(cell, task)
        return len(taken.value)

    async def _do(self, cell: str, task: _Taken) -> None:
        if task.too_late:
            return await self._end(cell, task, None, "given_up")
        try:
            judged = await self._ask(cell, task)
        except Refused:
            return None  # somebody else closed it meanwhile: its loan is no longer shown to this role
        if not judged.allowed:
            return None
        try:
            outcome = await self._bring(task, judged)
        except SubjectShredded:
            return await self._end(cell, task, "refused", "needless")
        if outcome == "unknown":
            return None  # taken again when the lease is over
        return await self._end(cell, task, outcome, "refused" if outcome == "refused" else "done")

    async def _ask(self, cell: str, task: _Taken) -> Judged:
        """Record the contact and what the limits say; what they refuse is closed in the same transaction.

        One that was let through before is judged anew, and only made on the day that it was counted for.
        """

        async def work(connection: Connection, _: int) -> Judged:
            number = contact_of_task(task.task_id)
            wanted = Wanted(
                number, task.loan_id, Channel(task.channel), DEBTOR, task.script, task.task_id, None,
                task.task_id,
            )  # fmt: skip
            judged = await judge_and_record(self.core, connection, wanted)
            if judged.recorded:
                await tell(connection, "contact.asked", number, as_told(judged), task.task_id)
            if judged.refusals:
                needless = [one.rule for one in judged.refusals] == ["collect.owed"]
                await self._close(connection, task, None, "needless" if needless else "refused")
            elif judged.stale:
                await self._close(connection, task, None, "given_up")
            return judged

        return (await self.core.router.write(cell, work, deadline_seconds=self.core.deadline_seconds)).value

    async def _bring(self, task: _Taken, judged: Judged) -> str:
        number = judged.wanted.contact_id
        address = task.customer_id
        if task.phone is not None:
            address = self.core.vault.decrypt(CUSTOMER_PHONE, task.customer_id, task.phone)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                if judged.wanted.channel is Channel.VOICE_ROBOT:
                    return str(await self.robot.call(Call(number, judged.words, address)))
                message = Message(number, str(judged.wanted.channel), judged.words, address)
                return str(await self.gateway.send(message))
        except (TimeoutError, OSError):
            return str(Delivery.UNKNOWN)

    async def _end(self, cell: str, task: _Taken, outcome: str | None, state: str) -> None:
        """Close a task, with what came of its contact."""

        async def work(connection: Connection, _: int) -> None:
            await self._close(connection, task, outcome, state)

        await self.core.router.write(cell, work, deadline_seconds=self.core.deadline_seconds)

    async def _close(self, connection: Connection, task: _Taken, outcome: str | None, state: str) -> None:
        """Close a task in the caller's transaction; told once, whoever closes it."""
        number = contact_of_task(task.task_id)
        values: dict[str, Any] = {"contact_id": number, "customer_id": task.customer_id, "outcome": outcome}
        values |= {"promised_on": None, "promised_fen": None, "key": task.task_id}
        told = {"task_id": task.task_id, "customer_id": task.customer_id, "loan_id": task.loan_id}
        told |= {"channel": task.channel, "state": state, "outcome": outcome or ""}
        if outcome is not None:
            await connection.execute(END, values)
        closed = await connection.execute(_CLOSE, [state, self.core.site, task.task_id])
        if await closed.fetchone() is not None:
            await tell(connection, "collection.closed", task.task_id, told, task.task_id)
