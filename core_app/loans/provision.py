"""Loan-loss provisions and their coverage of non-performing loans. Pure."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from core_app.loans.classification import AssetClass
from core_app.money import round_half_up
from core_app.rules.legal import Rulebook

_NON_PERFORMING = (AssetClass.SUBSTANDARD, AssetClass.DOUBTFUL, AssetClass.LOSS)


@dataclass(frozen=True, slots=True)
class ProvisionRates:
    """Shares of the balance: `general` of all loans, `specific` by class; `coverage_min` is 1.5 for 150 %."""

    general: Decimal
    specific: Mapping[AssetClass, Decimal]
    coverage_min: Decimal
    coverage_min_npl60: Decimal


@dataclass(frozen=True, slots=True)
class Provision:
    """What has to be set aside, in fen, and how far it covers the non-performing loans."""

    general_fen: int
    specific_fen: Mapping[AssetClass, int]
    npl_fen: int

    @property
    def total_fen(self) -> int:
        """Return general and specific provisions together."""
        return self.general_fen + sum(self.specific_fen.values())

    @property
    def coverage(self) -> Fraction | None:
        """Return provisions over non-performing loans; None when there are none of those."""
        return Fraction(self.total_fen, self.npl_fen) if self.npl_fen else None

    def covers(self, minimum: Decimal) -> bool:
        """Say whether the coverage reaches `minimum`; without non-performing loans it does."""
        return self.coverage is None or self.coverage >= Fraction(minimum)


def read_provision_rates(rulebook: Rulebook, day: dt.date) -> ProvisionRates:
    """Return the rates in force on `day`; a normal loan has the general provision only."""
    worse = tuple(AssetClass)[1:]
    return ProvisionRates(
        rulebook.value("provision.general", day),
        {name: rulebook.value(f"provision.{name}", day) for name in worse},
        rulebook.value("coverage.min", day),
        rulebook.value("coverage.min.npl60", day),
    )


def compute_provision(balances_fen: Mapping[AssetClass, int], rates: ProvisionRates) -> Provision:
    """Return the provision on balances by class."""
    return Provision(
        round_half_up(sum(balances_fen.values()) * Fraction(rates.general)),
        {
            name: round_half_up(balances_fen.get(name, 0) * Fraction(rate))
            for name, rate in rates.specific.items()
        },
        sum(balances_fen.get(name, 0) for name in _NON_PERFORMING),
    )
