"""Take a repayment back (a bounced debit, a mistake): it never counted, and later ones are split anew.

Nothing booked is changed: the reversal, and the correction of each later split, are booked beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
from core_app.funding.service import LoanShares, ask_shares, fetch_shares
from core_app.ids import Letter
from core_app.ledger.posting import entry_columns
from core_app.limits.hold import release
from core_app.loans import store
from core_app.loans.allocation import Allocation
from core_app.loans.coupon import give_back
from core_app.loans.fees import LoanFees
from core_app.loans.loan import Loan, as_late_columns, show_loan_row, with_lines
from core_app.loans.payoff import Whole, make_whole
from core_app.loans.reading import ALL_LINES, ask_locked, fetch_loan
from core_app.loans.replay import (
    Balances,
    Contract,
    Correction,
    Event,
    Repaid,
    Reversed,
    plan_corrections,
    replay,
)
from core_app.loans.standing import DailyInterest
from core_app.loans.terms import fee_rule, order_rule
from core_app.outbox import Told
from core_app.products.model import Product
from core_app.products.published import find_version

_NOTHING = Allocation(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Booked:
    """The repayments of a plan: their ids and splits as they stand, by number, and the events."""

    ids: Mapping[int, str]
    splits: Mapping[int, Allocation]
    journal: tuple[Event, ...]


async def reverse_repayment(core: LendingCore, command: Command, repayment_id: str, reason: str) -> Done:
    """Reverse a repayment, once; Refused (409) when its loan's plan changed since, or it is written off."""
    cell = core.cell_of_id(Letter.REPAYMENT, repayment_id)
    if cell is None:
        raise refuse_field("body.repayment_id", "no repayment id", "the id of a repayment")

    async def work(connection: Connection, claim: Claim) -> Answer:
        found = await connection.execute(store.SELECT_REPAYMENT, [repayment_id])
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        row = await found.fetchone()
        if row is None:
            raise refuse_field("body.repayment_id", "no such repayment", "the id of a repayment")
        loan_id, kind, version = row
        asked = await ask_locked(core, connection, loan_id, ALL_LINES)
        asked_shares = await ask_shares(connection, loan_id)
        journal = await connection.execute(store.SELECT_JOURNAL, [loan_id, version])
        plan = await connection.execute(store.SELECT_PLAN, [loan_id, version])
        loan = await fetch_loan(core, connection, loan_id, asked, ALL_LINES)
        if loan is None:
            raise RuntimeError("a repayment without its loan")
        _check_reversible(loan, kind, version)
        booked = _read_journal(await journal.fetchall(), repayment_id)
        whole = make_whole(await plan.fetchall())
        product = await find_version(core, connection, loan.row.product, loan.row.product_version)
        right = replay(_contract(loan, product, whole), booked.journal, loan.today)
        corrections = plan_corrections(booked.splits, right.splits)
        after = _restate(loan, right, booked.splits)
        shares = await fetch_shares(asked_shares, LoanFees(fee_rule(product), loan.row.principal_fen))
        noted = _Noted(repayment_id, reason, booked.ids, command.key, shares)
        await _write(connection, after, right, corrections, noted)
        await give_back(connection, loan, repayment_id, command.key)
        await release(connection, loan_id, after.row.principal_paid_fen - loan.row.principal_paid_fen)
        body = {
            "repayment_id": repayment_id,
            "corrected": len(corrections) - 1,
            "balance_fen": after.balance_fen,
            "outstanding_fen": after.outstanding_fen,
        }
        told = Told("loan.repayment_reversed", loan_id, body | {"loan": show_loan_row(after)})
        return await finish_command(connection, claim, 201, body, told)

    return await run_command(core, cell, command, work)


def _check_reversible(loan: Loan, kind: str, version: int) -> None:
    if kind != "repayment":
        raise refuse_conflict("body.repayment_id", f"a {kind}", "a repayment")
    if version != loan.row.plan_version:
        raise refuse_conflict("body.repayment_id", "one under an earlier plan", "a later repayment")
    if loan.row.written_off_on is not None:
        raise refuse_conflict("body.repayment_id", "one of a written-off loan", "a loan in the books")


