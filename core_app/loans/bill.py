"""The monthly bill that merges a customer's tickets of one product: show it, pay it with one amount.

Day-end makes the bill (`core_app.day_end`); what is still open of it follows from its loans.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncCursor

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
from core_app.errors import Kind, Refused, refuse_field
from core_app.funding.service import ask_shares, fetch_shares
from core_app.ids import is_customer_id
from core_app.loans.book import book
from core_app.loans.fees import LoanFees
from core_app.loans.loan import Loan
from core_app.loans.reading import ALL_LINES, ask_unlocked, fetch_loan
from core_app.loans.repay import Payment, lock_loans, plan_repayment
from core_app.loans.terms import fee_rule
from core_app.outbox import Told
from core_app.products.published import find_version

_SELECT_BILL = """
select s.made_on, s.due, s.amount_fen, s.tickets,
       array(select distinct n.loan_id from core.statement_lines n
             where (n.customer_id, n.product, n.made_on) = (s.customer_id, s.product, s.made_on)
             order by n.loan_id)
from core.statements s where s.customer_id = %s and s.product = %s order by s.made_on desc limit 1
"""


@dataclass(frozen=True, slots=True)
class Bill:
    """The newest bill of a customer and product, with its loans."""

    made_on: dt.date
    due: dt.date
    amount_fen: int
    tickets: int
    loan_ids: Sequence[str]

    def open_fen(self, loan: Loan) -> int:
        """Return what is open of a loan's instalments that are on the bill."""
        on_bill = {line.period for line in loan.lines if line.due <= self.due}
        return sum(due.total_fen for due in loan.dues if due.period in on_bill)


async def show_bill(core: LendingCore, customer_id: str, product: str) -> Done:
    """Return the newest bill and what is open of it now; Refused (404) when none was made."""
    if not is_customer_id(customer_id):
        raise Refused(Kind.NOT_FOUND, "There is no such customer.")
    cell = core.cell_of_customer(customer_id)

    async def work(connection: Connection, epoch: int) -> Answer:
        bill = await _fetch_bill(await connection.execute(_SELECT_BILL, [customer_id, product]))
        asked = [await ask_unlocked(core, connection, loan_id) for loan_id in bill.loan_ids]
        loans = await _fetch_loans(core, connection, bill, asked)
        body = {
            "customer_id": customer_id,
            "product": product,
            "made_on": bill.made_on.isoformat(),
            "due": bill.due.isoformat(),
            "amount_fen": bill.amount_fen,
            "tickets": bill.tickets,
            "open_fen": sum(map(bill.open_fen, loans)),
        }
        return Answer(200, body, epoch, replayed=False)

    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, read.value)


async def pay_bill(
    core: LendingCore, command: Command, customer_id: str, product: str, amount_fen: int
) -> Done:
    """Book one amount on the loans of the newest bill, the oldest due date first, in one transaction.

    Refused (422) when it is more than is open of the bill, (404) when there is no bill.
    """
    if not is_customer_id(customer_id):
        raise refuse_field("body.customer_id", "a text that is no customer id", "a customer id")

    async def work(connection: Connection, claim: Claim) -> Answer:
        asked_bill = await connection.execute(_SELECT_BILL, [customer_id, product])
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        bill = await _fetch_bill(asked_bill)
        await lock_loans(connection, bill.loan_ids, command.today)
        asked = [await ask_unlocked(core, connection, loan_id) for loan_id in bill.loan_ids]
        asked_shares = {loan_id: await ask_shares(connection, loan_id) for loan_id in bill.loan_ids}
        loans = await _fetch_loans(core, connection, bill, asked)
        open_fen = sum(map(bill.open_fen, loans))
        if amount_fen > open_fen:
            raise refuse_field("body.amount_fen", str(amount_fen), f"at most {open_fen}, open of the bill")
        rows, booked, left_fen = [], [], amount_fen
        for loan in sorted((one for one in loans if bill.open_fen(one)), key=_oldest_first):
            part_fen = min(left_fen, bill.open_fen(loan))
            if part_fen:
                sold = await find_version(core, connection, loan.row.product, loan.row.product_version)
                fees = LoanFees(fee_rule(sold), loan.row.principal_fen)
                shares = await fetch_shares(asked_shares[loan.loan_id], fees)
                rows.append(plan_repayment(core, loan, sold, shares, Payment(part_fen, command.key)))
                booked.append({"loan_id": loan.loan_id, "amount_fen": part_fen, **rows[-1]["response"]})
                left_fen -= part_fen
        await book(connection, rows)
        body = {"repayments": booked, "open_fen": open_fen - amount_fen, "due": bill.due.isoformat()}
        told = Told("bill.paid", customer_id, {"product": product, "amount_fen": amount_fen})
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, core.cell_of_customer(customer_id), command, work)


def _oldest_first(loan: Loan) -> tuple[dt.date, str]:
    return loan.lines[0].due, loan.loan_id


async def _fetch_bill(rows: AsyncCursor[Any]) -> Bill:
    row = await rows.fetchone()
    if row is None:
        raise Refused(Kind.NOT_FOUND, "There is no bill of this customer and product.")
    return Bill(*row)


async def _fetch_loans(
    core: LendingCore, connection: Connection, bill: Bill, asked: Sequence[AsyncCursor[Any]]
) -> list[Loan]:
    found = [
        await fetch_loan(core, connection, loan_id, rows, ALL_LINES)
        for loan_id, rows in zip(bill.loan_ids, asked, strict=True)
    ]
    return [loan for loan in found if loan is not None]
