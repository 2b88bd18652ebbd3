"""A lower rate for borrowers who pay on time: schedule version 2 from the next period. Pure."""

import datetime as dt
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from core_app.loans.prepayment import renumber
from core_app.loans.schedule import Instalment, Plan, PlanRule, Terms, plan_schedule


class CutUnit(enum.StrEnum):
    """A cut in points is subtracted from the rate (18 % to 17.5 %), a relative one is a share of it."""

    POINTS = "points"
    RELATIVE = "relative"


@dataclass(frozen=True, slots=True)
class RewardRule:
    """After so many periods paid on time, the rate falls by the cut."""

    after_periods: int
    unit: CutUnit
    cut: Decimal

    def lower(self, rate_annual: Decimal) -> Decimal:
        """Return the lowered rate, never below zero.

        >>> RewardRule(6, CutUnit.RELATIVE, Decimal("0.005")).lower(Decimal("0.18"))
        Decimal('0.17910')
        """
        cut = self.cut if self.unit is CutUnit.POINTS else rate_annual * self.cut
        return max(Decimal(0), rate_annual - cut)


def plan_reward(plan: Sequence[Instalment], rate_annual: Decimal, reward: RewardRule, rule: PlanRule) -> Plan:
    """Return the instalments that take the place of those after `reward.after_periods`.

    The caller has seen all periods up to there paid on time. Empty when none is left; those that are left
    stay as they are when no principal is (a loan of fewer fen than periods).
    """
    paid, left = plan[: reward.after_periods], plan[reward.after_periods :]
    if not left:
        return ()
    if not paid:
        raise ValueError("a reward after no period: needs after_periods >= 1")
    return plan_reward_from(left, (paid[-1].due, rate_annual), reward, rule)


def plan_reward_from(
    left: Sequence[Instalment], priced: tuple[dt.date, Decimal], reward: RewardRule, rule: PlanRule
) -> Plan:
    """Return the instalments that take the place of `left`, none of which is paid.

    `priced` is the day from which their interest runs, and the rate they were planned at.
    """
    begins, rate_annual = priced
    balance_fen = sum(line.principal_fen for line in left)
    if not balance_fen:
        return tuple(left)
    terms = Terms(balance_fen, reward.lower(rate_annual), len(left))
    return renumber(plan_schedule(terms, begins, rule), left)
