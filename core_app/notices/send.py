"""Send the notices that day-end ordered: each once, in its hours, with what is owed by then.

A notice's turn is written down before it is sent, so that two senders take different ones; who dies leaves
it to the next after the lease. The gateway delivers a number once, so bringing it again does no harm. A
notice whose reason is gone is needless; one that nobody could deliver in time is given up.
"""

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal

from psycopg.types.json import Jsonb

from compliance.protection.errors import SubjectShredded
from compliance.protection.fields import CUSTOMER_PHONE
from core_app.core import Connection, LendingCore
from core_app.insight.experiments import assign_customer
from core_app.loans.loan import Loan
from core_app.loans.reading import ALL_LINES, ask_unlocked, fetch_loan
from core_app.marketing.read import read_messages
from core_app.notices.gateway import Delivery, Message, MessageGateway
from core_app.notices.texts import DUE_WORDING, Kind, make_text
from core_app.rounds import go_round

BATCH = 50
"""Notices taken at a look. Source: our choice; one transaction takes them, each is written for itself."""
LEASE = dt.timedelta(seconds=60)
"""How long a notice is its taker's. Source: our choice; one brought again after it is not delivered again."""
POLL_SECONDS = 2.0
_GATEWAY_SECONDS = 5.0

_TAKE = """
with taken as (
    select n.notice_id, n.customer_id, n.medium from core.notices n
    where n.state = 'ordered' and n.due_at <= now()
        and extract(hour from now() at time zone 'Asia/Shanghai') >= n.quiet_until
        and extract(hour from now() at time zone 'Asia/Shanghai') < n.quiet_from
    order by n.due_at limit %(batch)s for update skip locked
)
update core.notices n
set due_at = now() + %(lease)s, tries = n.tries + 1, changed_by = %(site)s, changed_at = now()
from taken t left join core.customers c on c.customer_id = t.customer_id and t.medium = 'sms'
where n.notice_id = t.notice_id and (t.medium <> 'sms' or c.phone is not null)
returning n.notice_id, n.loan_id, n.customer_id, n.kind, n.medium, n.about, c.phone, n.give_up_at < now(),
    n.message, (select k.granted from core.consents k where k.customer_id = n.customer_id
                and k.source = 'marketing' order by k.consent_id desc limit 1)
"""

# Told once: a notice that somebody else finished in the meantime stays as it is.
_CLOSE = """
with closed as (
    update core.notices set state = %(state)s, note = %(note)s, changed_by = %(site)s, changed_at = now()
    where notice_id = %(notice_id)s and state = 'ordered'
    returning notice_id, idempotency_key
)
insert into core.outbox (topic, key, payload, idempotency_key)
select 'notice.closed', notice_id, %(payload)s, idempotency_key from closed
"""


@dataclass(frozen=True, slots=True)
class _Taken:
    notice_id: str
    loan_id: str | None
    customer_id: str
    kind: Kind | Literal["campaign"]
    medium: str
    about: dt.date
    phone: bytes | None
    """Sealed; for a text message, and for no other medium."""
    too_late: bool
    message: str | None
    """What a campaign says, by its id; of other notices None."""
    agreed: bool | None
    """Whether the customer agrees to be told of offers."""


