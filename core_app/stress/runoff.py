"""Cash day by day while nothing new is lent: what comes in by contract, what has to be paid out. Pure.

Only loans that are not past due bring cash. Every 30 days a share of what is not due yet is prepaid, and as
much less falls due later. Everything is exact (`Fraction`) until each day's cash is the difference of two
rounded sums, so that what is rounded up one day is missing another and nothing is lost or made.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from core_app.money import round_half_up
from core_app.stress.scenario import Finance, Scenario

STEP_DAYS = 30
"""Prepayment, dearer funding and liquidity go in steps of so many days. Source: G22, liquidity in 30 days."""
_DAYS_OF_YEAR = 365


@dataclass(frozen=True, slots=True)
class Flow:
    """What falls due on a day of a product in a province: our part, of loans not past due."""

    product: str
    region: str
    on: dt.date
    principal_fen: int
    interest_fen: int


@dataclass(frozen=True, slots=True)
class CashDay:
    """One day's cash, in fen; `balance_fen` is None when nobody stated what there was."""

    on: dt.date
    principal_fen: int
    interest_fen: int
    out_fen: int
    net_fen: int
    """Since the evening, this day included."""
    balance_fen: int | None


@dataclass(frozen=True, slots=True)
class Runoff:
    """The days of the horizon; principal that falls due after it; what the liquidity ratio asks for.

    `due_30_fen` and `dearer_fen` (over the horizon) are None when finance stated no funding.
    """

    days: tuple[CashDay, ...]
    later_principal_fen: int
    inflow_30_fen: int
    due_30_fen: int | None
    dearer_fen: int | None

    @property
    def months(self) -> tuple[CashDay, ...]:
        """Return the days added up by calendar month, each dated its last day within the horizon."""
        found: list[CashDay] = []
        for day in self.days:
            last = found[-1] if found else None
            if last is None or (last.on.year, last.on.month) != (day.on.year, day.on.month):
                found.append(day)
            else:
                came = last.principal_fen + day.principal_fen, last.interest_fen + day.interest_fen
                found[-1] = CashDay(day.on, *came, last.out_fen + day.out_fen, day.net_fen, day.balance_fen)
        return tuple(found)

    @property
    def lowest(self) -> CashDay:
        """Return the first of the days with the least cash."""
        return min(self.days, key=lambda one: one.net_fen)

    @property
    def first_short(self) -> CashDay | None:
        """Return the first day with less than nothing; None: there is none, or cash is unknown."""
        return next((one for one in self.days if one.balance_fen is not None and one.balance_fen < 0), None)


@dataclass(slots=True)
class _Sum:
    """Turns exact amounts into fen by cumulative difference."""

    exact: Fraction = Fraction(0)
    fen: int = 0

    def add(self, exact: Fraction) -> int:
        self.exact += exact
        before, self.fen = self.fen, round_half_up(self.exact)
        return self.fen - before


def run_off(
    flows: Sequence[Flow], scenario: Scenario, finance: Finance | None, start: tuple[dt.date, int, int]
) -> Runoff:
    """Return the cash of each day; `start` is the evening, what is owed at once, and committed."""
    evening, owed, committed = start
    principal, interest = _plan(flows, scenario, evening)
    later = sum(principal[scenario.horizon_days :], Fraction(0))
    out = _pay_out(scenario, finance, start)
    net, balance = 0, finance.cash_fen if finance is not None else None
    paid, earned, days, left = _Sum(), _Sum(), [], sum(principal, Fraction(0))
    kept, prepaid = Fraction(1), Fraction(scenario.prepaid_per_30_days)
    for number in range(scenario.horizon_days):
        left -= principal[number]
        comes = kept * principal[number]
        earns = kept * interest[number]
        if (number + 1) % STEP_DAYS == 0:
            comes += kept * prepaid * left
            kept *= 1 - prepaid
        day = evening + dt.timedelta(days=number + 1)
        ours, theirs = paid.add(comes), earned.add(earns)
        net += ours + theirs - out[number]
        at = None if balance is None else balance + net
        days.append(CashDay(day, ours, theirs, out[number], net, at))
    stated = finance.funding if finance is not None else None
    last = evening + dt.timedelta(days=STEP_DAYS)
    drawn = round_half_up(committed * Fraction(scenario.commitments_drawn))
    return Runoff(
        tuple(days),
        round_half_up(kept * later),
        sum(day.principal_fen + day.interest_fen for day in days[:STEP_DAYS]),
        None if stated is None else owed + drawn + sum(one.fen for one in stated if one.on <= last),
        None if stated is None else sum(_dearer(scenario, finance, evening)),
    )


def _plan(
    flows: Sequence[Flow], scenario: Scenario, evening: dt.date
) -> tuple[list[Fraction], list[Fraction]]:
    """Return principal and interest by day, defaults taken off; as long as the last flow."""
    last = max([(flow.on - evening).days for flow in flows] + [scenario.horizon_days])
    principal, interest = [Fraction(0)] * last, [Fraction(0)] * last
    for flow in flows:
        stays = Fraction(1)
        for default in scenario.defaults:
            here = not default.products or flow.product in default.products
            if default.of == "normal" and here and (not default.regions or flow.region in default.regions):
                stays *= 1 - Fraction(default.share)
        place = max(0, (flow.on - evening).days - 1)
        principal[place] += stays * flow.principal_fen
        interest[place] += stays * flow.interest_fen
    return principal, interest


def _pay_out(scenario: Scenario, finance: Finance | None, start: tuple[dt.date, int, int]) -> list[int]:
    """Return what is paid on each day: debts due at once on the first, commitments spread over a step."""
    evening, owed, committed = start
    out = [0] * scenario.horizon_days
    out[0] += owed
    spread = _Sum()
    for number in range(STEP_DAYS):
        out[number] += spread.add(Fraction(scenario.commitments_drawn) * committed / STEP_DAYS)
    for due in (finance.funding if finance is not None else None) or ():
        place = max(0, (due.on - evening).days - 1)
        if place < len(out):
            out[place] += round_half_up(due.fen * Fraction(scenario.funding.not_renewed))
    for step, fen in enumerate(_dearer(scenario, finance, evening)):
        out[min(len(out), (step + 1) * STEP_DAYS) - 1] += fen
    return out


def _dearer(scenario: Scenario, finance: Finance | None, evening: dt.date) -> Iterator[int]:
    """Yield what funding costs more in each step of the horizon, on what is owed when the step begins."""
    stated = (finance.funding if finance is not None else None) or ()
    for begins in range(0, scenario.horizon_days, STEP_DAYS):
        days = min(STEP_DAYS, scenario.horizon_days - begins)
        owed = Fraction(0)
        for due in stated:
            renewed = (due.on - evening).days <= begins
            owed += due.fen * (1 - Fraction(scenario.funding.not_renewed) if renewed else 1)
        yield round_half_up(owed * Fraction(scenario.funding.dearer_annual) * days / _DAYS_OF_YEAR)
