"""Complaints come in and are worked on: each act is a command, kept for good, on the complaint's clocks."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from core_app.business_calendar import business_date_at
from core_app.commands import Answer, Claim, Command, finish_command, read_earlier_answer, run_command
from core_app.commands import Done as Answered
from core_app.core import Connection, LendingCore
from core_app.documents import compute_sm3
from core_app.errors import Kind, Refused, refuse_conflict, refuse_field
from core_app.ids import Letter, is_customer_id
from core_app.outbox import Told
from core_app.products.model import Product
from core_app.products.published import find_version
from core_app.servicing.complaints import (
    Act,
    Clocks,
    Done,
    Source,
    State,
    compute_clocks,
    find_act_fault,
    next_state,
)
from core_app.servicing.read import read_workdays

_WHO = """
select c.customer_id, l.product, l.product_version
from core.customers c left join core.loans l on l.loan_id = %(loan_id)s and l.customer_id = c.customer_id
where c.customer_id = %(customer_id)s
"""
INSERT = """
insert into core.complaints (complaint_id, customer_id, loan_id, source, about, words, received_at,
    received_on, first_answer_by, simple_by, complex_by, special_by, decide_by, staff, idempotency_key)
values (%(complaint_id)s, %(customer_id)s, %(loan_id)s, %(source)s, %(about)s, %(words)s, %(received_at)s,
    %(received_on)s, %(first_answer_by)s, %(simple_by)s, %(complex_by)s, %(special_by)s, %(simple_by)s,
    %(staff)s, %(key)s)
"""
_LOCK = """
select state, complex_by, special_by, decide_by, first_answered_at, customer_id
from core.complaints where complaint_id = %s for update
"""
_ACTS = (
    "select act, coalesce(staff, 'machine') from core.complaint_acts where complaint_id = %s order by number"
)
_CANNED = "select complaint_id from core.complaint_acts where words_sm3 = %s and complaint_id <> %s limit 1"
_ADD = """
insert into core.complaint_acts (complaint_id, number, act, staff, approval, words, words_sm3,
    idempotency_key)
values (%(complaint_id)s, %(number)s, %(act)s, %(staff)s, %(approval)s, %(words)s, %(words_sm3)s, %(key)s)
"""
_MOVE = """
update core.complaints set state = %(state)s, decide_by = %(decide_by)s,
    level = case when %(decide_by)s > decide_by then 0 else level end,
    first_answered_at = coalesce(first_answered_at, %(first_answered_at)s),
    replied_at = coalesce(%(replied_at)s, replied_at)
where complaint_id = %(complaint_id)s
"""


@dataclass(frozen=True, slots=True)
class Intake:
    """A complaint as it comes in; `staff` took it at the hotline."""

    customer_id: str
    loan_id: str | None
    source: Source
    about: str
    words: str
    staff: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a member of staff wants to do with a complaint; an extension as special bears its approval."""

    complaint_id: str
    act: Act
    words: str | None
    staff: str
    approval: str | None = None


async def take_complaint(core: LendingCore, command: Command, intake: Intake) -> Answered:
    """Keep it and start its clocks. Refused (422) when there is no such customer, or loan of theirs."""
    if not is_customer_id(intake.customer_id):
        raise refuse_field("body.customer_id", "a text that is no customer id", "a customer id")
    slot = core.slot_of_customer(intake.customer_id)
    complaint_id = core.new_id(Letter.COMPLAINT, slot)

    async def work(connection: Connection, claim: Claim) -> Answer:
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        product = await _read_product(core, connection, intake)
        received_at = core.read_now()
        clocks = compute_clocks(core.catalogue.rulebook, read_workdays(), received_at, product)
        about = {"customer_id": intake.customer_id, "loan_id": intake.loan_id, "about": intake.about}
        about |= {"source": str(intake.source), "staff": intake.staff}
        values = about | clock_values(clocks, received_at)
        values |= {"complaint_id": complaint_id, "words": intake.words, "key": command.key}
        await connection.execute(INSERT, values)
        body = {"complaint_id": complaint_id} | _show_clocks(clocks)
        told = Told("complaint.taken", complaint_id, body | about)
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, core.cell_of_slot(slot), command, work)


