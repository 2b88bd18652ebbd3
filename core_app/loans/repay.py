"""Repayments: one or several in one transaction, each answered, refused or booked for itself.

Loans are locked, then keys are looked up, then what is neither refused nor done before is written with its
key: who is refused leaves no row and hinders nobody. The unique key decides, as for every command.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from psycopg import AsyncCursor

from core_app.commands import Answer, Command, Done, ask_earlier, fetch_earlier
from core_app.core import Connection, LendingCore
from core_app.errors import Refused, refuse_field
from core_app.funding.service import LoanShares, make_shares
from core_app.ids import Letter, slot_of_id
from core_app.ledger.posting import Account, Entry, Event, entry_columns
from core_app.loans import store
from core_app.loans.allocation import allocate_each, sum_parts
from core_app.loans.book import book_claiming
from core_app.loans.fees import LoanFees
from core_app.loans.loan import Loan, Row, late_columns, make_loan, pay_loan, show_loan_row
from core_app.loans.reading import ALL_LINES, FEW_LINES, chunk_of_loan
from core_app.loans.terms import fee_rule, order_rule
from core_app.loans.together import Outcome, Outcomes, write_together
from core_app.products.model import Product
from core_app.products.published import find_version
from core_app.rules.engine import judge, refuse_by_rules
from core_app.rules.legal import Stage
from core_app.rules.measure import measure_posting
from core_app.slots import join_homes

LOCK = "select core.lock_repaid(%s::text[], %s::smallint[], %s::date)"

# Sent behind the locks: what is read was committed after they were held.
READ = """
select w.loan_id, f.funders, f.shares, s.*
from unnest(%s::text[], %s::smallint[]) as w (loan_id, chunk),
    lateral core.read_loan(w.loan_id, w.chunk, %s::date, %s) as s,
    lateral (
        select array_agg(o.funder order by o.place) as funders, array_agg(o.share order by o.place) as shares
        from core.loan_funders o where o.loan_id = w.loan_id
    ) as f
"""


@dataclass(frozen=True, slots=True)
class WantedRepayment:
    """A repayment that is asked for, of a loan whose id has a cell."""

    command: Command
    loan_id: str
    amount_fen: int
    cell: str

    @property
    def key(self) -> str:
        """Return the command's key."""
        return self.command.key

    @property
    def names(self) -> tuple[str, str]:
        """Return the key and the loan: no two of a group may share one."""
        return self.command.key, self.loan_id


def want_repayment(core: LendingCore, command: Command, loan_id: str, amount_fen: int) -> WantedRepayment:
    """Return what is asked for; Refused (422) when the id is no loan's."""
    cell = core.cell_of_id(Letter.LOAN, loan_id)
    if cell is None:
        raise refuse_field("body.loan_id", "no loan id", "the id of a loan")
    return WantedRepayment(command, loan_id, amount_fen, cell)


async def repay_loan(core: LendingCore, command: Command, loan_id: str, amount_fen: int) -> Done:
    """Book a repayment: two round trips to the primary, whatever the loan's history.

    It pays penalty, fees, interest and principal in the product's order. Refused (422) when it is more than
    is outstanding. On a loan that was written off it is a recovery.
    """
    wanted = want_repayment(core, command, loan_id, amount_fen)
    (outcome,) = await post_repayments(core, [wanted], core.deadline_seconds)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def post_repayments(
    core: LendingCore, wanted: Sequence[WantedRepayment], seconds: float
) -> list[Outcome]:
    """Post repayments of one cell in one transaction; return what became of each, in their order.

    No two may share a name. What the router raises holds for all of them.
    """
    cell = join_homes([one.cell for one in wanted])
    outcomes = await write_together(core, cell, partial(_post, core, wanted), seconds)
    each = (outcomes[one.key] for one in wanted)
    return [one if isinstance(one, Refused) else Done(cell, one) for one in each]


async def _post(
    core: LendingCore, wanted: Sequence[WantedRepayment], connection: Connection, epoch: int
) -> Outcomes:
    """Lock, look up, read, decide and write: the transaction of `wanted`, two round trips."""
    commands, today = [one.command for one in wanted], wanted[0].command.today
    await lock_loans(connection, [one.loan_id for one in wanted], today)
    asked_earlier = await ask_earlier(connection, commands)
    asked = await _ask(connection, wanted, FEW_LINES)
    outcomes: Outcomes = await fetch_earlier(asked_earlier, commands)
    found = await _read(core, connection, await asked.fetchall(), FEW_LINES)
    ours = [one for one in wanted if one.key not in outcomes]
    if further := [one for one in ours if _reaches_beyond(found.get(one.loan_id), one.amount_fen)]:
        asked = await _ask(connection, further, ALL_LINES)
        found |= await _read(core, connection, await asked.fetchall(), ALL_LINES)
    rows = []
    for one in ours:
        try:
            row = _book_wanted(core, one, found.get(one.loan_id))
        except Refused as why:
            outcomes[one.key] = why
        else:
            rows.append(row | {"digest": one.command.digest.hex(), "epoch": epoch, "site": core.site})
            outcomes[one.key] = Answer(201, row["response"], epoch, replayed=False)
    if rows:
        await book_claiming(connection, rows)
    return outcomes


