"""What a customer did on our own pages, told in batches by the app: kept by a consent of its own, no longer.

A batch and the end of the consent wait for each other, so that nothing is kept that came after it.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core_app.commands import Answer, Claim, Command, Done, finish_command
from core_app.core import Connection, LendingCore
from core_app.customers.command import run_for_customer
from core_app.decisions.consents import HOLD_CONSENT_SHARED
from core_app.errors import refuse_conflict, refuse_field
from core_app.marketing.campaign import PAGE_EVENTS
from core_app.marketing.read import read_page_events
from core_app.outbox import Told

AT_MOST = 100
"""Events of one batch. Source: our choice; an app that was without a network has some dozens."""
OLDEST = dt.timedelta(days=7)
"""How late an event may be told. Source: our choice."""
AHEAD = dt.timedelta(minutes=5)
"""How far a phone's clock may be ahead of ours. Source: our choice."""

_LOOK = """
select now(), coalesce((select k.granted from core.consents k
    where k.customer_id = %s and k.source = %s order by k.consent_id desc limit 1), false)
"""
_INSERT = """
insert into core.page_events (customer_id, name, dwell_ms, happened_at, on_date, keep_until, idempotency_key)
select %(customer_id)s, e.name, e.dwell_ms, e.happened_at, %(day)s, %(keep_until)s, %(key)s
from unnest(%(names)s::text[], %(dwells)s::integer[], %(instants)s::timestamptz[])
    as e (name, dwell_ms, happened_at)
"""


@dataclass(frozen=True, slots=True)
class Happened:
    """One event: a name of the dictionary, when, and how long the customer stayed, if that was measured."""

    name: str
    at: dt.datetime
    dwell_ms: int | None


async def keep_page_events(
    core: LendingCore, command: Command, customer_id: str, events: Sequence[Happened]
) -> Done:
    """Keep a batch, all of it or nothing. Refused: 409 without the consent, 422 names the event's field."""
    known = [one.id for one in read_page_events()]
    for number, event in enumerate(events):
        if event.name not in known:
            raise refuse_field(
                f"body.events.{number}.name", "a name of no event", f"one of: {', '.join(known)}"
            )

    async def work(connection: Connection, claim: Claim, today: dt.date) -> Answer:
        await connection.execute(HOLD_CONSENT_SHARED, [f"{PAGE_EVENTS}|{customer_id}"])
        row = await (await connection.execute(_LOOK, [customer_id, PAGE_EVENTS])).fetchone()
        if row is None or not row[1]:
            needed = f"a consent to {PAGE_EVENTS} (POST /v1/consents)"
            raise refuse_conflict("body.customer_id", "a customer who did not agree to it", needed)
        now = row[0]
        for number, event in enumerate(events):
            if not now - OLDEST <= event.at <= now + AHEAD:
                needed = f"an instant of the last {OLDEST.days} days"
                raise refuse_field(f"body.events.{number}.at", event.at.isoformat(), needed)
        kept: dict[str, Any] = {"customer_id": customer_id, "day": today, "key": command.key}
        kept |= {"keep_until": core.risk.sources.by_id[PAGE_EVENTS].keep_until(today)}
        kept |= {"names": [event.name for event in events], "dwells": [event.dwell_ms for event in events]}
        await connection.execute(_INSERT, kept | {"instants": [event.at for event in events]})
        body = {"customer_id": customer_id, "kept": len(events), "keep_until": kept["keep_until"].isoformat()}
        told = Told("page_events.kept", customer_id, body)
        return await finish_command(connection, claim, 201, body, told)

    return await run_for_customer(core, command, customer_id, work)
