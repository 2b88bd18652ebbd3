"""Which segment a customer is in: two of the staff say so from a day on, and nothing is overwritten.

The newest row that holds on a day counts; one without a segment takes the customer out of all.
"""

import datetime as dt
from dataclasses import dataclass

from core_app.commands import Answer, Claim, Command, Done, finish_command
from core_app.core import Connection, LendingCore
from core_app.customers.command import run_for_customer
from core_app.errors import refuse_field
from core_app.outbox import Told
from core_app.products.references import read_segments

# Of the customer `c` on the day `d.day`.
SEGMENT_COLUMN = """
(select s.segment from core.customer_segments s
 where s.customer_id = c.customer_id and s.first_day <= d.day and d.day <= coalesce(s.last_day, 'infinity')
 order by s.place_id desc limit 1)
"""

_INSERT = """
insert into core.customer_segments (customer_id, segment, first_day, last_day, reason, staff, idempotency_key)
values (%(customer_id)s, %(segment)s, %(first_day)s, %(last_day)s, %(reason)s, %(staff)s, %(key)s)
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A customer put into a segment from a business date on (None: today), until one (None: no end).

    `segment` None takes the customer out of every segment for those days.
    """

    customer_id: str
    segment: str | None
    first_day: dt.date | None
    last_day: dt.date | None
    reason: str
    staff: str


async def place_customer(core: LendingCore, command: Command, wish: Place) -> Done:
    """Keep a customer's segment; what was applied for before keeps its price. Refused (422) says why."""

    async def work(connection: Connection, claim: Claim, today: dt.date) -> Answer:
        first_day = wish.first_day or today
        _check_days(wish, first_day, today)
        kept = {"customer_id": wish.customer_id, "segment": wish.segment}
        days = {"first_day": first_day, "last_day": wish.last_day}
        about = {"reason": wish.reason, "staff": wish.staff}
        await connection.execute(_INSERT, kept | days | about | {"key": command.key})
        body = kept | {name: day.isoformat() if day else None for name, day in days.items()}
        told = Told("segment.set", wish.customer_id, body | about)
        return await finish_command(connection, claim, 201, body, told)

    return await run_for_customer(core, command, wish.customer_id, work)


def _check_days(wish: Place, first_day: dt.date, today: dt.date) -> None:
    if first_day < today:
        raise refuse_field("body.first_day", str(first_day), f"{today} or later")
    if wish.last_day is not None and wish.last_day < first_day:
        raise refuse_field("body.last_day", str(wish.last_day), f"{first_day} or later")
    existing = [one.id for one in read_segments() if one.holds_on(first_day)]
    if wish.segment is not None and wish.segment not in existing:
        raise refuse_field("body.segment", wish.segment, f"one of: {', '.join(existing)}")
