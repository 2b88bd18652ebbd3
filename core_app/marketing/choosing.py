"""Whom campaigns tell, chosen after day-end for the morning after: each customer once, in batches.

Of a campaign's segment those who agreed to be told of offers, are not past due, not written off and not
resting in difficulty; where the campaign asks for it, those with enough points of the marketing score. Each
gets the campaign's coupon, if it has one, and one message, which `core_app.notices.send` delivers.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from core_app.commands import Answer, Claim, finish_command, make_command, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.customers.placing import SEGMENT_COLUMN
from core_app.decisions.scorecard import compute_score, list_variables
from core_app.decisions.variables.compile import compile_offline
from core_app.ids import Letter
from core_app.marketing.campaign import MARKETING, Campaign
from core_app.marketing.read import read_messages, read_score
from core_app.outbox import Told
from core_app.products.references import read_coupon_kinds
from core_app.servicing.coupon_desk import INSERT_COUPON
from core_app.servicing.coupons import CouponKind

AT_ONCE = 200
"""Customers looked at in one transaction. Source: our choice; a batch takes well under a second."""
QUIET_FROM, QUIET_UNTIL = 20, 9
"""Hours between which nobody is told of an offer. Source: our choice, narrower than of any notice."""

_OPEN = """
select campaign, segment, message, medium, coupon, least_points, first_day, last_day, reason, staff
from core.campaigns where %(morning)s::date between first_day and last_day order by campaign
"""

_CANDIDATES = f"""
select c.customer_id
from (select distinct s.customer_id from core.customer_segments s
      where s.segment = %(segment)s and s.customer_id > %(after)s) as c,
     (select %(morning)s::date as day) as d
where {SEGMENT_COLUMN} = %(segment)s
    and (select k.granted from core.consents k where k.customer_id = c.customer_id and k.source = %(consent)s
         order by k.consent_id desc limit 1)
    and not exists (select from core.campaign_targets t
                    where t.campaign = %(campaign)s and t.customer_id = c.customer_id)
    and not exists (select from core.loan_snapshots n
                    where n.customer_id = c.customer_id and n.on_date = d.day - 1 and n.days_past_due > 0)
    and not exists (select from core.loans l
                    where l.customer_id = c.customer_id and l.written_off_on is not null)
    and not exists (select from core.hardships h
                    where h.customer_id = c.customer_id and h.rest_until >= d.day)
order by c.customer_id limit %(at_once)s
"""  # noqa: S608 - put together of constants

_ASKED = """
with asked as (
    select n as ask_id, customer_id, %(day)s::date as day
    from unnest(%(customers)s::text[]) with ordinality as u (customer_id, n)
),"""

_NOTICES = """
insert into core.notices (notice_id, customer_id, kind, medium, message, about, on_date, quiet_from,
    quiet_until, due_at, give_up_at, changed_by, idempotency_key)
select t.notice_id, t.customer_id, 'campaign', %(medium)s, %(message)s, %(morning)s, %(morning)s,
    %(quiet_from)s, %(quiet_until)s, greatest(now(), o.opens),
    greatest(now(), o.opens) + interval '36 hours', %(site)s, %(key)s
from unnest(%(notices)s::text[], %(customers)s::text[]) as t (notice_id, customer_id),
    (select (%(morning)s::date + time '09:00') at time zone 'Asia/Shanghai' as opens) as o
"""

_TARGETS = """
insert into core.campaign_targets (campaign, customer_id, chosen_on, notice_id, coupon_id, points, model_sm3,
    idempotency_key)
select %(campaign)s, t.customer_id, %(evening)s, t.notice_id, t.coupon_id, t.points, %(sm3)s, %(key)s
from unnest(%(customers)s::text[], %(notices)s::text[], %(coupons)s::text[], %(points)s::integer[])
    as t (customer_id, notice_id, coupon_id, points)
