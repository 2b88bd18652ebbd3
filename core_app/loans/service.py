"""Draw, repay, show: each one transaction on the customer's cell; contracts are in `contract.py`.

Every command claims its idempotency key first; whatever is refused leaves no row at all.
"""

from dataclasses import replace
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
from core_app.errors import Kind, Refused, refuse_conflict, refuse_field
from core_app.funding.service import (
    Draw,
    Payee,
    ask_shares,
    choose_funders,
    entry_columns,
    plan_draw,
    write_funding,
)
from core_app.ids import Letter, slot_of_id
from core_app.ledger.posting import Entry
from core_app.limits.hold import Hold, consume, release
from core_app.loans import store
from core_app.loans.allocation import Allocation, allocate, compute_open_dues
from core_app.loans.classification import compute_days_past_due
from core_app.loans.schedule import Instalment, Terms, plan_schedule
from core_app.loans.terms import order_rule, plan_rule
from core_app.outbox import Told
from core_app.products.model import Product
from core_app.products.published import find_version
from core_app.rules.engine import judge, refuse_by_rules
from core_app.rules.legal import Stage
from core_app.rules.measure import measure_posting


async def draw_loan(core: LendingCore, command: Command, contract_id: str) -> Done:
    """Pay out a contract's whole amount, once; the loan's plan is dated from this day."""
    slot = slot_of_id(Letter.CONTRACT, contract_id)
    cell = core.cell_of_id(Letter.CONTRACT, contract_id)
    if slot is None or cell is None:
        raise refuse_field("body.contract_id", "no contract id", "the id of a contract")

    async def work(connection: Connection, claim: Claim) -> Answer:
        rows = await connection.execute(store.LOCK_CONTRACT, [command.today, contract_id])
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
        await consume(
            connection,
            Hold(contract_id, contract.customer_id, product, contract.amount_fen, contract.today),
        )
        terms = Terms(contract.amount_fen, contract.rate_annual, contract.periods)
        plan = plan_schedule(terms, contract.today, plan_rule(product))
        loan_id = core.new_id(Letter.LOAN, slot)
        loan = {"loan_id": loan_id, "contract_id": contract_id, "customer_id": contract.customer_id}
        interest_fen = sum(instalment.interest_fen for instalment in plan)
        routed = await choose_funders(connection, product, contract.amount_fen, contract.today)
        entries = plan_draw(routed.stakes)
        await connection.execute(
            store.INSERT_DRAW,
            loan | _draw_columns(contract, plan, entries) | {"key": command.key},
        )
        payee = Payee("borrower", contract.customer_id)
        drawn = Draw(loan_id, product, contract.amount_fen, interest_fen, payee, contract.today, command.key)
        await write_funding(core, connection, drawn, routed, claim.epoch)
        body = loan | {
            "balance_fen": contract.amount_fen,
            "outstanding_fen": sum(instalment.total_fen for instalment in plan),
            "next_due": plan[0].due.isoformat(),
        }
        standing = store.LoanRow(
            contract.customer_id,
            contract.product,
            contract.product_version,
            contract.amount_fen,
            interest_fen,
            0,
            0,
            contract.today,
            contract.today,
            plan,
        )
        shown = {"product": contract.product, "loan": show_row(loan_id, standing)}
        told = Told("loan.drawn", loan_id, body | shown)
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, cell, command, work)


def _draw_columns(
    contract: store.ContractRow, plan: tuple[Instalment, ...], entries: tuple[Entry, ...]
) -> dict[str, Any]:
    return {
        "product": contract.product,
        "product_version": contract.product_version,
        "day": contract.today,
        "principal_fen": contract.amount_fen,
        "interest_fen": sum(instalment.interest_fen for instalment in plan),
        "periods": [instalment.period for instalment in plan],
        "dues": [instalment.due for instalment in plan],
        "principals": [instalment.principal_fen for instalment in plan],
        "interests": [instalment.interest_fen for instalment in plan],
        **entry_columns(entries),
    }


