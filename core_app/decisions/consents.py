"""What customers agreed to, and forgetting what was kept by it when its time is over."""

import datetime as dt
from dataclasses import dataclass

from core_app.commands import Answer, Claim, Command, Done, finish_command
from core_app.core import Connection, LendingCore
from core_app.customers.command import run_for_customer
from core_app.errors import refuse_field
from core_app.outbox import Told

_INSERT = """
insert into core.consents (customer_id, source, granted, reference, given_on, idempotency_key)
values (%(customer_id)s, %(source)s, %(granted)s, %(reference)s, %(day)s, %(key)s)
"""

# What is kept under a consent and its end wait for each other.
HOLD_CONSENT_SHARED = "select pg_advisory_xact_lock_shared(hashtextextended(%s, 1668246131))"  # 'cons'
_HOLD_CONSENT = "select pg_advisory_xact_lock(hashtextextended(%s, 1668246131))"

# A withdrawal deletes what was fetched, or kept, under the consent before it.
_FORGET_SOURCE = "delete from core.source_answers where customer_id = %s and source = %s"
_FORGET_EVENTS = "delete from core.page_events where customer_id = %s and %s = 'page_events'"

# On the day of the cell; a chunk that is a day ahead waits an evening longer.
_FORGET = """
with today as (
    select coalesce(b.on_date, %s::date) as day from core.business_date b
), answers as (
    delete from core.source_answers a using today t where a.keep_until < t.day returning 1
), events as (
    delete from core.page_events e using today t where e.keep_until < t.day returning 1
) select (select count(*) from answers) + (select count(*) from events)
"""


@dataclass(frozen=True, slots=True)
class Consent:
    """A customer's agreement to a source, or its end; `reference` is the number of the paper."""

    customer_id: str
    source: str
    granted: bool
    reference: str


async def keep_consent(core: LendingCore, command: Command, consent: Consent) -> Done:
    """Keep a consent or its withdrawal; what was fetched under a consent goes with it."""
    source = core.risk.sources.by_id.get(consent.source)
    if source is None or source.consent != "separate":
        known = sorted(one.id for one in core.risk.sources.by_id.values() if one.consent == "separate")
        raise refuse_field(
            "body.source", "no source with a consent of its own", f"one of: {', '.join(known)}"
        )

    async def work(connection: Connection, claim: Claim, day: dt.date) -> Answer:
        body = {
            "customer_id": consent.customer_id,
            "source": consent.source,
            "granted": consent.granted,
            "reference": consent.reference,
        }
        await connection.execute(_HOLD_CONSENT, [f"{consent.source}|{consent.customer_id}"])
        await connection.execute(_INSERT, body | {"day": day, "key": command.key})
        if not consent.granted:
            for forget in (_FORGET_SOURCE, _FORGET_EVENTS):
                await connection.execute(forget, [consent.customer_id, consent.source])
        shown = body | {"given_on": day.isoformat()}
        told = Told("customer.consented", consent.customer_id, shown)
        return await finish_command(connection, claim, 201, shown, told)

    return await run_for_customer(core, command, consent.customer_id, work)


async def forget_answers(core: LendingCore, cell: str) -> int:
    """Delete what sources and pages told and must no longer be kept; return how many rows. Repeatable."""

    async def work(connection: Connection, _: int) -> int:
        (count,) = await (await connection.execute(_FORGET, [core.read_today()])).fetchone() or (0,)
        return int(count)

    return (await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)).value
