"""Daily interest of a loan that is drawn and repaid anytime. Pure.

The balance of each evening bears interest for the night; all days are summed first and rounded once
(source: our choice, so that the day on which interest is asked for cannot change its sum).
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from core_app.money import round_half_up


@dataclass(frozen=True, slots=True)
class Move:
    """A change of the drawn balance on a day: a draw is positive, a repayment negative, in fen."""

    on: dt.date
    amount_fen: int


@dataclass(frozen=True, slots=True)
class DailyRate:
    """`annual` is 0.18 for 18 %; a day bears a `day_count`-th of it (360 or 365)."""

    annual: Decimal
    day_count: int

    def interest_fen(self, balance_days_fen: int) -> int:
        """Return the interest of so many fen times days.

        >>> DailyRate(Decimal("0.18"), 360).interest_fen(1_000_000 * 17)
        8500
        """
        return round_half_up(balance_days_fen * Fraction(self.annual) / self.day_count)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a revolving loan stands: drawn balance and fen times days since the first draw."""

    balance_fen: int
    balance_days_fen: int


def compute_standing(moves: Iterable[Move], until: dt.date) -> Standing:
    """Return the standing on the morning of `until`; moves may come in any order, later ones are left out.

    ValueError when the balance would fall below zero on any day: nobody can repay what is not drawn.
    """
    balance_fen = balance_days_fen = 0
    before: dt.date | None = None
    # Draws of a day come before its repayments: a day's balance is that of its evening.
    for move in sorted((m for m in moves if m.on <= until), key=lambda m: (m.on, -m.amount_fen)):
        if before is not None:
            balance_days_fen += balance_fen * (move.on - before).days
        before = move.on
        balance_fen += move.amount_fen
        if balance_fen < 0:
            raise ValueError(f"moves: {-balance_fen} fen more repaid than drawn on {move.on}")
    if before is not None:
        balance_days_fen += balance_fen * (until - before).days
    return Standing(balance_fen, balance_days_fen)