async def lock_loans(connection: Connection, loan_ids: Sequence[str], today: dt.date) -> None:
    """Lock loans and all that booking on them changes, in the one order; costs no round trip of its own.

    `today` is the calendar's day, for a cell whose business date is not set.
    """
    await connection.execute(LOCK, [list(loan_ids), [chunk_of_loan(one) for one in loan_ids], today])


async def _ask(connection: Connection, wanted: Sequence[WantedRepayment], lines: int) -> AsyncCursor[Any]:
    ids = [one.loan_id for one in wanted]
    return await connection.execute(
        READ, [ids, [chunk_of_loan(one) for one in ids], wanted[0].command.today, lines]
    )


@dataclass(frozen=True, slots=True)
class _Found:
    loan: Loan
    product: Product
    shares: LoanShares


async def _read(
    core: LendingCore, connection: Connection, rows: Sequence[Sequence[Any]], lines: int
) -> dict[str, _Found]:
    found = {}
    for loan_id, funders, shares, *columns in rows:
        row = Row(*columns)
        product = await find_version(core, connection, row.product, row.product_version)
        found[loan_id] = _Found(
            make_loan(loan_id, row, product, lines),
            product,
            make_shares(row, LoanFees(fee_rule(product), row.principal_fen), funders, shares),
        )
    return found


def _reaches_beyond(found: _Found | None, amount_fen: int) -> bool:
    return found is not None and not found.loan.covers(amount_fen)


def _book_wanted(core: LendingCore, wanted: WantedRepayment, found: _Found | None) -> dict[str, Any]:
    if found is None:
        raise refuse_field("body.loan_id", "no such loan", "the id of a loan")
    return plan_repayment(
        core, found.loan, found.product, found.shares, Payment(wanted.amount_fen, wanted.key)
    )


@dataclass(frozen=True, slots=True)
class Payment:
    """How much is paid, by which command's key."""

    amount_fen: int
    key: str


def plan_repayment(
    core: LendingCore, loan: Loan, product: Product, shares: LoanShares, payment: Payment
) -> dict[str, Any]:
    """Return the row to `book` for one repayment of a locked loan; Refused when it is too much.

    Its `response` is the answer of the command.
    """
    amount_fen = payment.amount_fen
    if amount_fen > loan.outstanding_fen:
        needed = f"at most {loan.outstanding_fen}, all that is outstanding"
        raise refuse_field("body.amount_fen", str(amount_fen), needed)
    order = order_rule(product).choose(loan.days_past_due)
    parts = allocate_each(loan.dues, amount_fen, order, loan.fallen)
    split = sum_parts(parts)
    charged = {"interest": split.interest_fen, "penalty": split.penalty_fen, "instalment_fee": split.fee_fen}
    check_posting(core, product, loan, charged)
    after = pay_loan(loan, parts)
    event = Event.RECOVERY if loan.row.written_off_on else Event.REPAYMENT
    repayment = {
        "repayment_id": core.new_id(Letter.REPAYMENT, slot_of_id(Letter.LOAN, loan.loan_id) or 0),
        "interest_fen": split.interest_fen,
        "principal_fen": split.principal_fen,
        "penalty_fen": split.penalty_fen,
        "fee_fen": split.fee_fen,
    }
    body = repayment | {"balance_fen": after.balance_fen}
    told = {"customer_id": loan.row.customer_id, "amount_fen": amount_fen, "loan": show_loan_row(after)}
    entries = shares.plan(event, split)
    return (
        repayment
        | store.state_columns(after)
        | late_columns(loan.lines, parts, loan)
        | entry_columns(entries)
        | {
            "recovered_own_fen": sum_recovered(entries),
            "kind": str(event),
            "booked_version": loan.row.plan_version,
            "prepayment_fee_fen": 0,
            "amount_fen": amount_fen,
            "day": loan.today,
            "key": payment.key,
            "payload": body | told,
            "response": body,
        }
    )


def sum_recovered(entries: tuple[Entry, ...]) -> int:
    """Return what entries give back to our provision for losses, in fen."""
    return -sum(entry.amount_fen for entry in entries if entry.account is Account.LOAN_LOSS_PROVISION)


def check_posting(core: LendingCore, product: Product, loan: Loan, booked_fen: dict[str, int]) -> None:
    """Refuse to book what a rule forbids; `booked_fen` has what is charged besides principal."""
    measures = measure_posting(product, booked_fen)
    if refusals := judge(core.catalogue.rulebook, Stage.POSTING, measures, loan.today):
        raise refuse_by_rules(refusals)
