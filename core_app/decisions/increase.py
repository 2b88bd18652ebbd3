"""Raise a customer's limit by the limit-increase model, for the product's days; granted or not, it is kept.

A model of its own and not the credit model: it judges only what we know of a customer who has borrowed, asks
nobody outside, and never lifts the legal line.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from core_app.commands import Answer, Claim, Command, Done, finish_command, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.decisions.rules import Reason
from core_app.decisions.scorecard import compute_score, show_score
from core_app.decisions.tiers import find_increase
from core_app.decisions.variables.evaluate import compute_values
from core_app.errors import refuse_field
from core_app.ids import is_customer_id
from core_app.limits import store
from core_app.money import round_half_up
from core_app.outbox import Told
from core_app.products.model import Product
from core_app.products.published import ask_on_sale

_ASK = """
select d.day, c.customer_id,
       (select max(r.decided_on) from core.limit_reviews r
        where r.customer_id = c.customer_id and r.product = %(product)s and r.granted_fen > 0)
from core.enter_day(%(chunk)s::smallint, %(today)s::date) as d (day)
left join core.customers c on c.customer_id = %(customer_id)s
"""

_KEEP = """
insert into core.limit_reviews (customer_id, product, granted_fen, valid_to, reasons, facts, decided_on,
    idempotency_key)
values (%(customer_id)s, %(product)s, %(granted_fen)s, %(valid_to)s, %(reasons)s, %(facts)s, %(day)s, %(key)s)
"""


@dataclass(frozen=True, slots=True)
class _Review:
    granted_fen: int
    reasons: tuple[Reason, ...]
    facts: dict[str, Any]


async def review_limit(core: LendingCore, command: Command, customer_id: str, product_id: str) -> Done:
    """Decide whether a customer's limit in a product rises for some days; recorded and answered with 201."""
    if not is_customer_id(customer_id):
        raise refuse_field("body.customer_id", "a text that is no customer id", "a customer id")

    async def work(connection: Connection, claim: Claim) -> Answer:
        chunk = core.chunk_of_customer(customer_id)
        who = {"today": command.today, "chunk": chunk, "customer_id": customer_id, "product": product_id}
        asked = await connection.execute(_ASK, who)
        statement = core.risk.increase
        history = await connection.execute(statement.text, statement.values | who)
        on_sale = await ask_on_sale(core, connection, product_id, command.today, chunk)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        today, known, raised_on = await asked.fetchone() or (command.today, None, None)
        product = await on_sale.fetch(today)
        if known is None:
            raise refuse_field("body.customer_id", "no such customer", "a registered customer")
        if product is None:
            raise refuse_field("body.product", "no product on offer", "a product that is on offer")
        review = _judge(core, product, (today, raised_on), await history.fetchone())
        body = await _keep(connection, product, (customer_id, today, command.key), review)
        return await finish_command(connection, claim, 201, body, Told("limit.reviewed", customer_id, body))

    return await run_command(core, core.cell_of_customer(customer_id), command, work)


def _judge(
    core: LendingCore, product: Product, days: tuple[dt.date, dt.date | None], row: tuple[Any, ...] | None
) -> _Review:
    today, raised_on = days
    risk, rule = core.risk, core.risk.policy.increase
    aggregates = dict(zip(risk.increase.names, row or (), strict=True))
    values = compute_values(risk.registry, risk.increase_variables, aggregates)
    model = risk.find_model(rule.model, today)
    score = compute_score(model.card, {f"var.{name}": value for name, value in values.items()})
    days_known = values["days_known"]
    reasons = []
    for bad, name, found, limit in (
        (product.limits.temporary_fen == 0, "increase.product", "none", "limits.temporary_fen above 0"),
        (
            days_known is None or days_known < rule.min_days_known,
            "increase.days_known",
            "no loan yet" if days_known is None else str(days_known),
            f">= {rule.min_days_known}",
        ),
        (
            (values["arrears_or_ahead_fen"] or 0) > 0,
            "increase.arrears",
            str(values["arrears_or_ahead_fen"]),
            "<= 0 fen",
        ),
        (
            raised_on is not None and (today - raised_on).days < rule.pause_days,
            "increase.pause",
            f"{(today - (raised_on or today)).days} days since the last",
            f">= {rule.pause_days}",
        ),
    ):
        if bad:
            reasons.append(Reason(name, found, limit))
    share = find_increase(risk.policy, score.points)
    if share == 0:
        least = rule.steps[-1].from_score
        reasons.append(Reason("increase.score", score.points, f">= {least} ({', '.join(score.worst)})"))
    granted_fen = 0 if reasons else round_half_up(share * product.limits.temporary_fen)
    versions = {name: risk.registry.find(name).version for name in risk.increase_variables}
    facts = show_score(model.card, model.sm3, score) | {
        "policy": risk.policy.version,
        "variables": versions,
        "inputs": {n: v if v is None or isinstance(v, int) else str(v) for n, v in values.items()},
        "share": str(share),
    }
    return _Review(granted_fen, tuple(reasons), facts)


async def _keep(
    connection: Connection, product: Product, about: tuple[str, dt.date, str], review: _Review
) -> dict[str, Any]:
    customer_id, today, key = about
    valid_to = today + dt.timedelta(days=product.limits.temporary_days - 1) if review.granted_fen else None
    row = {
        "customer_id": customer_id,
        "product": product.id,
        "granted_fen": review.granted_fen,
        "valid_to": valid_to,
        "day": today,
        "key": key,
    }
    reasons = [reason.as_plain() for reason in review.reasons]
    await connection.execute(_KEEP, row | {"reasons": Jsonb(reasons), "facts": Jsonb(review.facts)})
    if valid_to is not None:
        await connection.execute(
            store.SET_TEMPORARY,
            row
            | {
                "node": f"product:{product.id}",
                "amount_fen": review.granted_fen,
                "valid_from": today,
                "reason": "{model} v{version}: {points} points".format_map(review.facts),
                "staff": "model",
            },
        )
    return {
        "customer_id": customer_id,
        "product": product.id,
        "granted_fen": review.granted_fen,
        "valid_from": today.isoformat(),
        "valid_to": valid_to.isoformat() if valid_to else None,
        "reasons": reasons,
        "facts": review.facts,
    }