async def _read_product(core: LendingCore, connection: Connection, intake: Intake) -> Product | None:
    asked = {"customer_id": intake.customer_id, "loan_id": intake.loan_id}
    row = await (await connection.execute(_WHO, asked)).fetchone()
    if row is None:
        raise refuse_field("body.customer_id", "no such customer", "a registered customer")
    if intake.loan_id is None:
        return None
    if row[1] is None:
        raise refuse_field("body.loan_id", "no such loan of this customer", "one of theirs, or none")
    return await find_version(core, connection, row[1], row[2])


def clock_values(clocks: Clocks, received_at: dt.datetime) -> dict[str, Any]:
    """Return a complaint's clocks as columns."""
    return {
        "received_at": received_at,
        "received_on": business_date_at(received_at),
        "first_answer_by": clocks.first_answer_by,
        "simple_by": clocks.simple_by,
        "complex_by": clocks.complex_by,
        "special_by": clocks.special_by,
    }


def _show_clocks(clocks: Clocks) -> dict[str, str]:
    return {
        "first_answer_by": clocks.first_answer_by.astimezone(dt.UTC).isoformat(),
        "decide_by": clocks.simple_by.isoformat(),
    }


async def act_on(core: LendingCore, command: Command, wanted: Wanted) -> Answered:
    """Do one thing with a complaint.

    Refused: 404 when there is none, 409 when it cannot be done now (a reply is released by another person, an
    extension has its turn), 422 when words are missing or were given to another complaint of the cell.
    """
    cell = core.cell_of_id(Letter.COMPLAINT, wanted.complaint_id)
    if cell is None:
        raise Refused(Kind.NOT_FOUND, "There is no such complaint.")

    async def work(connection: Connection, claim: Claim) -> Answer:
        locked = await connection.execute(_LOCK, [wanted.complaint_id])
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        row = await locked.fetchone()
        if row is None:
            raise Refused(Kind.NOT_FOUND, "There is no such complaint.")
        acts = await (await connection.execute(_ACTS, [wanted.complaint_id])).fetchall()
        done = [Done(Act(act), by) for act, by in acts]
        fault = find_act_fault(State(row[0]), done, Done(wanted.act, wanted.staff))
        if fault is not None:
            raise refuse_conflict("body.act", fault, "an act that is possible now")
        await _check_words(connection, wanted)
        moved = _move(core, wanted, row)
        sm3 = compute_sm3(_plain(wanted.words or "")) if wanted.act is Act.DRAFT else None
        added = {
            "complaint_id": wanted.complaint_id, "number": len(done) + 1, "act": str(wanted.act),
            "staff": wanted.staff, "approval": wanted.approval, "words": wanted.words, "words_sm3": sm3,
            "key": command.key,
        }  # fmt: skip
        await connection.execute(_ADD, added)
        await connection.execute(_MOVE, moved)
        body = {"complaint_id": wanted.complaint_id, "act": str(wanted.act), "state": moved["state"]}
        body["decide_by"] = moved["decide_by"].isoformat()
        told = Told("complaint.acted", wanted.complaint_id, body | {"staff": wanted.staff})
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, cell, command, work)


def _move(core: LendingCore, wanted: Wanted, row: tuple[Any, ...]) -> dict[str, Any]:
    state, complex_by, special_by, decide_by, _, _ = row
    now = core.read_now()
    by = {Act.EXTEND_COMPLEX: complex_by, Act.EXTEND_SPECIAL: special_by, Act.REOPEN: special_by}
    return {
        "complaint_id": wanted.complaint_id,
        "state": str(next_state(State(state), wanted.act)),
        "decide_by": by.get(wanted.act, decide_by),
        # A decision that is told is an answer, the first if there was none.
        "first_answered_at": now if wanted.act in (Act.FIRST_ANSWER, Act.RELEASE) else None,
        "replied_at": now if wanted.act is Act.RELEASE else None,
    }


def _plain(words: str) -> bytes:
    return "".join(words.split()).lower().encode()


async def _check_words(connection: Connection, wanted: Wanted) -> None:
    if wanted.act in (Act.RELEASE, Act.CLOSE):
        if wanted.words is not None:
            raise refuse_field("body.words", "words", "none: this act has no words of its own")
        return
    if wanted.words is None:
        raise refuse_field("body.words", "nothing", "what is said or why")
    if wanted.act is not Act.DRAFT:
        return
    rows = await connection.execute(_CANNED, [compute_sm3(_plain(wanted.words)), wanted.complaint_id])
    if await rows.fetchone() is not None:
        raise refuse_field("body.words", "a reply that another complaint got", "words for this case")
