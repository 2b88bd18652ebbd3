"""Prepay a loan in full or in part: show what it costs, book it. Each one transaction."""

from dataclasses import dataclass
from typing import Any

from core_app.commands import Answer, Claim, Command, Done, read_earlier_answer, run_command
from core_app.core import Connection, LendingCore
from core_app.errors import Kind, Refused, refuse_conflict, refuse_field
from core_app.funding.service import LoanShares, ask_shares, fetch_shares
from core_app.ids import Letter, slot_of_id
from core_app.ledger.posting import Event, entry_columns
from core_app.loans import store
from core_app.loans.allocation import Allocation
from core_app.loans.book import book
from core_app.loans.fees import LoanFees
from core_app.loans.loan import Loan, late_columns, paid_so_far, plan_columns, show_loan_row
from core_app.loans.payoff import Prepaid, after_prepayment, make_whole, plan_part, plan_payoff
from core_app.loans.prepayment import Mode
from core_app.loans.reading import ALL_LINES, ask_locked, ask_unlocked, fetch_loan
from core_app.loans.repay import check_posting
from core_app.loans.schedule import show_plan
from core_app.loans.terms import fee_rule
from core_app.products.published import find_version

_PARTS = ("penalty_fen", "interest_fen", "principal_fen", "fee_fen", "prepayment_fee_fen")


@dataclass(frozen=True, slots=True)
class PrepayWish:
    """What is prepaid: in full the whole sum that settles, else so much principal."""

    loan_id: str
    mode: Mode
    amount_fen: int


async def show_payoff(core: LendingCore, loan_id: str) -> Done:
    """Return what settles a loan today; Refused (404) when there is none, (409) when it is settled."""
    cell = core.cell_of_id(Letter.LOAN, loan_id)
    if cell is None:
        raise Refused(Kind.NOT_FOUND, "There is no such loan.")

    async def work(connection: Connection, epoch: int) -> Answer:
        asked = await ask_unlocked(core, connection, loan_id)
        loan = await fetch_loan(core, connection, loan_id, asked, ALL_LINES)
        if loan is None:
            raise Refused(Kind.NOT_FOUND, "There is no such loan.")
        prepaid = await _plan(core, connection, loan, PrepayWish(loan_id, Mode.FULL, 0))
        shown = {"loan_id": loan_id, "as_of": loan.today.isoformat(), **_show(prepaid)}
        return Answer(200, shown, epoch, replayed=False)

    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, read.value)


async def prepay_loan(core: LendingCore, command: Command, wish: PrepayWish) -> Done:
    """Book a prepayment. Refused (422, 409) when the product, or what is due, does not allow it."""
    slot = slot_of_id(Letter.LOAN, wish.loan_id)
    cell = core.cell_of_id(Letter.LOAN, wish.loan_id)
    if slot is None or cell is None:
        raise refuse_field("body.loan_id", "no loan id", "the id of a loan")

    async def work(connection: Connection, claim: Claim) -> Answer:
        asked = await ask_locked(core, connection, wish.loan_id, ALL_LINES)
        asked_shares = await ask_shares(connection, wish.loan_id)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        loan = await fetch_loan(core, connection, wish.loan_id, asked, ALL_LINES)
        if loan is None:
            raise refuse_field("body.loan_id", "no such loan", "the id of a loan")
        prepaid = await _plan(core, connection, loan, wish)
        if wish.mode is Mode.FULL and wish.amount_fen != prepaid.total_fen:
            raise refuse_field("body.amount_fen", str(wish.amount_fen), f"{prepaid.total_fen}, which settles")
        shares = await fetch_shares(asked_shares, await _find_fees(core, connection, loan))
        body = await _book(core, connection, loan, shares, (prepaid, command.key))
        return Answer(201, body, claim.epoch, replayed=False)

    return await run_command(core, cell, command, work)


async def _plan(core: LendingCore, connection: Connection, loan: Loan, wish: PrepayWish) -> Prepaid:
    if loan.row.settled_on is not None or loan.row.written_off_on is not None:
        found = "a settled loan" if loan.row.settled_on else "a loan that was written off"
        raise refuse_conflict("body.loan_id", found, "a loan with principal left")
    product = await find_version(core, connection, loan.row.product, loan.row.product_version)
    if loan.daily is not None and wish.mode is not Mode.FULL:
        raise refuse_field("body.mode", wish.mode, "full; POST /v1/repayments pays a part of it anytime")
    rows = await connection.execute(store.SELECT_PLAN, [loan.loan_id, loan.row.plan_version])
    whole = make_whole(await rows.fetchall())
    if wish.mode is Mode.FULL:
        return plan_payoff(loan, product, whole)
    return plan_part(loan, product, whole, wish.mode, wish.amount_fen)


async def _find_fees(core: LendingCore, connection: Connection, loan: Loan) -> LoanFees:
    product = await find_version(core, connection, loan.row.product, loan.row.product_version)
    return LoanFees(fee_rule(product), loan.row.principal_fen)


def _show(prepaid: Prepaid) -> dict[str, Any]:
    return {
        "penalty_fen": prepaid.split.penalty_fen,
        "interest_fen": prepaid.split.interest_fen,
        "principal_fen": prepaid.split.principal_fen,
        "fee_fen": prepaid.split.fee_fen + prepaid.prepayment_fee_fen,
        "prepayment_fee_fen": prepaid.prepayment_fee_fen,
        "total_fen": prepaid.total_fen,
    }


async def _book(
    core: LendingCore, connection: Connection, loan: Loan, shares: LoanShares, paid_by: tuple[Prepaid, str]
) -> dict[str, Any]:
    prepaid, key = paid_by
    split, fee_fen = prepaid.split, prepaid.prepayment_fee_fen
    product = await find_version(core, connection, loan.row.product, loan.row.product_version)
    charged = {"interest": split.interest_fen, "penalty": split.penalty_fen, "prepayment_fee": fee_fen}
    charged["instalment_fee"] = split.fee_fen
    check_posting(core, product, loan, charged)
    after = after_prepayment(loan, prepaid)
    body = {
        "repayment_id": core.new_id(Letter.REPAYMENT, slot_of_id(Letter.LOAN, loan.loan_id) or 0),
        **_show(prepaid),
        "balance_fen": after.balance_fen,
        "schedule": show_plan(prepaid.plan),
    }
    if prepaid.plan:
        columns = plan_columns(prepaid.plan, prepaid.begins, paid_so_far(after))
        version = {"loan_id": loan.loan_id, "plan_version": after.row.plan_version, "made_on": loan.today}
        await connection.execute(store.INSERT_PLAN, columns | version)
    told = {
        "customer_id": loan.row.customer_id,
        "amount_fen": prepaid.total_fen,
        "loan": show_loan_row(after),
    }
    paid = [
        Allocation(due.penalty_fen, due.interest_fen, due.principal_fen, due.fee_fen) for due in loan.dues
    ]
    parts = paid if not prepaid.plan else [Allocation(0, 0, 0)] * len(paid)
    written = (
        store.state_columns(after)
        | late_columns(loan.lines, parts, loan)
        | entry_columns(shares.plan(Event.PREPAYMENT, split, fee_fen))
        | {
            "recovered_own_fen": 0,
            "repayment_id": body["repayment_id"],
            "kind": "prepayment",
            "booked_version": loan.row.plan_version,
            "amount_fen": prepaid.total_fen,
            **{name: body[name] for name in _PARTS},
            "day": loan.today,
            "key": key,
            "payload": {k: v for k, v in body.items() if k != "schedule"} | told,
            "response": body,
        }
    )
    await book(connection, [written])
    return body
