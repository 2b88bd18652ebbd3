"""Fees that instalments bear besides interest: a one-off one with the first, one with each. Pure.

A fee falls due with its instalment and is never kept back from the money: the rule fee.kept_back refuses
that. It bears no penalty and does not make a loan past due, which asks for principal or interest. Whose
income it is says the product: ours, or that of a payee (a guarantor) for whom it is collected and owed.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from core_app.loans.schedule import Instalment, Plan
from core_app.money import round_half_up


@dataclass(frozen=True, slots=True)
class FeeRule:
    """`once_share` of the principal as drawn with period 1; `period_share` with each period.

    The latter is of the principal as drawn, or of the period's opening balance. 0.003 is 0.3 %.
    """

    once_share: Decimal = Decimal(0)
    once_own: bool = False
    period_share: Decimal = Decimal(0)
    of_opening: bool = False
    period_own: bool = False

    @property
    def free(self) -> bool:
        """Say whether there is no fee at all."""
        return not self.once_share and not self.period_share

    def once_fen(self, drawn_fen: int) -> int:
        """Return the one-off fee of a loan of so much principal."""
        return round_half_up(drawn_fen * Fraction(self.once_share))

    def charge(self, plan: Sequence[Instalment], drawn_fen: int) -> Plan:
        """Return a plan, or what is left of one, with the fee of each instalment.

        >>> import datetime as dt
        >>> line = Instalment(1, dt.date(2026, 2, 15), 92_016, 18_000)
        >>> FeeRule(Decimal("0.01"), period_share=Decimal("0.003")).charge([line], 1_200_000)[0].fee_fen
        15600
        """
        balance_fen, charged = sum(line.principal_fen for line in plan), []
        for line in plan:
            base_fen = balance_fen if self.of_opening else drawn_fen
            fee_fen = round_half_up(base_fen * Fraction(self.period_share))
            fee_fen += self.once_fen(drawn_fen) if line.period == 1 else 0
            charged.append(replace(line, fee_fen=fee_fen))
            balance_fen -= line.principal_fen
        return tuple(charged)


NO_FEES = FeeRule()


@dataclass(frozen=True, slots=True)
class Running:
    """The instalment that a day lies in: its period, the days of it, and its whole fee in fen."""

    period: int
    begins: dt.date
    due: dt.date
    fee_fen: int

    def share_by(self, day: dt.date) -> Fraction:
        """Return the part of the period that is over on `day`, from 0 to 1."""
        days = (min(day, self.due) - self.begins).days
        return Fraction(max(0, days), (self.due - self.begins).days)


@dataclass(frozen=True, slots=True)
class LoanFees:
    """The fees of one loan: the rule, and the principal it was drawn with."""

    rule: FeeRule = NO_FEES
    drawn_fen: int = 0

    def split_paid(self, before_fen: int, after_fen: int) -> tuple[int, int]:
        """Return what is ours and what is a payee's of the change of a loan's total of paid fees.

        The one-off fee is the first that is paid. ValueError when the product has no fee to pay.

        >>> rule = FeeRule(Decimal("0.01"), once_own=True, period_share=Decimal("0.003"))
        >>> LoanFees(rule, 1_200_000).split_paid(0, 15_600)
        (12000, 3600)
        """
        if after_fen == before_fen:
            return 0, 0
        if self.rule.free:
            raise ValueError(f"{after_fen - before_fen} fen of fees paid: this loan has none")
        once_fen = self.rule.once_fen(self.drawn_fen)
        first_fen = min(after_fen, once_fen) - min(before_fen, once_fen)
        rest_fen = after_fen - before_fen - first_fen
        own_fen = (first_fen if self.rule.once_own else 0) + (rest_fen if self.rule.period_own else 0)
        return own_fen, after_fen - before_fen - own_fen

    def earned_by_payoff(self, running: Running, day: dt.date) -> int:
        """Return the part of a running instalment's fee that is owed when the loan is settled on `day`.

        The one-off fee whole, the period's fee by the days of the period; later periods' fees are not owed.
        """
        once_fen = self._once_of(running.period, running.fee_fen)
        return once_fen + round_half_up((running.fee_fen - once_fen) * running.share_by(day))

    def earned_by_part(self, running: Running, prepaid_fen: int, day: dt.date) -> int:
        """Return the fee by days on principal that is prepaid, when fees are of the balance; else 0."""
        if not self.rule.of_opening:
            return 0
        return round_half_up(prepaid_fen * Fraction(self.rule.period_share) * running.share_by(day))

    def receivable_fen(self, running: Running, open_fen: int, day: dt.date) -> int:
        """Return what is earned by `day`, ours and not paid, of a fee of which `open_fen` are open.

        Earned by the days of the period, as interest is; the one-off fee with its first period.
        """
        whole_own_fen = self._own_of(running, running.fee_fen)
        earned_fen = round_half_up(whole_own_fen * running.share_by(day))
        return max(0, earned_fen - (whole_own_fen - self._own_of(running, open_fen)))

    def _once_of(self, period: int, fee_fen: int) -> int:
        return min(fee_fen, self.rule.once_fen(self.drawn_fen)) if period == 1 else 0

    def _own_of(self, running: Running, open_fen: int) -> int:
        once_fen = self._once_of(running.period, running.fee_fen)
        open_once_fen = max(0, once_fen - (running.fee_fen - open_fen))
        own_fen = open_once_fen if self.rule.once_own else 0
        return own_fen + (open_fen - open_once_fen if self.rule.period_own else 0)


NO_LOAN_FEES = LoanFees()
