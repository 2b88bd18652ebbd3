"""Which debt a repayment pays: by instalment, in each penalty, interest, principal. Pure.

Whatever the order, each component is paid in the order of instalments, so three totals (paid
penalty, interest, principal) say exactly where a loan stands; the plan's rows never change.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from core_app.loans.schedule import Instalment
from core_app.money import round_half_up


@dataclass(frozen=True, slots=True)
class Due:
    """What is still open of one instalment, in fen, never negative."""

    period: int
    penalty_fen: int
    interest_fen: int
    principal_fen: int

    @property
    def total_fen(self) -> int:
        """Return all that is open of this instalment."""
        return self.penalty_fen + self.interest_fen + self.principal_fen


@dataclass(frozen=True, slots=True)
class Allocation:
    """How an amount was split, in fen."""

    penalty_fen: int
    interest_fen: int
    principal_fen: int

    @property
    def total_fen(self) -> int:
        """Return the amount that was split."""
        return self.penalty_fen + self.interest_fen + self.principal_fen


def compute_open_dues(
    plan: Sequence[Instalment], interest_paid_fen: int, principal_paid_fen: int
) -> tuple[Due, ...]:
    """Return the instalments that are not fully paid, first due first; penalties come with day-end."""
    open_dues = []
    for instalment in plan:
        interest_fen = max(0, instalment.interest_fen - interest_paid_fen)
        principal_fen = max(0, instalment.principal_fen - principal_paid_fen)
        interest_paid_fen = max(0, interest_paid_fen - instalment.interest_fen)
        principal_paid_fen = max(0, principal_paid_fen - instalment.principal_fen)
        if interest_fen or principal_fen:
            open_dues.append(Due(instalment.period, 0, interest_fen, principal_fen))
    return tuple(open_dues)


def allocate_by_instalment(dues: Iterable[Due], amount_fen: int) -> Allocation:
    """Split `amount_fen` over `dues`; ValueError when it is not positive or more than is due."""
    if amount_fen <= 0:
        raise ValueError("amount to allocate: needs to be positive")
    penalty_fen = interest_fen = principal_fen = 0
    left_fen = amount_fen
    for due in dues:
        if not left_fen:
            break
        paid_penalty = min(left_fen, due.penalty_fen)
        paid_interest = min(left_fen - paid_penalty, due.interest_fen)
        paid_principal = min(left_fen - paid_penalty - paid_interest, due.principal_fen)
        penalty_fen += paid_penalty
        interest_fen += paid_interest
        principal_fen += paid_principal
        left_fen -= paid_penalty + paid_interest + paid_principal
    if left_fen:
        raise ValueError(f"amount to allocate: {left_fen} fen more than is due")
    return Allocation(penalty_fen, interest_fen, principal_fen)


@dataclass(frozen=True, slots=True)
class PenaltyTerms:
    """Rate of an overdue instalment: contract rate times `multiple`, by days of a year of `year_days`."""

    rate_annual: Decimal
    multiple: Decimal
    year_days: int


def compute_penalty_fen(overdue_principal_fen: int, days: int, terms: PenaltyTerms) -> int:
    """Return the penalty on overdue principal after `days` past due.

    >>> compute_penalty_fen(92_016, 38, PenaltyTerms(Decimal("0.18"), Decimal("1.5"), 360))
    2622
    """
    daily = Fraction(terms.rate_annual) * Fraction(terms.multiple) / terms.year_days
    return round_half_up(overdue_principal_fen * daily * days)