async def repay_loan(core: LendingCore, command: Command, loan_id: str, amount_fen: int) -> Done:
    """Book a repayment: two round trips to the primary, whatever the loan's history."""
    slot = slot_of_id(Letter.LOAN, loan_id)
    cell = core.cell_of_id(Letter.LOAN, loan_id)
    if slot is None or cell is None:
        raise refuse_field("body.loan_id", "no loan id", "the id of a loan")

    async def work(connection: Connection, claim: Claim) -> Answer:
        rows = await connection.execute(store.LOCK_LOAN, [command.today, loan_id])
        shares = await ask_shares(connection, loan_id)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        row = await rows.fetchone()
        if row is None:
            raise refuse_field("body.loan_id", "no such loan", "the id of a loan")
        loan = store.read_loan_row(row)
        if amount_fen > loan.outstanding_fen:
            needed = f"at most {loan.outstanding_fen}, all that is outstanding"
            raise refuse_field("body.amount_fen", str(amount_fen), needed)
        product = await find_version(core, connection, loan.product, loan.product_version)
        split = _split(core, product, loan, amount_fen)
        repayment = {
            "repayment_id": core.new_id(Letter.REPAYMENT, slot),
            "interest_fen": split.interest_fen,
            "principal_fen": split.principal_fen,
            "penalty_fen": split.penalty_fen,
        }
        after = replace(
            loan,
            interest_paid_fen=loan.interest_paid_fen + split.interest_fen,
            principal_paid_fen=loan.principal_paid_fen + split.principal_fen,
        )
        body = repayment | {"balance_fen": after.principal_fen - after.principal_paid_fen}
        payload = body | {
            "customer_id": loan.customer_id,
            "amount_fen": amount_fen,
            "loan": show_row(loan_id, after),
        }
        written = (
            repayment
            | entry_columns(await shares.plan_repayment(split))
            | {
                "loan_id": loan_id,
                "amount_fen": amount_fen,
                "day": loan.today,
                "key": command.key,
                "payload": Jsonb(payload),
                "response": Jsonb(body),
            }
        )
        await release(connection, loan_id, split.principal_fen)
        await connection.execute(store.INSERT_REPAYMENT, written)
        return Answer(201, body, claim.epoch, replayed=False)

    return await run_command(core, cell, command, work)


def _split(core: LendingCore, product: Product, loan: store.LoanRow, amount_fen: int) -> Allocation:
    """Return which debt the amount pays, by the product's order; Refused when a rule forbids booking it."""
    dues = compute_open_dues(loan.plan, loan.interest_paid_fen, loan.principal_paid_fen)
    fallen = sum(loan.plan[due.period - 1].due <= loan.today for due in dues)
    oldest = loan.plan[dues[0].period - 1].due if dues else None
    order = order_rule(product).choose(compute_days_past_due(oldest, loan.today))
    split = allocate(dues, amount_fen, order, fallen)
    booked = {"interest": split.interest_fen, "penalty": split.penalty_fen}
    measures = measure_posting(product, booked)
    if refusals := judge(core.catalogue.rulebook, Stage.POSTING, measures, loan.today):
        raise refuse_by_rules(refusals)
    return split


async def show_loan(core: LendingCore, loan_id: str) -> Done:
    """Return where a loan stands; Refused (404) when there is none."""
    cell = core.cell_of_id(Letter.LOAN, loan_id)
    if cell is None:
        raise Refused(Kind.NOT_FOUND, "There is no such loan.")

    async def work(connection: Connection, epoch: int) -> Answer:
        rows = await connection.execute(store.SELECT_LOAN, [core.read_today(), loan_id])
        row = await rows.fetchone()
        if row is None:
            raise Refused(Kind.NOT_FOUND, "There is no such loan.")
        return Answer(200, show_row(loan_id, store.read_loan_row(row)), epoch, replayed=False)

    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, read.value)


def show_row(loan_id: str, loan: store.LoanRow) -> dict[str, Any]:
    """Return where a loan stands as the client reads it; also what the outbox tells of it."""
    dues = compute_open_dues(loan.plan, loan.interest_paid_fen, loan.principal_paid_fen)
    next_due = loan.plan[dues[0].period - 1].due.isoformat() if dues else None
    return {
        "loan_id": loan_id,
        "customer_id": loan.customer_id,
        "status": "active" if dues else "settled",
        "drawn_on": loan.drawn_on.isoformat(),
        "principal_fen": loan.principal_fen,
        "balance_fen": loan.principal_fen - loan.principal_paid_fen,
        "outstanding_fen": loan.outstanding_fen,
        "next_due": next_due,
        "next_due_fen": dues[0].total_fen if dues else 0,
    }
