"""Contacts with debtors: asked for under the limits, recorded whether let through or refused, and ended.

Who wants to contact a debtor asks here, staff or machine alike. The limits are counted under a lock of the
debtor's, so that of two calls at once the second counts the first. What was asked for is on record before
anybody dials; a refused contact is recorded with the ids of the rules, and is not made.
"""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from core_app.business_calendar import business_date_at
from core_app.core import Connection, LendingCore
from core_app.documents import compute_sm3
from core_app.errors import Kind, Refused, refuse_field
from core_app.loans.loan import Loan
from core_app.loans.reading import ALL_LINES, ask_unlocked, fetch_loan
from core_app.products.published import find_version
from core_app.rules.engine import Refusal
from core_app.servicing.contact import DEBTOR, VOICE, Channel, Contact, History, judge_contact
from core_app.servicing.read import read_scripts
from core_app.servicing.scripts import Debt, Script, Version, make_words

INEFFECTIVE = ("no_answer", "third_party", "wrong_number", "refused")
"""Outcomes of a call in which nobody spoke with the debtor, so that it is not an effective one. Source: our
reading of GB/T 45251-2025, effective is a call in which the debtor was reached."""

# Of a debtor, whatever the loan: two contacts asked for at once are judged one after the other.
_LOCK = "select pg_advisory_xact_lock(1684371818, hashtext(%s))"

_HISTORY = """
with mine as (
    select c.contact_id, c.channel, c.whom, c.on_date, c.at, o.outcome
    from core.contacts c left join core.contact_outcomes o using (contact_id)
    where c.customer_id = %(customer_id)s and c.refused_by = '{}' and c.contact_id <> %(contact_id)s
), reached as (
    select max(m.at) as at from mine m
    where m.channel = any(%(voice)s) and m.whom = 'debtor' and not m.outcome = any(%(ineffective)s)
)
select count(*) filter (where m.on_date = %(day)s and m.channel = any(%(voice)s) and m.whom = 'debtor'
           and not coalesce(m.outcome, '') = any(%(ineffective)s)),
       count(*) filter (where m.on_date = %(day)s and m.channel = %(channel)s
           and not coalesce(m.outcome, '') = 'refused'),
       count(*) filter (where m.channel = any(%(voice)s) and m.whom = 'debtor' and m.outcome = 'no_answer'
           and m.at > coalesce((select r.at from reached r), '-infinity')),
       coalesce(bool_or(m.whom = 'contact_person' and m.outcome = 'wants_no_contact'), false),
       (select max(h.rest_until) from core.hardships h where h.loan_id = %(loan_id)s)
from mine m
"""

_INSERT = """
insert into core.contacts (contact_id, task_id, loan_id, customer_id, channel, whom, script, script_version,
    words_sm3, refused_by, staff, on_date, at, site, idempotency_key)
values (%(contact_id)s, %(task_id)s, %(loan_id)s, %(customer_id)s, %(channel)s, %(whom)s, %(script)s,
    %(script_version)s, %(words_sm3)s, %(refused_by)s, %(staff)s, %(day)s, %(at)s, %(site)s, %(key)s)
on conflict (contact_id) do nothing
returning contact_id
"""

_EARLIER = "select on_date, refused_by from core.contacts where contact_id = %s"

