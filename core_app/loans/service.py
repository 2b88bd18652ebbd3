"""Draw and repay: each one transaction on the customer's cell; contracts are in `contract.py`.

Every command claims its idempotency key first; whatever is refused leaves no row at all.
"""

from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

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
from core_app.errors import refuse_conflict, refuse_field
from core_app.funding.service import (
    Draw,
    LoanShares,
    Payee,
    ask_shares,
    choose_funders,
    fetch_shares,
    plan_draw,
    write_funding,
)
from core_app.ids import Letter, slot_of_id
from core_app.ledger.posting import Account, Entry, Event, entry_columns
from core_app.limits.hold import Hold, consume, release
from core_app.loans import store
from core_app.loans.allocation import allocate_each, sum_parts
from core_app.loans.loan import Loan, late_columns, make_loan, pay_loan, plan_columns, show_loan_row
from core_app.loans.merchant import Merchant, check_payee
from core_app.loans.reading import ask_locked, fetch_loan, read_further
from core_app.loans.schedule import Plan, Terms
from core_app.loans.terms import is_anytime, order_rule, plan_loan
from core_app.outbox import Told
from core_app.products.model import Product
from core_app.products.published import find_version
from core_app.rules.engine import judge, refuse_by_rules
from core_app.rules.legal import Stage
from core_app.rules.measure import measure_posting
from core_app.slots import chunk_of_slot


@dataclass(frozen=True, slots=True)
class DrawWish:
    """What is drawn: of which contract, how much (None: all of it), paid to which merchant if any."""

    contract_id: str
    amount_fen: int | None = None
    merchant: Merchant | None = None


async def draw_loan(core: LendingCore, command: Command, wish: DrawWish) -> Done:
    """Pay out a contract's whole amount, once; under a line a part of it, as often as there is room.

    The loan's plan is dated from this day. Refused (422, 409) when the contract does not allow it.
    """
    contract_id = wish.contract_id
    slot = slot_of_id(Letter.CONTRACT, contract_id)
    cell = core.cell_of_id(Letter.CONTRACT, contract_id)
    if slot is None or cell is None:
        raise refuse_field("body.contract_id", "no contract id", "the id of a contract")

    async def work(connection: Connection, claim: Claim) -> Answer:
        chunk = chunk_of_slot(slot)
        rows = await connection.execute(store.LOCK_CONTRACT, [chunk, command.today, contract_id])
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        row = await rows.fetchone()
        if row is None:
            raise refuse_field("body.contract_id", "no such contract", "a signed contract")
        contract = store.ContractRow(*row)
        if contract.status != "signed":
            raise refuse_conflict(
                "body.contract_id", f"a contract that is {contract.status}", "a contract not yet drawn"
            )
        product = await find_version(core, connection, contract.product, contract.product_version)
        amount_fen = await _check_amount(connection, product, contract, wish)
        check_payee(product, wish.merchant)
        held = Hold(contract_id, contract.customer_id, product, amount_fen, contract.today)
        await consume(connection, held)
        terms = Terms(amount_fen, contract.rate_annual, contract.periods)
        plan = plan_loan(product, terms, contract.today)
        loan_id = core.new_id(Letter.LOAN, slot)
        loan = {"loan_id": loan_id, "contract_id": contract_id, "customer_id": contract.customer_id}
        routed = await choose_funders(connection, product, amount_fen, contract.today)
        columns = _draw_columns(contract, product, plan, plan_draw(routed.stakes))
        await connection.execute(store.INSERT_DRAW, loan | columns | {"key": command.key})
        if wish.merchant is not None:
            await _entrust(connection, wish.merchant, (loan_id, amount_fen, command.key))
        needed = Draw(
            loan_id,
            product,
            amount_fen,
            columns["interest_fen"],
            _payee(contract, wish.merchant),
            contract.today,
            command.key,
        )
        await write_funding(core, connection, needed, routed, claim.epoch)
        drawn = make_loan(loan_id, store.new_row(loan | columns), product, len(plan) + 1)
        body = loan | {
            "balance_fen": amount_fen,
            "outstanding_fen": drawn.outstanding_fen,
            "next_due": plan[0].due.isoformat(),
        }
        shown = {"product": contract.product, "loan": show_loan_row(drawn)}
        told = Told("loan.drawn", loan_id, body | shown)
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, cell, command, work)


async def _check_amount(
    connection: Connection, product: Product, contract: store.ContractRow, wish: DrawWish
) -> int:
    """Return how much is drawn, in fen; Refused when the contract has no room for it."""
    if not is_anytime(product):
        if wish.amount_fen not in (None, contract.amount_fen):
            raise refuse_field("body.amount_fen", str(wish.amount_fen), f"{contract.amount_fen}, all of it")
        return contract.amount_fen
    if wish.amount_fen is None:
        raise refuse_field("body.amount_fen", "nothing", "the amount to draw under the line")
    if wish.amount_fen < product.limits.draw_min_fen:
        needed = f"{product.limits.draw_min_fen} or more"
        raise refuse_field("body.amount_fen", str(wish.amount_fen), needed)
    drawn = await (await connection.execute(store.SUM_OF_LINE, [wish.contract_id])).fetchone()
    room_fen = contract.amount_fen - (drawn[0] if drawn else 0)
    if wish.amount_fen > room_fen:
        raise refuse_conflict(
            "body.amount_fen", str(wish.amount_fen), f"at most {room_fen}, left of the line"
        )
    return wish.amount_fen


