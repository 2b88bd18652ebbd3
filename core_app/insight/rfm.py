"""Tiers of customers by how lately, how often and how much they drew: one set-based statement an evening.

Fifths are of the cell's customers who ever drew: equal values share the higher one, so that the order of
rows decides nothing. A row is kept of an evening on which a customer's tier or fifths changed; the newest up
to a day holds on it. Who has no draw left that stands has the tier `none`.
"""

import datetime as dt
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, model_validator

from core_app.commands import (
    Answer,
    Claim,
    Done,
    finish_command,
    make_command,
    read_earlier_answer,
    run_command,
)
from core_app.core import Connection, LendingCore
from core_app.errors import Kind, Refused
from core_app.ids import is_customer_id
from core_app.outbox import Told
from core_app.products.parameters.shapes import Group, InTwoLanguages, Name
from core_app.router_line import ALLOW_A_MINUTE
from core_app.yaml_documents import parse_yaml, read_text

_FILE = Path(__file__).parent / "rfm.yaml"

# A fifth is the ceiling of 5 x (customers not above this one) / (customers), in whole numbers.
GRADE = """
with drawn as (
    select l.customer_id, max(l.drawn_on) as last_on,
        count(*) filter (where l.drawn_on > %(day)s::date - %(window_days)s)::integer as frequency,
        coalesce(sum(l.principal_fen) filter (where l.drawn_on > %(day)s::date - %(window_days)s), 0)::bigint
            as amount_fen
    from core.loans l
    where l.drawn_on <= %(day)s and not exists (select from core.draw_voids v where v.loan_id = l.loan_id)
    group by l.customer_id
), ranked as (
    select d.*, count(*) over () as customers,
        count(*) over (order by d.last_on) as up_to_recency,
        count(*) over (order by d.frequency) as up_to_frequency,
        count(*) over (order by d.amount_fen) as up_to_amount
    from drawn d
), scored as (
    select customer_id, %(day)s::date - last_on as recency_days, frequency, amount_fen,
        ((5 * up_to_recency + customers - 1) / customers)::smallint as recency_fifth,
        ((5 * up_to_frequency + customers - 1) / customers)::smallint as frequency_fifth,
        ((5 * up_to_amount + customers - 1) / customers)::smallint as amount_fifth
    from ranked
), tiered as (
    select s.*, (select t.tier from unnest(%(tiers)s::text[], %(leasts)s::integer[]) as t (tier, least)
                 where s.recency_fifth + s.frequency_fifth + s.amount_fifth >= t.least
                 order by t.least desc limit 1) as tier
    from scored s
), newest as (
    select distinct on (r.customer_id) r.customer_id, r.tier, r.recency_fifth, r.frequency_fifth,
        r.amount_fifth, r.version
    from core.rfm_tiers r where r.on_date < %(day)s order by r.customer_id, r.on_date desc
), kept as (
insert into core.rfm_tiers (customer_id, on_date, recency_days, frequency, amount_fen, recency_fifth,
    frequency_fifth, amount_fifth, tier, version, idempotency_key)
select coalesce(t.customer_id, n.customer_id), %(day)s, t.recency_days, coalesce(t.frequency, 0),
    coalesce(t.amount_fen, 0), t.recency_fifth, t.frequency_fifth, t.amount_fifth, coalesce(t.tier, 'none'),
    %(version)s, %(key)s
from tiered t full join newest n using (customer_id)
where (t.recency_fifth, t.frequency_fifth, t.amount_fifth, coalesce(t.tier, 'none'), %(version)s)
    is distinct from (n.recency_fifth, n.frequency_fifth, n.amount_fifth, n.tier, n.version)
returning 1
)
select count(*) from kept
"""

