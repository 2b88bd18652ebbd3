"""Price a loan: whether the product has it, what it costs, what the rules say. Nothing is recorded."""

import datetime as dt
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from core_app.commands import Answer, Done
from core_app.core import Connection, LendingCore
from core_app.customers.placing import SEGMENT_COLUMN
from core_app.customers.segments import find_misfit
from core_app.decisions.rules import Reason, reason_of
from core_app.disclosure.charges import Charges, compute_charges
from core_app.disclosure.cost_table import make_cost_table
from core_app.disclosure.coupon_worth import show_worth
from core_app.documents import Canonical
from core_app.errors import refuse_field
from core_app.ids import is_customer_id
from core_app.loans.schedule import show_plan
from core_app.products.model import Product
from core_app.products.price import find_price, price_product
from core_app.products.published import ask_on_sale, read_all_on_sale
from core_app.products.references import read_papers
from core_app.router import CellUnavailable
from core_app.rules.engine import judge, refuse_by_rules
from core_app.rules.legal import Stage
from core_app.rules.measure import Offer, measure_quote
from core_app.servicing.coupon_desk import SELECT_COUPON, fetch_coupon
from core_app.servicing.coupons import find_fault

_TODAY = "select coalesce(on_date, %s::date) from core.business_date"
# On the day of the customer's chunk; without a customer on the cell's.
_ASK = f"""
select d.day, c.customer_id, {SEGMENT_COLUMN}
from core.read_day(%(chunk)s::smallint, %(today)s::date) as d (day)
left join core.customers c on c.customer_id = %(customer_id)s
"""  # noqa: S608 - put together of constants


@dataclass(frozen=True, slots=True)
class LoanWish:
    """A loan that is asked for: of which product, how much, how many periods, for which use."""

    product: str
    amount_fen: int
    periods: int
    purpose: str | None = None


def check_wish(core: LendingCore, product: Product | None, wish: LoanWish, today: dt.date) -> Product:
    """Return the product asked for; Refused names the field that it does not allow."""
    if product is None:
        offered = ", ".join(core.catalogue.ids_on_sale(today))
        raise refuse_field("body.product", "no product on offer", f"one on offer, such as: {offered}")
    amount = product.amount
    if not amount.min_fen <= wish.amount_fen <= amount.max_fen:
        needed = f"from {amount.min_fen} to the limit of {amount.max_fen}"
        raise refuse_field("body.amount_fen", str(wish.amount_fen), needed)
    if wish.amount_fen % amount.step_fen:
        raise refuse_field("body.amount_fen", str(wish.amount_fen), f"a multiple of {amount.step_fen}")
    if wish.periods not in product.tenor.periods:
        allowed = ", ".join(map(str, product.tenor.periods))
        raise refuse_field("body.periods", str(wish.periods), f"one of: {allowed}")
    return product


def check_entrance(product: Product, channel: str | None) -> None:
    """Refuse an entrance that the product is not sold at; one that is not named is not asked about."""
    entrances = product.channels.entrances
    if channel is not None and channel not in entrances:
        raise refuse_field("body.channel", channel, f"one of: {', '.join(entrances)}")


def check_form(product: Product, filled_in: frozenset[str]) -> None:
    """Refuse an application that does not fit the product's form, with the first field that does not."""
    form = read_papers().forms.get(product.documents.application_form)
    for name, found, needed in form.find_faults(filled_in) if form else ():
        raise refuse_field(f"body.{name}", found, needed)


def find_other_reasons(
    core: LendingCore, product: Product, wish: LoanWish, today: dt.date, exposure_fen: int
) -> tuple[Reason, ...]:
    """Return why the law, or the product's list of uses, forbids a loan to someone who owes so much."""
    measures = measure_quote(product, _offer(wish, today), (exposure_fen,))
    refusals = judge(core.catalogue.rulebook, Stage.QUOTE, measures, today)
    reasons = tuple(reason_of(refusal) for refusal in refusals)
    purposes = product.identity.purposes
    if wish.purpose is None or wish.purpose in purposes or reasons:
        return reasons
    return (Reason("product.purposes", wish.purpose, f"one of: {', '.join(purposes)}"),)


@dataclass(frozen=True, slots=True)
class Asker:
    """Whom a price is for, as far as said; `coupon_id` is one of the customer's coupons."""

    customer_id: str | None = None
    coupon_id: str | None = None


