"""Issue coupons to customers, and show them: rows of the customer's cell, each use and return kept beside."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncCursor
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from core_app.commands import Answer, Claim, Command, Done, finish_command
from core_app.core import Connection, LendingCore
from core_app.customers.command import run_for_customer
from core_app.errors import Kind, Refused, refuse_field
from core_app.ids import Letter, is_customer_id
from core_app.outbox import Told
from core_app.products.references import read_coupon_kinds
from core_app.servicing.coupons import Benefit, Coupon, CouponKind

_BENEFIT: TypeAdapter[Any] = TypeAdapter(Benefit)

_COLUMNS = "coupon_id, customer_id, kind, benefit, valid_from, valid_to, used_by"
SELECT_COUPON = f"select {_COLUMNS} from core.coupons where coupon_id = %s"  # noqa: S608 - constants
LOCK_COUPON = f"{SELECT_COUPON} for update"
_SELECT_ALL = f"""
select {_COLUMNS} from core.coupons where customer_id = %s order by valid_to, coupon_id
"""  # noqa: S608 - put together of constants

INSERT_COUPON = """
with issued as (
    insert into core.coupons (coupon_id, customer_id, kind, benefit, valid_from, valid_to, reason, staff,
        issued_on, idempotency_key)
    values (%(coupon_id)s, %(customer_id)s, %(kind)s, %(benefit)s, %(valid_from)s, %(valid_to)s, %(reason)s,
        %(staff)s, %(day)s, %(key)s)
    returning coupon_id
)
insert into core.coupon_events (coupon_id, what, on_date, idempotency_key)
select coupon_id, 'issued', %(day)s, %(key)s from issued
"""


@dataclass(frozen=True, slots=True)
class Issue:
    """A coupon to be issued: to whom, of which kind, for which business dates, why, by whom."""

    customer_id: str
    kind: str
    valid_from: dt.date | None
    valid_to: dt.date
    reason: str
    staff: str


async def issue_coupon(core: LendingCore, command: Command, wish: Issue) -> Done:
    """Issue a coupon; it keeps what its kind gives today. Refused (422) names the field."""

    async def work(connection: Connection, claim: Claim, today: dt.date) -> Answer:
        kind = _find_kind(wish.kind, today)
        valid_from = wish.valid_from or today
        if valid_from < today or wish.valid_to < valid_from:
            path = "body.valid_from" if valid_from < today else "body.valid_to"
            found, needed = (valid_from, today) if valid_from < today else (wish.valid_to, valid_from)
            raise refuse_field(path, str(found), f"{needed} or later")
        coupon_id = core.new_id(Letter.COUPON, core.slot_of_customer(wish.customer_id))
        coupon = Coupon(coupon_id, wish.customer_id, kind.id, kind.benefit, valid_from, wish.valid_to, None)
        kept = {"benefit": Jsonb(kind.benefit.model_dump(mode="json")), "reason": wish.reason}
        kept |= {"valid_from": valid_from, "valid_to": wish.valid_to, "staff": wish.staff, "day": today}
        named = {"coupon_id": coupon_id, "customer_id": wish.customer_id, "kind": kind.id}
        await connection.execute(INSERT_COUPON, named | kept | {"key": command.key})
        body = show_coupon(coupon)
        about = body | {"reason": wish.reason, "staff": wish.staff}
        return await finish_command(connection, claim, 201, body, Told("coupon.issued", coupon_id, about))

    return await run_for_customer(core, command, wish.customer_id, work)


def _find_kind(name: str, today: dt.date) -> CouponKind:
    existing = {kind.id: kind for kind in read_coupon_kinds() if kind.holds_on(today)}
    if name not in existing:
        raise refuse_field("body.kind", name, f"one of: {', '.join(existing)}")
    return existing[name]


async def fetch_coupon(asked: AsyncCursor[Any]) -> Coupon | None:
    """Return the coupon of a SELECT_COUPON or LOCK_COUPON that was sent."""
    row = await asked.fetchone()
    return None if row is None else _read(row)


def _read(row: Any) -> Coupon:
    coupon_id, customer_id, kind, benefit, *rest = row
    return Coupon(coupon_id, customer_id, kind, _BENEFIT.validate_python(benefit), *rest)


def show_coupon(coupon: Coupon) -> dict[str, Any]:
    """Return a coupon as a client reads it."""
    return {
        "coupon_id": coupon.coupon_id,
        "customer_id": coupon.customer_id,
        "kind": coupon.kind,
        "benefit": coupon.benefit.model_dump(mode="json"),
        "valid_from": coupon.valid_from.isoformat(),
        "valid_to": coupon.valid_to.isoformat(),
        "used_by": coupon.used_by,
    }


async def show_coupons(core: LendingCore, customer_id: str) -> Done:
    """Return every coupon of a customer, the first to end first; Refused (404) for what is no customer id."""
    if not is_customer_id(customer_id):
        raise Refused(Kind.NOT_FOUND, "There is no such customer.")

    async def work(connection: Connection, epoch: int) -> Answer:
        rows = await (await connection.execute(_SELECT_ALL, [customer_id])).fetchall()
        body = {"customer_id": customer_id, "coupons": [show_coupon(_read(row)) for row in rows]}
        return Answer(200, body, epoch, replayed=False)

    cell = core.cell_of_customer(customer_id)
    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, read.value)