"""


@dataclass(frozen=True, slots=True)
class _Open:
    campaign: Campaign
    kind: CouponKind | None
    why: dict[str, str]


async def choose_customers(core: LendingCore, cell: str, day: dt.date, at_once: int = AT_ONCE) -> int:
    """Choose for the morning after the closed evening `day`; return how many customers are told."""
    chosen = 0
    for one in await _read_open(core, cell, day + dt.timedelta(days=1)):
        after, looked, number = "", at_once, 0
        while looked == at_once:
            body = await _choose_batch(core, cell, one, (day, after, number, at_once))
            after, looked, number = body["last"], body["looked_at"], number + 1
            chosen += body["chosen"]
    return chosen


async def _read_open(core: LendingCore, cell: str, morning: dt.date) -> list[_Open]:
    async def work(connection: Connection, _: int) -> list[_Open]:
        rows = await (await connection.execute(_OPEN, {"morning": morning})).fetchall()
        found = [(Campaign(*row[:8]), {"reason": row[8], "staff": row[9]}) for row in rows]
        # A kind that was ended since, or a text that is no more, ends the campaign.
        return [
            _Open(campaign, kinds.get(campaign.coupon or ""), why)
            for campaign, why in found
            if (campaign.coupon is None or campaign.coupon in kinds) and campaign.message in read_messages()
        ]

    kinds = {kind.id: kind for kind in read_coupon_kinds() if kind.holds_on(morning)}
    return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value


async def _choose_batch(
    core: LendingCore, cell: str, one: _Open, which: tuple[dt.date, str, int, int]
) -> dict[str, Any]:
    evening, after, number, at_once = which
    name = one.campaign.campaign
    asked = {"campaign": name, "day": evening.isoformat(), "after": after, "at_once": at_once}
    key = f"campaign-{name}-{cell}-{evening:%Y%m%d}-{number:04d}"
    command = make_command(core, key, "campaign-choice", asked)
    morning = evening + dt.timedelta(days=1)
    values = asked | {"segment": one.campaign.segment, "consent": MARKETING, "morning": morning}

    async def work(connection: Connection, claim: Claim) -> Answer:
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        rows = await (await connection.execute(_CANDIDATES, values)).fetchall()
        looked_at = [customer_id for (customer_id,) in rows]
        points = await _score(core, connection, one.campaign, looked_at, morning)
        least = one.campaign.least_points
        chosen = [who for who in looked_at if least is None or points[who] >= least]
        await _tell(core, connection, one, (evening, key, chosen, points))
        body = asked | {"looked_at": len(looked_at), "chosen": len(chosen), "last": [after, *looked_at][-1]}
        told = Told("campaign.chosen", key, body | {"customers": chosen})
        return await finish_command(connection, claim, 201, body, told)

    return dict((await run_command(core, cell, command, work)).answer.body)


async def _score(
    core: LendingCore, connection: Connection, campaign: Campaign, customers: Sequence[str], day: dt.date
) -> dict[str, int]:
    """Return the points of each customer, {} where the campaign asks for none."""
    if campaign.least_points is None or not customers:
        return {}
    card = read_score().card
    statement = compile_offline(core.risk.registry, list_variables([card]))
    values = statement.values | {"customers": list(customers), "day": day}
    text = _ASKED + statement.text.removeprefix("with")
    rows = await (await connection.execute(text.encode(), values)).fetchall()
    found = {}
    for ask_id, *columns in rows:
        inputs = {f"var.{name}": value for name, value in zip(statement.names, columns, strict=True)}
        found[customers[ask_id - 1]] = compute_score(card, inputs).points
    return found


async def _tell(
    core: LendingCore,
    connection: Connection,
    one: _Open,
    about: tuple[dt.date, str, Sequence[str], dict[str, int]],
) -> None:
    evening, key, chosen, points = about
    if not chosen:
        return
    campaign, morning = one.campaign, evening + dt.timedelta(days=1)
    coupons: list[str | None] = [None] * len(chosen)
    slots = [core.slot_of_customer(who) for who in chosen]
    if (kind := one.kind) is not None:
        coupons = [core.new_id(Letter.COUPON, slot) for slot in slots]
        kept: dict[str, Any] = {"kind": kind.id, "benefit": Jsonb(kind.benefit.model_dump(mode="json"))}
        kept |= one.why | {"valid_from": morning, "valid_to": campaign.last_day, "day": morning, "key": key}
        async with connection.cursor() as cursor:
            pairs = zip(coupons, chosen, strict=True)
            await cursor.executemany(
                INSERT_COUPON, [kept | {"coupon_id": coupon, "customer_id": who} for coupon, who in pairs]
            )
    values: dict[str, Any] = {"customers": list(chosen), "coupons": coupons, "campaign": campaign.campaign}
    values |= {"notices": [core.new_id(Letter.NOTICE, slot) for slot in slots]}
    values |= {"medium": campaign.medium, "message": campaign.message, "site": core.site, "key": key}
    values |= {"evening": evening, "morning": morning, "quiet_from": QUIET_FROM, "quiet_until": QUIET_UNTIL}
    values |= {"points": [points.get(who) for who in chosen], "sm3": read_score().sm3 if points else None}
    await connection.execute(_NOTICES, values)
    await connection.execute(_TARGETS, values)
