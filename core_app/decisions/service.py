"""Take an application, decide it by the rules, keep it with its reasons: one transaction."""

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import AsyncCursor
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
from core_app.decisions.quote import LoanWish, check_wish, find_other_reasons, show_cost_table
from core_app.decisions.rules import Decision, Limits, Standing, decide_application
from core_app.disclosure.charges import compute_charges
from core_app.disclosure.cost_table import make_cost_table
from core_app.errors import refuse_field
from core_app.ids import Letter, is_customer_id
from core_app.outbox import Told
from core_app.products.model import Product
from core_app.products.published import ask_on_sale
from core_app.products.serving import find_unserved

_CUSTOMER = """
select coalesce(b.on_date, %s::date), c.id_number
from core.business_date b left join core.customers c on c.customer_id = %s
"""

_INSERT = """
insert into core.applications (application_id, customer_id, product, product_version, amount_fen, periods,
    purpose, decision, reasons, limit_fen, decided_on, idempotency_key)
values (%(application_id)s, %(customer_id)s, %(product)s, %(product_version)s, %(amount_fen)s, %(periods)s,
    %(purpose)s, %(decision)s, %(reasons)s, %(limit_fen)s, %(decided_on)s, %(key)s)
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a customer applies for; `purpose` is the use of the money, when one is named."""

    customer_id: str
    product: str
    amount_fen: int
    periods: int
    purpose: str | None = None

    @property
    def loan(self) -> LoanWish:
        """Return the loan that is wished for, whoever wishes for it."""
        return LoanWish(self.product, self.amount_fen, self.periods, self.purpose)


def limits_of(product: Product, legal_line_fen: int) -> Limits:
    """Return the limits that a product and the law set together."""
    return Limits(
        min_age_years=product.eligibility.min_years,
        max_age_years=product.eligibility.max_years,
        product_max_fen=product.amount.max_fen,
        product_limit_fen=product.limits.customer_fen,
        legal_line_fen=legal_line_fen,
    )


async def apply_for_loan(core: LendingCore, command: Command, wish: Wish) -> Done:
    """Decide an application. Approved or refused, it is recorded and answered with 201."""
    if not is_customer_id(wish.customer_id):
        raise refuse_field("body.customer_id", "a text that is no customer id", "a customer id")

    async def work(connection: Connection, claim: Claim) -> Answer:
        customers = await connection.execute(_CUSTOMER, [command.today, wish.customer_id])
        asked = await ask_on_sale(core, connection, wish.product, command.today)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        today, id_number = await _read_customer(customers)
        product = check_wish(core, await asked.fetch(today), wish.loan, today)
        if (missing := find_unserved(product)) is not None:
            raise refuse_field("body.product", f"a product that cannot be lent yet: {missing}", "another one")
        if id_number is None:
            raise refuse_field("body.customer_id", "no such customer", "a registered customer")
        age_years = _age(core, wish.customer_id, id_number, today)
        exposure = await read_exposure(connection, wish.customer_id, product.id)
        standing = Standing(age_years, exposure.total_fen, exposure.product_fen)
        limits = limits_of(product, core.catalogue.legal_line_fen(today))
        others = find_other_reasons(core, product, wish.loan, today, exposure.total_fen)
        decision = decide_application(standing, limits, wish.amount_fen, others)
        row = _application_row(core, wish, product, decision)
        await connection.execute(_INSERT, row | {"decided_on": today, "key": command.key})
        charges = compute_charges(product, wish.amount_fen, wish.periods, today)
        body = {
            "application_id": row["application_id"],
            "decision": row["decision"],
            "reasons": [reason.as_plain() for reason in decision.reasons],
            "limit_fen": decision.limit_fen,
        }
        told = Told("application.decided", row["application_id"], body | asdict(wish))
        shown = show_cost_table(make_cost_table(product, charges, wish.periods))
        return await finish_command(connection, claim, 201, body | shown, told)

    return await run_command(core, core.cell_of_customer(wish.customer_id), command, work)


async def _read_customer(rows: AsyncCursor[Any]) -> tuple[dt.date, bytes | None]:
    """Return the business date and the sealed ID number, None for an unknown customer."""
    row = await rows.fetchone()
    if row is None:
        raise RuntimeError("core.business_date has no row: its migration puts one there")
    return row[0], row[1]


def _age(core: LendingCore, customer_id: str, id_number: bytes, today: dt.date) -> int:
    born = birth_date(core.vault.decrypt(CUSTOMER_ID_NUMBER, customer_id, id_number))
    if born is None:
        raise RuntimeError("a stored ID number without a birth date passed registration")
    return age_on(born, today)


def _application_row(core: LendingCore, wish: Wish, product: Product, decision: Decision) -> dict[str, Any]:
    slot = core.slot_of_customer(wish.customer_id)
    return asdict(wish) | {
        "application_id": core.new_id(Letter.APPLICATION, slot),
        "product_version": product.version,
        "decision": "approved" if decision.approved else "refused",
        "reasons": Jsonb([reason.as_plain() for reason in decision.reasons]),
        "limit_fen": decision.limit_fen,
    }
