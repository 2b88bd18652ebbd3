"""A random portfolio of every product, and what the pure arithmetic says of it from its journal alone."""

import datetime as dt
import random
from dataclasses import dataclass, replace
from typing import Any

from core_app.day_end.service import DayEnd, Step, do_chunk
from core_app.ids import Letter, slot_of_id
from core_app.loans.classification import classify, is_non_performing, read_class_limits
from core_app.loans.fees import LoanFees, Running
from core_app.loans.replay import Balances, Contract, Repaid, replay
from core_app.loans.schedule import Terms
from core_app.loans.standing import DailyInterest, receivable_fen
from core_app.loans.terms import (
    daily_rate,
    fee_rule,
    is_anytime,
    order_rule,
    penalty_terms,
    plan_loan,
)
from core_app.products.catalogue import read_published
from core_app.products.model import Product
from core_app.slots import cell_of_slot, chunk_of_slot
from tests.integration.core_app.lending import apply, confirm, register, repay

PRODUCTS = {
    "instalment-12": (100_000, 5_000_000, (3, 6, 12)),
    "bill-small-ticket": (1_000, 300_000, (1, 3, 6)),
    "revolving-anytime": (500_000, 3_000_000, (12,)),
    "scene-renovation": (500_000, 9_000_000, (12, 24)),
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A loan of the portfolio, as it was drawn."""

    loan_id: str
    customer_id: str
    product: str
    version: int
    amount_fen: int
    periods: int
    on: dt.date


async def lend(client: Any, customer_id: str, product: str, amount_fen: int, periods: int) -> dict[str, Any]:
    """Lend one loan through the API; of a line, all of it at once."""
    decided = await apply(client, customer_id, amount_fen, periods, product=product)
    assert decided["decision"] == "approved", decided
    status, contract, _ = await client.post("/v1/contracts", confirm(decided))
    assert status == 201, contract
    body: dict[str, Any] = {"contract_id": contract["contract_id"]}
    if product == "revolving-anytime":
        body["amount_fen"] = amount_fen
    if product == "scene-renovation":
        order = contract["contract_id"]
        body["merchant"] = {"merchant_id": "M1", "kind": "renovation", "order_id": order}
    status, drawn, _ = await client.post("/v1/draws", body)
    assert status == 201, drawn
    return dict(drawn)


async def lend_some(client: Any, dice: random.Random, on: dt.date, versions: dict[str, int]) -> list[Drawn]:
    """Lend one loan of each product to one new customer."""
    customer_id = await register(client)
    drawn = []
    for product, (least, most, terms) in PRODUCTS.items():
        amount_fen = (
            dice.randrange(least, most) // 10_000 * 10_000 if least > 1_000 else dice.randrange(least, most)
        )
        periods = dice.choice(terms)
        loan = await lend(client, customer_id, product, amount_fen, periods)
        loan_id = str(loan["loan_id"])
        drawn.append(Drawn(loan_id, customer_id, product, versions.get(product, 1), amount_fen, periods, on))
    return drawn


async def pay_something(client: Any, dice: random.Random, loan: Drawn) -> None:
    """Pay what is due, a part of it, or ahead; nothing on a settled loan."""
    _, shown, _ = await client.get(f"/v1/loans/{loan.loan_id}")
    if not shown["outstanding_fen"]:
        return
    wanted = dice.choice(
        (shown["next_due_fen"], 7, shown["next_due_fen"] // 3 + 1, shown["next_due_fen"] * 2 + 1)
    )
    amount_fen = max(1, min(wanted, shown["outstanding_fen"]))
    status, body, _ = await repay(client, loan.loan_id, amount_fen)
    assert status == 201, body


def set_day(cells: Any, day: dt.date) -> None:
    """Put every cell on a business date."""
    for database in cells.databases.values():
        statement = f"update core.business_date set on_date = '{day}'"
        cells.server.run("psql", "-U", "biyi_owner", "-d", database, "-qc", statement)


async def close_day(core: Any, day: dt.date | None = None) -> dict[str, Any]:
    """Run the day-end of every cell and return what it answered."""
    return {cell: await DayEnd(core, cell, lambda *_: None).run(day) for cell in core.router.cells}


async def close_chunks_of(core: Any, loans: list[Drawn], day: dt.date) -> None:
    """Run both steps of day-end for the chunks that hold the loans, and no other: a test saves time."""
    slots = {slot_of_id(Letter.LOAN, loan.loan_id) or 0 for loan in loans}
    places = {(cell_of_slot(slot, core.router.cells), chunk_of_slot(slot)) for slot in slots}
    for step in Step:
        for cell, chunk in sorted(places):
            await do_chunk(core, cell, (day, step, chunk))


async def read_products(core: Any, cells: Any) -> dict[tuple[str, int], Product]:
    """Return every product version, shipped or published."""
    rows = await cells.rows("select document from core.product_versions")
    published = [read_published(document) for (document,) in rows]
    known = dict(core.catalogue.versions)
    return known | {(one.id, one.version): one for one in published}


def make_contract(product: Product, loan: Drawn) -> Contract:
    """Return the contract of a loan by the pure modules alone."""
    rate = product.pricing.rate_annual
    plan = plan_loan(product, Terms(loan.amount_fen, rate, loan.periods), loan.on)
    daily = DailyInterest(daily_rate(product), plan[0].due, loan.on) if is_anytime(product) else None
    return Contract(plan, penalty_terms(product), order_rule(product), loan.on, daily)


async def read_journals(cells: Any) -> dict[str, list[Repaid]]:
    """Return every loan's repayments as events, without what was reversed."""
    rows = await cells.rows(
        """select loan_id, number, booked_on, amount_fen from core.repayments r
           where not exists (select from core.reversals x where x.repayment_id = r.repayment_id)"""
    )
    journals: dict[str, list[Repaid]] = {}
    for loan_id, *event in rows:
        journals.setdefault(loan_id, []).append(Repaid(*event))
    return journals


def expect_snapshot(
    core: Any, product: Product, loan: Drawn, contract: Contract, stood: Balances
) -> dict[str, Any]:
    """Return the snapshot that the pure arithmetic expects."""
    limits = read_class_limits(core.catalogue.rulebook, stood.day)
    days = stood.days_past_due
    late = [line for line in stood.lines if line.due < stood.day]
    penalty_fen = sum(due.penalty_fen for due in stood.dues)
    whole = {instalment.period: instalment.interest_fen for instalment in contract.plan}
    if stood.daily is not None:
        receivable = max(0, stood.lines[0].interest_fen)
    else:
        receivable = sum(
            receivable_fen(line, whole[line.period], stood.day)
            for line in stood.lines
            if line.planned_fen or line.penalty_fen(stood.day, contract.penalty)
        )
    fees = LoanFees(fee_rule(product), loan.amount_fen)
    whole_fees = {instalment.period: instalment.fee_fen for instalment in contract.plan}
    running = [Running(line.period, line.begins, line.due, whole_fees[line.period]) for line in stood.lines]
    fee_receivable = sum(
        fees.receivable_fen(fee, line.fee_fen, stood.day)
        for fee, line in zip(running, stood.lines, strict=True)
    )
    off = days > product.accounting.non_accrual_after_days
    dues = {line.period: line.due for line in stood.lines}
    return {
        "loan_id": loan.loan_id,
        "balance_fen": stood.principal_fen,
        "principal_overdue_fen": sum(line.principal_fen for line in late),
        "interest_overdue_fen": sum(line.interest_fen for line in late),
        "penalty_fen": penalty_fen,
        "days_past_due": days,
        "asset_class": str(classify(days, limits)),
        "by_60_days": is_non_performing(days, replace(limits, first_days=()), by_60_days=True),
        "non_accrual": off,
        "interest_receivable_fen": 0 if off else receivable,
        "penalty_receivable_fen": 0 if off else penalty_fen,
        "off_balance_fen": receivable + penalty_fen if off else 0,
        "fee_receivable_fen": 0 if off else fee_receivable,
        "fee_off_balance_fen": fee_receivable if off else 0,
        "next_due": dues[stood.dues[0].period] if stood.dues else None,
    }


def stand(core: Any, product: Product, loan: Drawn, journal: list[Repaid], day: dt.date) -> dict[str, Any]:
    """Return the snapshot expected of a loan on a day, from its draw and its journal."""
    contract = make_contract(product, loan)
    return expect_snapshot(core, product, loan, contract, replay(contract, journal, day))
