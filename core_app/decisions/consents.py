"""What customers agreed to be asked about, and forgetting what outside sources said when its time is over."""

from dataclasses import dataclass

from core_app.commands import Answer, Claim, Command, Done, finish_command, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.errors import refuse_field
from core_app.ids import is_customer_id
from core_app.outbox import Told

_TODAY = """
select d.day, c.customer_id
from core.enter_day(%s::smallint, %s::date) as d (day) left join core.customers c on c.customer_id = %s
"""

_INSERT = """
insert into core.consents (customer_id, source, granted, reference, given_on, idempotency_key)
values (%(customer_id)s, %(source)s, %(granted)s, %(reference)s, %(day)s, %(key)s)
"""

# A withdrawal deletes what was fetched under the consent before it.
_FORGET_SOURCE = "delete from core.source_answers where customer_id = %s and source = %s"

# On the day of the cell; a chunk that is a day ahead waits an evening longer.
_FORGET = """
with forgotten as (
    delete from core.source_answers a using core.business_date b
    where a.keep_until < coalesce(b.on_date, %s::date) returning 1
) select count(*) from forgotten
"""


@dataclass(frozen=True, slots=True)
class Consent:
    """A customer's agreement that a source is asked, or its end; `reference` is the number of the paper."""

    customer_id: str
    source: str
    granted: bool
    reference: str


async def keep_consent(core: LendingCore, command: Command, consent: Consent) -> Done:
    """Keep a consent or its withdrawal; what was fetched under a consent goes with it."""
    if not is_customer_id(consent.customer_id):
        raise refuse_field("body.customer_id", "a text that is no customer id", "a customer id")
    source = core.risk.sources.by_id.get(consent.source)
    if source is None or source.consent != "separate":
        known = sorted(one.id for one in core.risk.sources.by_id.values() if one.consent == "separate")
        raise refuse_field(
            "body.source", "no source with a consent of its own", f"one of: {', '.join(known)}"
        )

    async def work(connection: Connection, claim: Claim) -> Answer:
        chunk = core.chunk_of_customer(consent.customer_id)
        days = await connection.execute(_TODAY, [chunk, command.today, consent.customer_id])
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        day, known = await days.fetchone() or (command.today, None)
        if known is None:
            raise refuse_field("body.customer_id", "no such customer", "a registered customer")
        body = {
            "customer_id": consent.customer_id,
            "source": consent.source,
            "granted": consent.granted,
            "reference": consent.reference,
        }
        await connection.execute(_INSERT, body | {"day": day, "key": command.key})
        if not consent.granted:
            await connection.execute(_FORGET_SOURCE, [consent.customer_id, consent.source])
        shown = body | {"given_on": day.isoformat()}
        told = Told("customer.consented", consent.customer_id, shown)
        return await finish_command(connection, claim, 201, shown, told)

    return await run_command(core, core.cell_of_customer(consent.customer_id), command, work)


async def forget_answers(core: LendingCore, cell: str) -> int:
    """Delete what outside sources said and must no longer be kept; return how many answers. Repeatable."""

    async def work(connection: Connection, _: int) -> int:
        (count,) = await (await connection.execute(_FORGET, [core.read_today()])).fetchone() or (0,)
        return int(count)

    return (await core.router.write(cell, work, deadline_seconds=core.deadline_seconds)).value