async def quote_loan(core: LendingCore, wish: LoanWish, asker: Asker | None = None) -> Done:
    """Price a loan drawn today, with the products and the business date of the first cell that answers.

    With a customer: of their cell, by their segment. Refused (422) when the product does not have it, is not
    offered to the segment, a rule forbids it, or the coupon may not be used.
    """
    asker = asker or Asker()
    customer_id = asker.customer_id
    if customer_id is not None and not is_customer_id(customer_id):
        raise refuse_field("body.customer_id", "a text that is no customer id", "a customer id")
    chunk = None if customer_id is None else core.chunk_of_customer(customer_id)

    async def work(connection: Connection, epoch: int) -> Answer:
        calendar = core.read_today()
        who = {"today": calendar, "chunk": chunk, "customer_id": customer_id}
        days = await connection.execute(_ASK, who)
        asked = await ask_on_sale(core, connection, wish.product, calendar, chunk)
        asked_coupon = await connection.execute(SELECT_COUPON, [asker.coupon_id])
        row = await days.fetchone()
        today, known, segment = row if row else (calendar, None, None)
        if customer_id is not None and known is None:
            raise refuse_field("body.customer_id", "no such customer", "a registered customer")
        product = check_wish(core, await asked.fetch(today), wish, today)
        if (misfit := find_misfit(product, segment)) is not None:
            path = "body.product" if known else "body.customer_id"
            raise refuse_field(path, f"for the segment {misfit.found}", f"a customer of {misfit.needed}")
        price = find_price(product, segment, wish.periods)
        product = price_product(product, segment, wish.periods)
        measures = measure_quote(product, _offer(wish, today))
        if refusals := judge(core.catalogue.rulebook, Stage.QUOTE, measures, today):
            raise refuse_by_rules(refusals)
        charges = compute_charges(product, wish.amount_fen, wish.periods, today)
        body = {"price": price.show(product)} | _show_quote(product, charges, wish.periods)
        if asker.coupon_id is not None:
            coupon = await fetch_coupon(asked_coupon)
            if (fault := find_fault(coupon, customer_id or "", product, today)) is not None or coupon is None:
                raise refuse_field("body.coupon_id", *(fault or ("nothing", "a coupon")))
            body["coupon"] = show_worth(product, charges, coupon, today)
        return Answer(200, body, epoch, replayed=False)

    if customer_id is None:
        return await _ask_any_cell(core, work)
    cell = core.cell_of_customer(customer_id)
    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, read.value)


async def show_products(core: LendingCore) -> Done:
    """Return every product on sale with its form and flow, by the first cell that answers."""

    async def work(connection: Connection, epoch: int) -> Answer:
        row = await (await connection.execute(_TODAY, [core.read_today()])).fetchone()
        today: dt.date = row[0] if row else core.read_today()
        products = await read_all_on_sale(core, connection, today)
        body = {"on": today.isoformat(), "products": [_show_product(one) for one in products]}
        return Answer(200, body, epoch, replayed=False)

    return await _ask_any_cell(core, work)


def _show_product(product: Product) -> dict[str, Any]:
    return {
        "product": product.id,
        "product_version": product.version,
        "title": product.identity.name.model_dump(),
        "rate_annual": str(product.pricing.rate_annual),
        "prices": [cell.model_dump(mode="json") for cell in product.pricing.grid],
        "min_fen": product.amount.min_fen,
        "max_fen": product.amount.max_fen,
        "periods": list(product.tenor.periods),
        "purposes": list(product.identity.purposes),
        **read_papers().show(product),
    }


async def _ask_any_cell(core: LendingCore, work: Callable[[Connection, int], Awaitable[Answer]]) -> Done:
    cells = core.router.cells
    patience_seconds = core.deadline_seconds / len(cells)
    for cell in cells[:-1]:
        try:
            read = await core.router.read(cell, work, deadline_seconds=patience_seconds)
            return Done(cell, read.value)
        except CellUnavailable:
            continue
    read = await core.router.read(cells[-1], work, deadline_seconds=patience_seconds)
    return Done(cells[-1], read.value)


def _offer(wish: LoanWish, today: dt.date) -> Offer:
    return Offer(wish.amount_fen, wish.periods, today, wish.purpose)


def _show_quote(product: Product, charges: Charges, periods: int) -> dict[str, Any]:
    return {
        "product": product.id,
        "product_version": product.version,
        "schedule": show_plan(charges.plan),
        "annual_cost_simple": str(charges.cost.in_unit("simple")),
        "annual_cost_compound": str(charges.cost.in_unit("compound")),
        **show_cost_table(make_cost_table(product, charges, periods)),
    }


def show_cost_table(table: Canonical) -> dict[str, Any]:
    """Return a cost table and its hash as a client reads them."""
    return {"cost_table": json.loads(table.text), "cost_table_sm3": table.sm3.hex()}
