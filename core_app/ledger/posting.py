"""Chart of accounts and posting rules as data; entries as values. Pure.

Amounts are signed fen: a debit is positive, a credit negative, so a transaction sums to zero and so
does the whole ledger. Account numbers follow the Chinese chart for financial enterprises.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from core_app.errors import LedgerUnbalanced


class Account(enum.StrEnum):
    """Accounts in use; the migration that makes core.accounts lists the same."""

    BANK_DEPOSITS = "1002"
    CUSTODY = "100201"
    LOANS = "1303"
    HELD_FOR_FUNDERS = "1321"
    OTHER_PAYABLES = "2241"
    INTEREST_OWED_TO_FUNDERS = "231401"
    PENALTY_OWED_TO_FUNDERS = "231402"
    INTEREST_RECEIVABLE = "1132"
    LOAN_LOSS_PROVISION = "1304"
    INTEREST_INCOME = "6011"
    PENALTY_INCOME = "6012"
    FEE_INCOME = "6021"
    FEES_RECEIVABLE = "112201"
    FEES_OWED_TO_PAYEES = "224101"
    MARKETING_COST = "6601"
    IMPAIRMENT_LOSS = "6701"


OWN = "own"
"""The funder that is the company itself; the migration that adds core.entries.funder says the same."""

_OF_A_PARTNER: Mapping[Account, Account] = {
    Account.BANK_DEPOSITS: Account.BANK_DEPOSITS,
    Account.LOANS: Account.HELD_FOR_FUNDERS,
    Account.INTEREST_INCOME: Account.INTEREST_OWED_TO_FUNDERS,
    Account.PENALTY_INCOME: Account.PENALTY_OWED_TO_FUNDERS,
}
"""Where a partner's share is booked: it is neither our asset nor our income. An account that does not
stand here cannot be booked for a partner (KeyError): somebody has to decide what it is to them."""


class Event(enum.StrEnum):
    """What happened in the business; each has one posting rule."""

    DRAW = "draw"
    DRAW_VOID = "draw_void"
    REPAYMENT = "repayment"
    PREPAYMENT = "prepayment"
    WRITE_OFF = "write_off"
    RECOVERY = "recovery"
    FEE = "fee"
    """Fees collected with a repayment, prepayment or recovery: ours, and those of a payee."""
    COUPON = "coupon"
    """What a coupon pays of a repayment: ours, whoever funds the loan."""
    SURPLUS = "surplus"
    """Collected beyond what the loan still owed: owed back."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One line of a posting rule: `component` names an amount, `sign` is +1 debit, -1 credit."""

    account: Account
    component: str
    sign: int


POSTING_RULES: Mapping[Event, tuple[Leg, ...]] = {
    Event.DRAW: (
        Leg(Account.LOANS, "principal", +1),
        Leg(Account.BANK_DEPOSITS, "principal", -1),
    ),
    Event.DRAW_VOID: (
        Leg(Account.BANK_DEPOSITS, "principal", +1),
        Leg(Account.LOANS, "principal", -1),
    ),
    Event.REPAYMENT: (
        Leg(Account.BANK_DEPOSITS, "amount", +1),
        Leg(Account.LOANS, "principal", -1),
        Leg(Account.INTEREST_INCOME, "interest", -1),
        Leg(Account.PENALTY_INCOME, "penalty", -1),
    ),
    Event.PREPAYMENT: (
        Leg(Account.BANK_DEPOSITS, "amount", +1),
        Leg(Account.LOANS, "principal", -1),
        Leg(Account.INTEREST_INCOME, "interest", -1),
        Leg(Account.PENALTY_INCOME, "penalty", -1),
    ),
    Event.FEE: (
        Leg(Account.BANK_DEPOSITS, "amount", +1),
        Leg(Account.FEE_INCOME, "own", -1),
        Leg(Account.FEES_OWED_TO_PAYEES, "payee", -1),
    ),
    Event.WRITE_OFF: (
        Leg(Account.LOAN_LOSS_PROVISION, "principal", +1),
        Leg(Account.LOANS, "principal", -1),
    ),
    Event.RECOVERY: (
        Leg(Account.BANK_DEPOSITS, "amount", +1),
        Leg(Account.LOAN_LOSS_PROVISION, "principal", -1),
        Leg(Account.INTEREST_INCOME, "interest", -1),
        Leg(Account.PENALTY_INCOME, "penalty", -1),
    ),
    Event.COUPON: (
        Leg(Account.MARKETING_COST, "discount", +1),
        Leg(Account.BANK_DEPOSITS, "discount", -1),
    ),
    Event.SURPLUS: (
        Leg(Account.BANK_DEPOSITS, "amount", +1),
        Leg(Account.OTHER_PAYABLES, "amount", -1),
    ),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a transaction, for one funder; `amount_fen` is signed and never zero."""

    account: Account
    amount_fen: int
    funder: str = OWN


def plan_entries(event: Event, components_fen: Mapping[str, int]) -> tuple[Entry, ...]:
    """Return the entries of `event`; a component of zero leaves no line.

    LedgerUnbalanced when they do not sum to zero, KeyError when a component is missing, ValueError
    when one is negative: reversals are events of their own.
    """
    if any(amount < 0 for amount in components_fen.values()):
        raise ValueError(f"{event}: a negative component")
    entries = tuple(
        Entry(leg.account, leg.sign * components_fen[leg.component])
        for leg in POSTING_RULES[event]
        if components_fen[leg.component]
    )
    check_balanced(entries)
    return entries


def plan_funded_entries(event: Event, parts_fen: Mapping[str, Mapping[str, int]]) -> tuple[Entry, ...]:
    """Return the entries of `event` with each funder's components; each funder's lines balance.

    A funder without any amount has no line. Raises as `plan_entries`.
    """
    return tuple(
        Entry(entry.account if funder == OWN else _OF_A_PARTNER[entry.account], entry.amount_fen, funder)
        for funder, components_fen in parts_fen.items()
        if any(components_fen.values())
        for entry in plan_entries(event, components_fen)
    )


def reverse_entries(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Return the entries that take `entries` back."""
    return tuple(replace(entry, amount_fen=-entry.amount_fen) for entry in entries)


def check_balanced(entries: tuple[Entry, ...]) -> None:
    """Raise LedgerUnbalanced unless `entries` are at least two and sum to zero."""
    total = sum(entry.amount_fen for entry in entries)
    if total or len(entries) < 2:
        raise LedgerUnbalanced(f"{len(entries)} entries that sum to {total} fen: needs two or more and 0")


def entry_columns(entries: Iterable[Entry]) -> dict[str, list[Any]]:
    """Return entries as the arrays that statements take."""
    rows = tuple(entries)
    return {
        "accounts": [str(entry.account) for entry in rows],
        "amounts": [entry.amount_fen for entry in rows],
        "funders": [entry.funder for entry in rows],
    }
