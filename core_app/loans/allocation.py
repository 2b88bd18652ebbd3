"""Which debt a repayment pays, in one of three orders. Pure.

Whatever the order, each component is paid in the order of instalments, so four totals (paid
penalty, interest, principal, fees) say exactly where a loan stands; the plan's rows never change.
"""

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache


class Order(enum.StrEnum):
    """What is paid first.

    By instalment: in each penalty, fee, interest, principal. By component: all penalties, all fees, all
    interest, all principal. Principal first: all principal, all interest, all fees, all penalties (the order
    of loans that no longer perform). Fees go before interest as in Apache Fineract's default order.
    """

    BY_INSTALMENT = "by_instalment"
    BY_COMPONENT = "by_component"
    PRINCIPAL_FIRST = "principal_first"


@dataclass(frozen=True, slots=True)
class OrderRule:
    """The order of a performing loan, and the one after more than `after_days` past due."""

    normal: Order
    non_performing: Order
    after_days: int

    def choose(self, days_past_due: int) -> Order:
        """Return the order that holds."""
        return self.non_performing if days_past_due > self.after_days else self.normal


@dataclass(frozen=True, slots=True)
class Due:
    """What is still open of one instalment, in fen, never negative."""

    period: int
    penalty_fen: int
    interest_fen: int
    principal_fen: int
    fee_fen: int = 0

    @property
    def total_fen(self) -> int:
        """Return all that is open of this instalment."""
        return self.penalty_fen + self.interest_fen + self.principal_fen + self.fee_fen


@dataclass(frozen=True, slots=True)
class Allocation:
    """How an amount was split, in fen."""

    penalty_fen: int
    interest_fen: int
    principal_fen: int
    fee_fen: int = 0

    @property
    def total_fen(self) -> int:
        """Return the amount that was split."""
        return self.penalty_fen + self.interest_fen + self.principal_fen + self.fee_fen


_PENALTY, _INTEREST, _PRINCIPAL, _FEE = range(4)
_COMPONENTS = {
    Order.BY_INSTALMENT: (_PENALTY, _FEE, _INTEREST, _PRINCIPAL),
    Order.BY_COMPONENT: (_PENALTY, _FEE, _INTEREST, _PRINCIPAL),
    Order.PRINCIPAL_FIRST: (_PRINCIPAL, _INTEREST, _FEE, _PENALTY),
}


def allocate_each(dues: Sequence[Due], amount_fen: int, order: Order, fallen: int) -> tuple[Allocation, ...]:
    """Split `amount_fen` over `dues` and return what each gets, in their order.

    The first `fallen` of them have fallen due: they are paid in `order`. What is left pays the others
    in advance, always by instalment. ValueError when it is not positive or more than is open.
    """
    if amount_fen <= 0:
        raise ValueError("amount to allocate: needs to be positive")
    paid = [[0, 0, 0, 0] for _ in dues]
    left_fen = amount_fen
    for index, component, open_fen in _buckets(dues, order, fallen):
        part_fen = min(left_fen, open_fen)
        paid[index][component] = part_fen
        left_fen -= part_fen
    if left_fen:
        raise ValueError(f"amount to allocate: {left_fen} fen more than is due")
    return tuple(Allocation(*parts) for parts in paid)


def _buckets(dues: Sequence[Due], order: Order, fallen: int) -> Iterator[tuple[int, int, int]]:
    parts = [(due.penalty_fen, due.interest_fen, due.principal_fen, due.fee_fen) for due in dues]
    if order is not Order.BY_INSTALMENT:
        yield from ((i, c, part[c]) for c in _COMPONENTS[order] for i, part in enumerate(parts[:fallen]))
    first, ahead = (0 if order is Order.BY_INSTALMENT else fallen), _COMPONENTS[Order.BY_INSTALMENT]
    yield from ((i, c, parts[i][c]) for i in range(first, len(parts)) for c in ahead)


def sum_parts(parts: Iterable[Allocation]) -> Allocation:
    """Return the sums over all instalments."""
    penalty_fen = interest_fen = principal_fen = fee_fen = 0
    for part in parts:
        penalty_fen += part.penalty_fen
        interest_fen += part.interest_fen
        principal_fen += part.principal_fen
        fee_fen += part.fee_fen
    return Allocation(penalty_fen, interest_fen, principal_fen, fee_fen)


@dataclass(frozen=True, slots=True)
class PenaltyTerms:
    """Rate of an overdue instalment: contract rate times `multiple`, by days of a year of `year_days`.

    `on_interest` says that overdue interest bears it too; up to `grace_days` past due there is none.
    """

    rate_annual: Decimal
    multiple: Decimal
    year_days: int
    on_interest: bool = False
    grace_days: int = 0

    @property
    def daily(self) -> Fraction:
        """Return the exact rate of one day."""
        return _daily(self.rate_annual, self.multiple, self.year_days)


@lru_cache(maxsize=1024)
def _daily(rate_annual: Decimal, multiple: Decimal, year_days: int) -> Fraction:
    return Fraction(rate_annual) * Fraction(multiple) / year_days