@dataclass(slots=True)
class Sender:
    """Sends the notices of all cells, at one site; one may run at each."""

    core: LendingCore
    gateway: MessageGateway

    async def run(self) -> None:
        """Send until it is cancelled; a cell without an answer, or not migrated yet, is looked at again."""
        await go_round(self.core, self.look, BATCH, POLL_SECONDS)

    async def look(self, cell: str) -> int:
        """Take and send what is due in a cell; return how many notices were taken."""
        taken = await self._take(cell)
        for notice in taken:
            await self._send(cell, notice)
        return len(taken)

    async def _take(self, cell: str) -> list[_Taken]:
        values = {"batch": BATCH, "lease": LEASE, "site": self.core.site}

        async def work(connection: Connection, _: int) -> list[_Taken]:
            rows = await (await connection.execute(_TAKE, values)).fetchall()
            return [_Taken(*row) for row in rows]

        return (await self.core.router.write(cell, work, deadline_seconds=self.core.deadline_seconds)).value

    async def _send(self, cell: str, notice: _Taken) -> None:
        if notice.too_late:
            return await self._close(cell, notice, "given_up", "not delivered in time")
        said = await self._find_words(cell, notice)
        if said is None:
            return await self._close(cell, notice, "needless", "nothing to tell any more")
        text, note = said
        try:
            address = self._address_of(notice)
        except SubjectShredded:
            return await self._close(cell, notice, "needless", "personal data destroyed")
        fate = await self._bring(Message(notice.notice_id, notice.medium, text, address))
        if fate is Delivery.UNKNOWN:
            return None  # taken again when the lease is over
        return await self._close(cell, notice, str(fate), note)

    async def _find_words(self, cell: str, notice: _Taken) -> tuple[str, str] | None:
        """Return what is said and what is noted of it; None when there is nothing to tell, or no consent."""
        if notice.kind == "campaign":
            said = read_messages().get(notice.message or "")
            return (said.text, said.id) if said is not None and notice.agreed else None
        loan = await self._read_loan(cell, notice.loan_id) if notice.loan_id is not None else None
        if (amount_fen := _amount_of(notice, loan)) is None:
            return None
        # By the day it is about: brought again on a later one, it has the same text.
        told = assign_customer(self.core, DUE_WORDING, notice.customer_id, notice.about)
        group = told.group if told is not None and notice.kind == "due" else None
        text = make_text(notice.kind, notice.about, amount_fen, group)
        return text, f"{amount_fen} fen" if group is None else f"{amount_fen} fen; {DUE_WORDING}: {group}"

    async def _bring(self, message: Message) -> Delivery:
        try:
            async with asyncio.timeout(_GATEWAY_SECONDS):
                return await self.gateway.send(message)
        except (TimeoutError, OSError):
            return Delivery.UNKNOWN

    def _address_of(self, notice: _Taken) -> str:
        if notice.phone is None:
            return notice.customer_id
        return self.core.vault.decrypt(CUSTOMER_PHONE, notice.customer_id, notice.phone)

    async def _read_loan(self, cell: str, loan_id: str) -> Loan | None:
        async def work(connection: Connection, _: int) -> Loan | None:
            asked = await ask_unlocked(self.core, connection, loan_id)
            return await fetch_loan(self.core, connection, loan_id, asked, ALL_LINES)

        return (await self.core.router.read(cell, work, deadline_seconds=self.core.deadline_seconds)).value

    async def _close(self, cell: str, notice: _Taken, state: str, note: str) -> None:
        told = {"notice_id": notice.notice_id, "customer_id": notice.customer_id, "loan_id": notice.loan_id}
        told |= {"kind": notice.kind, "medium": notice.medium, "state": state}
        values: dict[str, Any] = {"notice_id": notice.notice_id, "state": state, "note": note}
        values |= {"site": self.core.site, "payload": Jsonb(told)}

        async def work(connection: Connection, _: int) -> None:
            await connection.execute(_CLOSE, values)

        await self.core.router.write(cell, work, deadline_seconds=self.core.deadline_seconds)


def _amount_of(notice: _Taken, loan: Loan | None) -> int | None:
    """Return what is owed by the day that the notice is about, in fen; None when there is nothing to tell."""
    if loan is None or loan.row.settled_on is not None or loan.row.written_off_on is not None:
        return None
    if notice.kind == "rate_change":
        return 0
    until = loan.today if notice.kind == "overdue" else notice.about
    owed_fen = sum(
        due.total_fen for line, due in zip(loan.lines, loan.dues, strict=True) if line.due <= until
    )
    return owed_fen or None
