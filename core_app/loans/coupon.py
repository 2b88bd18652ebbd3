"""Repay with a coupon, in one transaction: the borrower pays less in cash, the rest is our marketing cost.

The loan is repaid by the whole amount, so schedules, funders' parts and reports are as without a coupon; a
transaction of its own books what we bear. A repayment that is taken back gives its coupon back.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from core_app.commands import Answer, Claim, Command, Done, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.errors import refuse_conflict, refuse_field
from core_app.funding.service import ask_shares, fetch_shares
from core_app.ids import Letter
from core_app.ledger.posting import Entry, Event, entry_columns, plan_entries, reverse_entries
from core_app.loans import store
from core_app.loans.book import book
from core_app.loans.fees import LoanFees
from core_app.loans.loan import Loan
from core_app.loans.reading import ALL_LINES, ask_locked, fetch_loan
from core_app.loans.repay import Payment, plan_repayment
from core_app.loans.terms import fee_rule
from core_app.products.published import find_version
from core_app.servicing.coupon_desk import LOCK_COUPON, fetch_coupon
from core_app.servicing.coupons import Coupon, InterestPaid, compute_discount_fen, find_fault

_USE = """
with used as (
    update core.coupons set used_by = %(repayment_id)s
    where coupon_id = %(coupon_id)s and used_by is null
    returning coupon_id
)
insert into core.coupon_events (coupon_id, what, repayment_id, discount_fen, on_date, idempotency_key)
select coupon_id, 'used', %(repayment_id)s, %(discount_fen)s, %(day)s, %(key)s from used
"""

_GIVE_BACK = """
with given as (
    update core.coupons set used_by = null where used_by = %(repayment_id)s returning coupon_id
)
insert into core.coupon_events (coupon_id, what, repayment_id, discount_fen, on_date, idempotency_key)
select u.coupon_id, 'given_back', u.repayment_id, u.discount_fen, %(day)s, %(key)s
from given join core.coupon_events u using (coupon_id)
where u.what = 'used' and u.repayment_id = %(repayment_id)s
returning discount_fen
"""


@dataclass(frozen=True, slots=True)
class CouponRepayment:
    """A loan repaid by so much, of which a coupon pays a part."""

    loan_id: str
    amount_fen: int
    coupon_id: str


async def repay_with_coupon(core: LendingCore, command: Command, wish: CouponRepayment) -> Done:
    """Book a repayment and use a coupon, once. Refused: 422 names the field, 409 a coupon that was used."""
    cell = core.cell_of_id(Letter.LOAN, wish.loan_id)
    if cell is None:
        raise refuse_field("body.loan_id", "no loan id", "the id of a loan")

    async def work(connection: Connection, claim: Claim) -> Answer:
        asked = await ask_locked(core, connection, wish.loan_id, ALL_LINES)
        asked_shares = await ask_shares(connection, wish.loan_id)
        asked_coupon = await connection.execute(LOCK_COUPON, [wish.coupon_id])
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        loan = await fetch_loan(core, connection, wish.loan_id, asked, ALL_LINES)
        if loan is None or loan.row.written_off_on is not None:
            found = "no such loan" if loan is None else "a loan that was written off"
            raise refuse_field("body.loan_id", found, "a loan in the books")
        product = await find_version(core, connection, loan.row.product, loan.row.product_version)
        coupon = await fetch_coupon(asked_coupon)
        if (fault := find_fault(coupon, loan.row.customer_id, product, loan.today)) is not None:
            refuse = refuse_conflict if coupon and coupon.used_by else refuse_field
            raise refuse("body.coupon_id", *fault)
        shares = await fetch_shares(asked_shares, LoanFees(fee_rule(product), loan.row.principal_fen))
        row = plan_repayment(core, loan, product, shares, Payment(wish.amount_fen, command.key))
        assert coupon is not None  # noqa: S101 - find_fault has refused none
        discount_fen = _discount(coupon, loan, row["interest_fen"], product.pricing.day_count)
        shown = {"coupon_id": wish.coupon_id, "discount_fen": discount_fen}
        shown["cash_fen"] = wish.amount_fen - discount_fen
        row |= {"response": row["response"] | shown, "payload": row["payload"] | shown}
        await book(connection, [row])
        about = {"repayment_id": row["repayment_id"], "day": loan.today, "key": command.key}
        await connection.execute(_USE, about | shown)
        entries = plan_entries(Event.COUPON, {"discount": discount_fen})
        await _post(connection, f"{row['repayment_id']}/coupon", entries, (loan, command.key))
        return Answer(201, row["response"], claim.epoch, replayed=False)

    return await run_command(core, cell, command, work)


def _discount(coupon: Coupon, loan: Loan, interest_fen: int, day_count: int) -> int:
    paid = InterestPaid(interest_fen, loan.balance_fen, loan.row.rate_annual, day_count)
    discount_fen = compute_discount_fen(coupon.benefit, paid)
    if not discount_fen:
        raise refuse_field("body.amount_fen", "no interest to take anything off", "one that pays interest")
    return discount_fen


async def give_back(connection: Connection, loan: Loan, repayment_id: str, key: str) -> None:
    """Give back the coupon of a repayment that was taken back, if it had one, and our cost with it."""
    about: dict[str, str | dt.date] = {"repayment_id": repayment_id, "day": loan.today, "key": key}
    row = await (await connection.execute(_GIVE_BACK, about)).fetchone()
    if row is not None:
        entries = reverse_entries(plan_entries(Event.COUPON, {"discount": row[0]}))
        await _post(connection, f"{repayment_id}/coupon/{key}", entries, (loan, key))


async def _post(
    connection: Connection, transaction: str, entries: tuple[Entry, ...], of: tuple[Loan, str]
) -> None:
    loan, key = of
    columns: dict[str, Any] = entry_columns(entries)
    columns |= {"transactions": [transaction] * len(entries), "loan_id": loan.loan_id, "key": key}
    await connection.execute(store.INSERT_ENTRIES, columns | {"day": loan.today})