async def _entrust(connection: Connection, merchant: Merchant, paid: tuple[str, int, str]) -> None:
    loan_id, amount_fen, key = paid
    values = [loan_id, *merchant.columns, amount_fen, key]
    inserted = await connection.execute(store.INSERT_ENTRUSTED, values)
    if await inserted.fetchone() is None:
        raise refuse_conflict("body.merchant.order_id", "an order that was paid", "another order")


def _payee(contract: store.ContractRow, merchant: Merchant | None) -> Payee:
    if merchant is not None:
        return Payee("merchant", merchant.merchant_id)
    return Payee("borrower", contract.customer_id)


def _draw_columns(
    contract: store.ContractRow, product: Product, plan: Plan, entries: tuple[Entry, ...]
) -> dict[str, Any]:
    principal_fen = sum(instalment.principal_fen for instalment in plan)
    anytime = is_anytime(product)
    return plan_columns(plan, contract.today) | {
        "product": contract.product,
        "product_version": contract.product_version,
        "rate_annual": contract.rate_annual,
        "anytime": anytime,
        "interest_to": contract.today if anytime else None,
        "day": contract.today,
        "principal_fen": principal_fen,
        "interest_fen": sum(instalment.interest_fen for instalment in plan),
        **entry_columns(entries),
    }


async def repay_loan(core: LendingCore, command: Command, loan_id: str, amount_fen: int) -> Done:
    """Book a repayment: two round trips to the primary, whatever the loan's history.

    It pays penalty, interest and principal in the product's order. Refused (422) when it is more than is
    outstanding. On a loan that was written off it is a recovery.
    """
    slot = slot_of_id(Letter.LOAN, loan_id)
    cell = core.cell_of_id(Letter.LOAN, loan_id)
    if slot is None or cell is None:
        raise refuse_field("body.loan_id", "no loan id", "the id of a loan")

    async def work(connection: Connection, claim: Claim) -> Answer:
        asked = await ask_locked(core, connection, loan_id)
        asked_shares = await ask_shares(connection, loan_id)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        loan = await fetch_loan(core, connection, loan_id, asked)
        if loan is None:
            raise refuse_field("body.loan_id", "no such loan", "the id of a loan")
        loan = await read_further(core, connection, loan, amount_fen)
        shares = await fetch_shares(asked_shares)
        booked = await book_repayment(core, connection, loan, shares, Payment(amount_fen, command.key))
        return Answer(201, booked, claim.epoch, replayed=False)

    return await run_command(core, cell, command, work)


@dataclass(frozen=True, slots=True)
class Payment:
    """How much is paid, by which command's key."""

    amount_fen: int
    key: str


async def book_repayment(
    core: LendingCore, connection: Connection, loan: Loan, shares: LoanShares, payment: Payment
) -> dict[str, Any]:
    """Write one repayment of a locked loan with its entries, and the answer of its command; return that."""
    amount_fen, key = payment.amount_fen, payment.key
    if amount_fen > loan.outstanding_fen:
        needed = f"at most {loan.outstanding_fen}, all that is outstanding"
        raise refuse_field("body.amount_fen", str(amount_fen), needed)
    product = await find_version(core, connection, loan.row.product, loan.row.product_version)
    order = order_rule(product).choose(loan.days_past_due)
    parts = allocate_each(loan.dues, amount_fen, order, loan.fallen)
    split = sum_parts(parts)
    check_posting(core, product, loan, {"interest": split.interest_fen, "penalty": split.penalty_fen})
    after = pay_loan(loan, parts)
    event = Event.RECOVERY if loan.row.written_off_on else Event.REPAYMENT
    slot = slot_of_id(Letter.LOAN, loan.loan_id) or 0
    repayment = {
        "repayment_id": core.new_id(Letter.REPAYMENT, slot),
        "interest_fen": split.interest_fen,
        "principal_fen": split.principal_fen,
        "penalty_fen": split.penalty_fen,
    }
    body = repayment | {"balance_fen": after.balance_fen}
    told = body | {
        "customer_id": loan.row.customer_id,
        "amount_fen": amount_fen,
        "loan": show_loan_row(after),
    }
    entries = shares.plan(event, split)
    written = (
        repayment
        | store.state_columns(after)
        | late_columns(loan.lines, parts, loan)
        | entry_columns(entries)
        | {
            "recovered_own_fen": sum_recovered(entries),
            "kind": str(event),
            "booked_version": loan.row.plan_version,
            "fee_fen": 0,
            "amount_fen": amount_fen,
            "day": loan.today,
            "key": key,
            "payload": Jsonb(told),
            "response": Jsonb(body),
        }
    )
    await release(connection, loan.loan_id, split.principal_fen)
    await connection.execute(store.INSERT_REPAYMENT, written)
    return body


def sum_recovered(entries: tuple[Entry, ...]) -> int:
    """Return what entries give back to our provision for losses, in fen."""
    return -sum(entry.amount_fen for entry in entries if entry.account is Account.LOAN_LOSS_PROVISION)


def check_posting(core: LendingCore, product: Product, loan: Loan, booked_fen: dict[str, int]) -> None:
    """Refuse to book what a rule forbids; `booked_fen` has what is charged besides principal."""
    measures = measure_posting(product, booked_fen)
    if refusals := judge(core.catalogue.rulebook, Stage.POSTING, measures, loan.today):
        raise refuse_by_rules(refusals)