_SHOW = """
select d.day, c.customer_id, r.on_date, r.tier, r.recency_days + (d.day - r.on_date), r.frequency,
    r.amount_fen, r.recency_fifth, r.frequency_fifth, r.amount_fifth, r.version
from (select coalesce(%(day)s::date, core.read_day(%(chunk)s::smallint, %(today)s::date)) as day) as d
left join core.customers c on c.customer_id = %(customer_id)s
left join lateral (
    select * from core.rfm_tiers k where k.customer_id = c.customer_id and k.on_date <= d.day
    order by k.on_date desc limit 1
) as r on true
"""


class Tier(Group):
    """A tier and the lowest sum of fifths that makes it."""

    id: Name
    least: Annotated[int, Field(ge=3, le=15, strict=True)]
    name: InTwoLanguages


class RfmRule(Group):
    """How customers are graded."""

    version: Annotated[int, Field(ge=1, strict=True)]
    window_days: Annotated[int, Field(ge=1, le=3650, strict=True)]
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_tiers(self) -> "RfmRule":
        leasts = [tier.least for tier in self.tiers]
        if leasts != sorted(set(leasts), reverse=True) or leasts[-1] != 3:
            raise ValueError("tiers: need falling, distinct `least`, the last 3, so that everybody has one")
        return self


_RULE = TypeAdapter(RfmRule)


@cache
def read_rule() -> RfmRule:
    """Return the shipped rule; DocumentInvalid names the field's path."""
    return parse_yaml(_FILE.name, read_text(_FILE), _RULE)


def rule_values(rule: RfmRule) -> dict[str, Any]:
    """Return a rule as GRADE takes it."""
    return {
        "version": rule.version,
        "window_days": rule.window_days,
        "tiers": [tier.id for tier in rule.tiers],
        "leasts": [tier.least for tier in rule.tiers],
    }


async def grade_customers(core: LendingCore, cell: str, day: dt.date, rule: RfmRule | None = None) -> int:
    """Keep the tiers of a closed evening, once; return how many customers' changed."""
    rule = rule or read_rule()
    key = f"rfm-{cell}-{day:%Y%m%d}"  # the audit trail of all cells has each key once
    command = make_command(core, key, "rfm", {"day": day.isoformat()})
    values: dict[str, Any] = {"day": day, "key": key} | rule_values(rule)

    async def work(connection: Connection, claim: Claim) -> Answer:
        await connection.execute(ALLOW_A_MINUTE)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        (changed,) = await (await connection.execute(GRADE, values)).fetchone() or (0,)
        body = {"day": day.isoformat(), "changed": changed, "version": rule.version}
        return await finish_command(connection, claim, 201, body, Told("rfm.graded", key, body))

    done = await run_command(core, cell, command, work)
    return int(done.answer.body["changed"])


async def show_tier(core: LendingCore, customer_id: str, day: dt.date | None) -> Done:
    """Return a customer's tier on an evening (None: today's newest); Refused (404) for nobody of ours."""
    if not is_customer_id(customer_id):
        raise Refused(Kind.NOT_FOUND, "There is no such customer.")
    chunk = core.chunk_of_customer(customer_id)

    async def work(connection: Connection, epoch: int) -> Answer:
        values = {"day": day, "chunk": chunk, "today": core.read_today(), "customer_id": customer_id}
        row = await (await connection.execute(_SHOW, values)).fetchone()
        if row is None or row[1] is None:
            raise Refused(Kind.NOT_FOUND, "There is no such customer.")
        on, _, since, tier, recency_days, frequency, amount_fen, *fifths, version = row
        body = {
            "customer_id": customer_id,
            "on": on.isoformat(),
            "since": since.isoformat() if since else None,
            "tier": tier or "none",
            "recency_days": recency_days,
            "frequency": frequency or 0,
            "amount_fen": amount_fen or 0,
            "fifths": dict(zip(("recency", "frequency", "amount"), fifths, strict=True)),
            "version": version,
        }
        return Answer(200, body, epoch, replayed=False)

    cell = core.cell_of_customer(customer_id)
    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, read.value)
