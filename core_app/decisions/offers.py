"""Show a customer every product on sale for a wish: ranked offers with reasons, and why the others are none.

Read from the customer's cell; nothing is recorded and nothing decided. An application decides.
"""

import datetime as dt
from typing import Any

from compliance.protection.fields import CUSTOMER_ID_NUMBER
from core_app.business_calendar import age_on
from core_app.commands import Answer, Done
from core_app.core import Connection, LendingCore
from core_app.customers.evidence import Held, find_gaps
from core_app.customers.identity import birth_date
from core_app.customers.placing import SEGMENT_COLUMN
from core_app.customers.segments import find_income_misfit
from core_app.customers.verify import HELD_COLUMN, read_held
from core_app.decisions.matching import Candidate, Wanted, find_mismatches, rank_offers, with_law
from core_app.decisions.pre_screen import LISTED_COLUMN
from core_app.decisions.quote import LoanWish, find_other_reasons
from core_app.decisions.rules import Reason
from core_app.disclosure.charges import compute_charges
from core_app.errors import refuse_field
from core_app.ids import is_customer_id
from core_app.limits.hold import path_of
from core_app.limits.store import ask_nodes, fetch_nodes
from core_app.limits.tree import CUSTOMER, NodeRow, compute_room_fen, find_breaches
from core_app.money import round_half_up
from core_app.products.model import Product
from core_app.products.price import price_product
from core_app.products.published import read_all_on_sale

_ASK = f"""
select d.day, c.id_number, {HELD_COLUMN}, {LISTED_COLUMN}, {SEGMENT_COLUMN},
       (select t.tier from core.customer_tiers t where t.customer_id = c.customer_id
        order by t.tier_id desc limit 1)
from core.read_day(%(chunk)s::smallint, %(today)s::date) as d (day)
left join core.customers c on c.customer_id = %(customer_id)s
"""  # noqa: S608 - put together of constants


async def show_offers(core: LendingCore, customer_id: str, wish: LoanWish, channel: str | None) -> Done:
    """Return the offers for a wish (its product is not looked at); Refused (422) names a bad customer."""
    if not is_customer_id(customer_id):
        raise refuse_field("body.customer_id", "a text that is no customer id", "a customer id")
    cell, chunk = core.cell_of_customer(customer_id), core.chunk_of_customer(customer_id)

    async def work(connection: Connection, epoch: int) -> Answer:
        calendar = core.read_today()
        values = {"chunk": chunk, "today": calendar, "customer_id": customer_id}
        asked = await connection.execute(_ASK, values)
        nodes_asked = await ask_nodes(connection, customer_id, (chunk, calendar))
        row = await asked.fetchone() or (calendar, None, None, (), None, None)
        today, id_number, held, listed, segment, tier = row
        if id_number is None:
            raise refuse_field("body.customer_id", "no such customer", "a registered customer")
        nodes = await fetch_nodes(nodes_asked)
        products = await read_all_on_sale(core, connection, today)
        born = birth_date(core.vault.decrypt(CUSTOMER_ID_NUMBER, customer_id, id_number))
        age_years = age_on(born, today) if born else 0
        who = (age_years, frozenset(listed), segment)
        wanted = Wanted(wish.amount_fen, wish.periods, wish.purpose, channel, *who)
        known = None if core.vendors is None else read_held(held)
        found = [_look(core, one, wanted, (today, tier, nodes, known)) for one in products]
        body = {"customer_id": customer_id, "on": today.isoformat(), **_show(found)}
        return Answer(200, body, epoch, replayed=False)

    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, read.value)


def _look(
    core: LendingCore,
    product: Product,
    wanted: Wanted,
    about: tuple[dt.date, str | None, dict[str, NodeRow], dict[str, Held] | None],
) -> Candidate:
    today, tier, nodes, held = about
    path = path_of(core, product, today)
    own = find_mismatches(product, wanted)
    gaps = () if held is None else tuple(gap.check for gap in find_gaps(product, held))
    if find_income_misfit(product, None) is not None:
        gaps = (*gaps, "monthly_income")
    candidate = Candidate(product, None, compute_room_fen(path, nodes), own, gaps)
    if own:
        return candidate
    product = price_product(product, wanted.segment, wanted.periods)
    shares = {one.tier: one.limit_share for one in core.risk.policy.tiers}
    most_fen = round_half_up(shares[tier] * product.limits.customer_fen) if tier in shares else None
    wish = LoanWish(product.id, wanted.amount_fen, wanted.periods, wanted.purpose)
    owed_fen = nodes[CUSTOMER].held_fen if CUSTOMER in nodes else 0
    breaches = find_breaches(path, nodes, wanted.amount_fen, tier_limit_fen=most_fen)
    others = [Reason(b.rule, b.found_fen, f"<= {b.limit_fen}") for b in breaches]
    others += find_other_reasons(core, product, wish, today, owed_fen)
    charges = compute_charges(product, wanted.amount_fen, wanted.periods, today)
    costed = Candidate(product, charges.cost.in_unit("simple"), candidate.room_fen, (), gaps)
    return with_law(costed, others)


def _show(found: list[Candidate]) -> dict[str, Any]:
    def named(one: Candidate) -> dict[str, Any]:
        product = one.product
        return {
            "product": product.id,
            "product_version": product.version,
            "title": product.identity.name.model_dump(),
        }

    return {
        "offers": [
            {
                **named(offer.candidate),
                "rank": offer.rank,
                "annual_cost_simple": str(offer.candidate.annual_cost),
                "room_fen": offer.candidate.room_fen,
                "missing": list(offer.candidate.missing),
                "why": list(offer.why),
            }
            for offer in rank_offers(found)
        ],
        "not_offered": [
            {**named(one), "reasons": [reason.as_plain() for reason in one.reasons]}
            for one in found
            if one.reasons
        ],
    }