END = """
with ended as (
    insert into core.contact_outcomes (contact_id, customer_id, outcome, promised_on, promised_fen,
        idempotency_key)
    values (%(contact_id)s, %(customer_id)s, %(outcome)s, %(promised_on)s, %(promised_fen)s, %(key)s)
    on conflict (contact_id) do nothing
    returning contact_id
)
select contact_id from ended
"""
TELL = "insert into core.outbox (topic, key, payload, idempotency_key) values (%s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A contact that somebody wants: `staff` None is the machine. `script` is an id."""

    contact_id: str
    loan_id: str
    channel: Channel
    whom: str
    script: str
    task_id: str | None
    staff: str | None
    key: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A contact as recorded; with refusals it must not be made. `words`: what may be said."""

    wanted: Wanted
    loan: Loan
    script: Script
    version: Version
    words: str
    at: dt.datetime
    refusals: tuple[Refusal, ...]
    recorded: bool
    """False: it was on record before, from a try that did not come to its end."""
    stale: bool = False
    """That record is of another day, whose limits it counted for, or was refused."""

    @property
    def allowed(self) -> bool:
        """Say whether it may be made."""
        return not self.refusals and not self.stale


def contact_of_task(task_id: str) -> str:
    """Return the id of the one contact that a machine makes for a task: brought again, it is the same."""
    slot, _, unique = task_id[1:].partition("-")
    return f"U{slot}-{uuid.uuid5(uuid.UUID(unique), 'contact').hex}"


async def judge_and_record(core: LendingCore, connection: Connection, wanted: Wanted) -> Judged:
    """Judge a contact by the limits in force now and record it, in the caller's transaction.

    Refused (404) when there is no such loan, (422) when the script is not for this channel. The caller tells
    of it (`as_told`) in the same transaction.
    """
    asked = await ask_unlocked(core, connection, wanted.loan_id)
    loan = await fetch_loan(core, connection, wanted.loan_id, asked, ALL_LINES)
    if loan is None:
        raise Refused(Kind.NOT_FOUND, "There is no such loan.")
    product = await find_version(core, connection, loan.row.product, loan.row.product_version)
    at = core.read_now()
    day = business_date_at(at)
    script, version = _find_script(wanted, day)
    words = make_words(version, debt_of(loan), product.disclosures.complaint_phone)
    contact = Contact(wanted.channel, wanted.whom, at, words)
    values = {
        "contact_id": wanted.contact_id, "task_id": wanted.task_id, "loan_id": wanted.loan_id,
        "customer_id": loan.row.customer_id, "channel": str(wanted.channel), "whom": wanted.whom,
        "script": script.id, "script_version": version.version, "words_sm3": compute_sm3(words.encode()),
        "staff": wanted.staff, "day": day, "at": at, "site": core.site, "key": wanted.key,
        "voice": [str(one) for one in VOICE], "ineffective": list(INEFFECTIVE),
    }  # fmt: skip
    await connection.execute(_LOCK, [loan.row.customer_id])
    row = await (await connection.execute(_HISTORY, values)).fetchone()
    if row is None:
        raise RuntimeError("a count without a row")
    history = History(overdue_of(loan), *row)
    refusals = judge_contact(core.catalogue.rulebook, product.collection, contact, history)
    refused_by = [one.rule for one in refusals]
    inserted = await connection.execute(_INSERT, values | {"refused_by": refused_by})
    recorded = await inserted.fetchone() is not None
    stale = False
    if not recorded:
        earlier = await (await connection.execute(_EARLIER, [wanted.contact_id])).fetchone()
        stale = earlier != (day, [])
    return Judged(wanted, loan, script, version, words, at, refusals, recorded, stale)


def _find_script(wanted: Wanted, day: dt.date) -> tuple[Script, Version]:
    library = read_scripts()
    known = library.by_id.get(wanted.script)
    if known is None or known.channel is not wanted.channel:
        fitting = sorted(one.id for one in library.by_id.values() if one.channel is wanted.channel)
        raise refuse_field("body.script", "no script of this channel", f"one of {', '.join(fitting)}")
    if wanted.whom != DEBTOR and known.discloses:
        raise refuse_field("body.script", "a script that tells of the debt", "one that does not disclose")
    return library.find(wanted.script, day)


def overdue_of(loan: Loan) -> int:
    """Return what is past its due date today, in fen; nothing of a loan that ended or was written off."""
    if loan.row.settled_on is not None or loan.row.written_off_on is not None:
        return 0
    lines = zip(loan.lines, loan.dues, strict=True)
    return sum(due.total_fen for line, due in lines if line.due < loan.today)


def debt_of(loan: Loan) -> Debt:
    """Return what a text may say of a loan."""
    lines = zip(loan.lines, loan.dues, strict=True)
    oldest = min((line.due for line, due in lines if due.total_fen), default=loan.today)
    return Debt(overdue_of(loan), oldest, max(0, (loan.today - oldest).days))


def as_told(judged: Judged) -> dict[str, Any]:
    """Return what the outbox tells of a contact that was asked for: ids and rules, no words."""
    wanted = judged.wanted
    return {
        "contact_id": wanted.contact_id,
        "task_id": wanted.task_id,
        "loan_id": wanted.loan_id,
        "customer_id": judged.loan.row.customer_id,
        "channel": str(wanted.channel),
        "whom": wanted.whom,
        "script": judged.script.id,
        "script_version": judged.version.version,
        "allowed": judged.allowed,
        "refused_by": [one.rule for one in judged.refusals],
        "staff": wanted.staff,
    }


async def tell(connection: Connection, topic: str, key: str, payload: dict[str, Any], command: str) -> None:
    """Write an outbox row for what a machine did."""
    await connection.execute(TELL, [topic, key, Jsonb(payload), command])
