"""What each funder of a loan has of any of its totals, and so of every change of them. Pure.

A funder's part of a repayment is its part of all that was paid after it less that before it. So nothing
collects by rounding, the cost does not grow with the loan's history, and taking a repayment back gives
back exactly what it gave.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from core_app.ledger.posting import OWN, Entry, Event, plan_funded_entries
from core_app.loans.split import split_amounts


@dataclass(frozen=True, slots=True)
class Share:
    """One funder of a loan and its share, 0.30 being 30 %."""

    funder: str
    share: Decimal


@dataclass(frozen=True, slots=True)
class Paid:
    """Totals paid on a loan, in fen."""

    penalty_fen: int
    interest_fen: int
    principal_fen: int
    fee_fen: int = 0


@dataclass(frozen=True, slots=True)
class FeesPaid:
    """Fees that are collected, in fen: ours, and those of a payee for whom we collect them."""

    own_fen: int = 0
    payee_fen: int = 0


_NO_FEES = FeesPaid()


def split_change(before_fen: int, after_fen: int, shares: Sequence[Share]) -> tuple[int, ...]:
    """Return each funder's part of a total's change, in the order of `shares`, the lead last.

    >>> split_change(0, 18_000, [Share("bank", Decimal("0.7")), Share("own", Decimal("0.3"))])
    (12600, 5400)
    """
    exact = [each.share for each in shares]
    before, after = (split_amounts([total], exact) for total in (before_fen, after_fen))
    return tuple(new - old for (old,), (new,) in zip(before, after, strict=True))


def plan_collected(
    event: Event, shares: Sequence[Share], before: Paid, after: Paid, fees: FeesPaid = _NO_FEES
) -> tuple[Entry, ...]:
    """Return the entries of `event`, which takes a loan's totals from `before` to `after`.

    Each funder's lines balance by themselves. Fees are no funder's: they are ours, or owed to their payee. A
    partner's share is never written off in our books, so what is recovered for it is collected as before.
    ValueError when a total shrinks: taking back is `reverse_entries` of what it takes back.
    """
    parts = zip(
        shares,
        split_change(before.penalty_fen, after.penalty_fen, shares),
        split_change(before.interest_fen, after.interest_fen, shares),
        split_change(before.principal_fen, after.principal_fen, shares),
        strict=True,
    )
    entries: list[Entry] = []
    for share, penalty_fen, interest_fen, principal_fen in parts:
        components = {
            "amount": penalty_fen + interest_fen + principal_fen,
            "penalty": penalty_fen,
            "interest": interest_fen,
            "principal": principal_fen,
        }
        booked = Event.REPAYMENT if share.funder != OWN and event is Event.RECOVERY else event
        entries += plan_funded_entries(booked, {share.funder: components})
    if fees.own_fen or fees.payee_fen:
        components = {"amount": fees.own_fen + fees.payee_fen, "own": fees.own_fen, "payee": fees.payee_fen}
        entries += plan_funded_entries(Event.FEE, {OWN: components})
    return tuple(entries)


def own_part(total_fen: int, shares: Sequence[Share]) -> int:
    """Return our own part of a total, 0 when we fund nothing of the loan."""
    names = [share.funder for share in shares]
    return split_change(0, total_fen, shares)[names.index(OWN)] if OWN in names else 0
