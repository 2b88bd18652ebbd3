"""What collectors do: ask whether they may contact somebody, and say what came of it. Each is a command.

A contact that the limits refuse is answered with 201 and `allowed: false`: it is on record. Only who asked
for a contact ends it, once. The look at the loan that comes with the words is recorded by the route.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from core_app.commands import Answer, Claim, Command, Done, finish_command, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.errors import Kind, Refused, refuse_conflict, refuse_field
from core_app.ids import Letter, slot_of_id
from core_app.outbox import Told
from core_app.servicing.attempts import END, Judged, Wanted, as_told, judge_and_record
from core_app.servicing.contact import Channel

_TASK = """
select loan_id, state from core.collection_tasks where task_id = %s and channel = 'person' for update
"""
_CONTACT = """
select c.customer_id, c.staff, c.refused_by, c.task_id, o.outcome,
       core.read_day(%(chunk)s::smallint, %(today)s::date)
from core.contacts c left join core.contact_outcomes o using (contact_id)
where c.contact_id = %(contact_id)s
"""
_CLOSE_TASK = """
update core.collection_tasks set state = 'done', changed_by = %s, changed_at = now()
where task_id = %s and state = 'ordered'
"""


@dataclass(frozen=True, slots=True)
class Request:
    """A call that a member of staff wants to make: to whom, with which script, for which task if any."""

    loan_id: str
    whom: str
    script: str
    task_id: str | None
    staff: str


@dataclass(frozen=True, slots=True)
class Ending:
    """What came of a contact; a promise says when and how much."""

    contact_id: str
    outcome: str
    promised_on: dt.date | None
    promised_fen: int | None
    staff: str


async def ask_contact(core: LendingCore, command: Command, request: Request) -> Done:
    """Record a wanted call and say whether it may be made; with the words when it may.

    Refused: 404 when there is no such loan, 422 when the script or the task does not fit.
    """
    slot = slot_of_id(Letter.LOAN, request.loan_id)
    if slot is None:
        raise Refused(Kind.NOT_FOUND, "There is no such loan.")
    contact_id = core.new_id(Letter.CONTACT, slot)

    async def work(connection: Connection, claim: Claim) -> Answer:
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        if request.task_id is not None:
            task = await (await connection.execute(_TASK, [request.task_id])).fetchone()
            if task != (request.loan_id, "ordered"):
                raise refuse_field("body.task_id", "no open task for this loan", "one from your work list")
        wanted = Wanted(
            contact_id, request.loan_id, Channel.PERSON, request.whom, request.script, request.task_id,
            request.staff, command.key,
        )  # fmt: skip
        judged = await judge_and_record(core, connection, wanted)
        told = Told("contact.asked", contact_id, as_told(judged))
        return await finish_command(connection, claim, 201, _show(judged), told)

    return await run_command(core, core.cell_of_slot(slot), command, work)


def _show(judged: Judged) -> dict[str, Any]:
    refused = [
        {"rule": one.rule, "found": one.found, "limit": one.limit, "source": one.source}
        for one in judged.refusals
    ]
    return {
        "contact_id": judged.wanted.contact_id,
        "loan_id": judged.wanted.loan_id,
        "whom": judged.wanted.whom,
        "at": judged.at.isoformat(),
        "allowed": judged.allowed,
        "refused_by": refused,
        "script": judged.script.id,
        "script_version": judged.version.version,
        "words": judged.words if judged.allowed else None,
    }


async def end_contact(core: LendingCore, command: Command, ending: Ending) -> Done:
    """Write down what came of one's own contact, once, and close its task.

    Refused: 404 when it is nobody's or another's, 409 when it ended before or was not let through, 422 when a
    promise has no day or amount, or a day that is over.
    """
    slot = slot_of_id(Letter.CONTACT, ending.contact_id)
    if slot is None:
        raise Refused(Kind.NOT_FOUND, "There is no such contact of yours.")

    async def work(connection: Connection, claim: Claim) -> Answer:
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        chunk = core.chunk_of_loan(f"L{ending.contact_id[1:]}")
        asked = {"contact_id": ending.contact_id, "chunk": chunk, "today": command.today}
        row = await (await connection.execute(_CONTACT, asked)).fetchone()
        if row is None or row[1] != ending.staff:
            raise Refused(Kind.NOT_FOUND, "There is no such contact of yours.")
        customer_id, _, refused_by, task_id, outcome, today = row
        if refused_by:
            raise refuse_conflict("body.contact_id", f"refused by {refused_by[0]}", "one that was allowed")
        _check_promise(ending, today)
        values = {
            "contact_id": ending.contact_id, "customer_id": customer_id, "outcome": ending.outcome,
            "promised_on": ending.promised_on, "promised_fen": ending.promised_fen, "key": command.key,
        }  # fmt: skip
        ended = await (await connection.execute(END, values)).fetchone()
        if outcome is not None or ended is None:
            raise refuse_conflict("body.contact_id", "it ended before", "a contact without an outcome")
        await connection.execute(_CLOSE_TASK, [core.site, task_id])
        promised = ending.promised_on.isoformat() if ending.promised_on else None
        body = {
            "contact_id": ending.contact_id, "outcome": ending.outcome, "promised_on": promised,
            "promised_fen": ending.promised_fen,
        }  # fmt: skip
        about = body | {"customer_id": customer_id, "task_id": task_id, "staff": ending.staff}
        told = Told("contact.ended", ending.contact_id, about)
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, core.cell_of_slot(slot), command, work)


def _check_promise(ending: Ending, today: dt.date) -> None:
    promised = ending.outcome == "promised"
    if promised != (ending.promised_on is not None) or promised != (ending.promised_fen is not None):
        raise refuse_field("body.promised_on", "a promise without its parts", "with promised: day and amount")
    if ending.promised_on is not None and ending.promised_on < today:
        raise refuse_field("body.promised_on", str(ending.promised_on), f"a day from {today} on")