def _read_journal(rows: Sequence[tuple[Any, ...]], repayment_id: str) -> Booked:
    ids, splits, events = {}, {}, []
    for number, row_id, booked_on, amount_fen, *parts, is_reversed in rows:
        if is_reversed:
            if row_id == repayment_id:
                raise refuse_conflict("body.repayment_id", "one that was reversed", "one that stands")
            continue
        ids[number], splits[number] = row_id, Allocation(*parts)
        events.append(Repaid(number, booked_on, amount_fen))
    number = next(number for number, row_id in ids.items() if row_id == repayment_id)
    return Booked(ids, splits, (*events, Reversed(max(ids) + 1, number)))


def _contract(loan: Loan, product: Product, whole: Whole) -> Contract:
    daily = None
    if loan.daily is not None:
        daily = DailyInterest(loan.daily.rate, loan.daily.ends, loan.row.drawn_on)
    return Contract(whole.plan, loan.terms, order_rule(product), whole.begins, daily)


def _restate(loan: Loan, right: Balances, booked: Mapping[int, Allocation]) -> Loan:
    """Return the loan as the replay has it: totals less what was booked, plus what is right."""

    def moved(component: str) -> int:
        was_fen, is_fen = (
            sum(int(getattr(split, component)) for split in splits.values())
            for splits in (booked, right.splits)
        )
        return is_fen - was_fen

    first = next((due.period for due in right.dues), None)
    row = replace(
        loan.row,
        principal_paid_fen=loan.row.principal_paid_fen + moved("principal_fen"),
        interest_paid_fen=loan.row.interest_paid_fen + moved("interest_fen"),
        penalty_paid_fen=loan.row.penalty_paid_fen + moved("penalty_fen"),
        fee_paid_fen=loan.row.fee_paid_fen + moved("fee_fen"),
        interest_fen=right.daily.interest_fen if right.daily else loan.row.interest_fen,
        open_period=first or loan.row.open_period,
        settled_on=None if first else loan.row.settled_on,
    )
    lines = tuple(line for line in right.lines if first and line.period >= first)
    return replace(with_lines(loan, row, lines), daily=right.daily, complete=True)


@dataclass(frozen=True, slots=True)
class _Noted:
    repayment_id: str
    reason: str
    ids: Mapping[int, str]
    key: str
    shares: LoanShares


async def _write(
    connection: Connection,
    after: Loan,
    right: Balances,
    corrections: Sequence[Correction],
    noted: _Noted,
) -> None:
    day, key = after.today, noted.key
    await connection.execute(store.UPDATE_LOAN, store.state_columns(after))
    # All lines that are due: what a late line said before may not be so any more.
    late = as_late_columns([line for line in right.lines if line.due < day])
    await connection.execute(store.UPSERT_LATE, late | {"loan_id": after.loan_id})
    await connection.execute(store.INSERT_REVERSAL, [noted.repayment_id, noted.reason, day, key])
    deltas = [(noted.ids[c.number], _delta(c)) for c in corrections]
    corrected = {
        "repayments": [repayment_id for repayment_id, _ in deltas],
        "penalties": [delta.penalty_fen for _, delta in deltas],
        "interests": [delta.interest_fen for _, delta in deltas],
        "principals": [delta.principal_fen for _, delta in deltas],
        "fees": [delta.fee_fen for _, delta in deltas],
        "key": key,
        "day": day,
    }
    await connection.execute(store.INSERT_CORRECTIONS, corrected)
    planned = noted.shares.plan_corrections([(c.was, c.becomes) for c in corrections])
    entries = [
        (f"{noted.ids[c.number]}/{key}", entry)
        for c, its in zip(corrections, planned, strict=True)
        for entry in its
    ]
    columns = entry_columns(entry for _, entry in entries)
    columns |= {"transactions": [transaction for transaction, _ in entries]}
    await connection.execute(
        store.INSERT_ENTRIES, columns | {"loan_id": after.loan_id, "key": key, "day": day}
    )


def _delta(correction: Correction) -> Allocation:
    was, becomes = correction.was or _NOTHING, correction.becomes or _NOTHING
    return Allocation(
        becomes.penalty_fen - was.penalty_fen,
        becomes.interest_fen - was.interest_fen,
        becomes.principal_fen - was.principal_fen,
        becomes.fee_fen - was.fee_fen,
    )
