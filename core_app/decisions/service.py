"""Take an application, decide it by the rules, keep it with its reasons: one transaction."""

from dataclasses import asdict, dataclass
from typing import Any

from psycopg.types.json import Jsonb

from compliance.protection.fields import CUSTOMER_ID_NUMBER
from core_app.business_calendar import age_on
from core_app.commands import (
    Answer,
    Claim,
    Command,
    Done,
    finish_command,
    read_earlier_answer,
    run_command,
)
from core_app.core import Connection, LendingCore
from core_app.customers.identity import birth_date
from core_app.decisions.exposure import read_exposure
from core_app.decisions.rules import Decision, Limits, Standing, decide_application
from core_app.errors import refuse_field
from core_app.ids import Letter, is_customer_id
from core_app.outbox import Told
from core_app.products.model import Product

_CUSTOMER = """
select c.id_number, coalesce(b.on_date, %s::date)
from core.customers c, core.business_date b where c.customer_id = %s
"""

_INSERT = """
insert into core.applications (application_id, customer_id, product, product_version, amount_fen, periods,
    decision, reasons, limit_fen, decided_on, idempotency_key)
values (%(application_id)s, %(customer_id)s, %(product)s, %(product_version)s, %(amount_fen)s, %(periods)s,
    %(decision)s, %(reasons)s, %(limit_fen)s, %(decided_on)s, %(key)s)
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a customer applies for."""

    customer_id: str
    product: str
    amount_fen: int
    periods: int


def check_wish(core: LendingCore, wish: Wish) -> Product:
    """Return the product applied for; Refused names the field that the product does not allow."""
    if not is_customer_id(wish.customer_id):
        raise refuse_field("body.customer_id", "a text that is no customer id", "a customer id")
    product = core.catalogue.products.get(wish.product)
    if product is None:
        offered = ", ".join(sorted(core.catalogue.products))
        raise refuse_field("body.product", "no product on offer", f"one of: {offered}")
    lowest, highest = product.amount.min_fen, product.amount.max_fen
    if not lowest <= wish.amount_fen <= highest:
        needed = f"from {lowest} to the limit of {highest}"
        raise refuse_field("body.amount_fen", str(wish.amount_fen), needed)
    if wish.periods not in product.periods:
        allowed = ", ".join(map(str, product.periods))
        raise refuse_field("body.periods", str(wish.periods), f"one of: {allowed}")
    return product


def limits_of(product: Product, legal_line_fen: int) -> Limits:
    """Return the limits that a product and the law set together."""
    return Limits(
        min_age_years=product.age.min_years,
        max_age_years=product.age.max_years,
        product_max_fen=product.amount.max_fen,
        product_limit_fen=product.limit_per_customer_fen,
        legal_line_fen=legal_line_fen,
    )


async def apply_for_loan(core: LendingCore, command: Command, wish: Wish) -> Done:
    """Decide an application. Approved or refused, it is recorded and answered with 201."""
    product = check_wish(core, wish)

    async def work(connection: Connection, claim: Claim) -> Answer:
        customers = await connection.execute(_CUSTOMER, [command.today, wish.customer_id])
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        customer = await customers.fetchone()
        if customer is None:
            raise refuse_field("body.customer_id", "no such customer", "a registered customer")
        id_number = core.vault.decrypt(CUSTOMER_ID_NUMBER, wish.customer_id, customer[0])
        today = customer[1]
        born = birth_date(id_number)
        if born is None:
            raise RuntimeError("a stored ID number without a birth date passed registration")
        exposure = await read_exposure(connection, wish.customer_id, product.id)
        standing = Standing(age_on(born, today), exposure.total_fen, exposure.product_fen)
        limits = limits_of(product, core.catalogue.legal_line_fen(today))
        decision = decide_application(standing, limits, wish.amount_fen)
        row = _application_row(core, wish, product, decision)
        await connection.execute(_INSERT, row | {"decided_on": today, "key": command.key})
        body = {
            "application_id": row["application_id"],
            "decision": row["decision"],
            "reasons": [asdict(reason) for reason in decision.reasons],
            "limit_fen": decision.limit_fen,
        }
        told = Told("application.decided", row["application_id"], body | asdict(wish))
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, core.cell_of_customer(wish.customer_id), command, work)


def _application_row(core: LendingCore, wish: Wish, product: Product, decision: Decision) -> dict[str, Any]:
    slot = core.slot_of_customer(wish.customer_id)
    return asdict(wish) | {
        "application_id": core.new_id(Letter.APPLICATION, slot),
        "product_version": product.version,
        "decision": "approved" if decision.approved else "refused",
        "reasons": Jsonb([asdict(reason) for reason in decision.reasons]),
        "limit_fen": decision.limit_fen,
    }
