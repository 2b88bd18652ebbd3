"""What the loan is: identity, price, amount, tenor, schedule, prepayment, penalty, allocation. Pure."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field

from core_app.products.parameters.shapes import (
    Count,
    Exact,
    Fen,
    Group,
    InTwoLanguages,
    Line,
    Months,
    Name,
    Names,
    Periods,
    PositiveFen,
    Share,
    SomeNames,
    told,
)

_MEASURE = "core_app.rules.measure"
_TERMS = "core_app.loans.terms"
_CATALOGUE = "core_app.products.catalogue"
_DECISION = "core_app.decisions.quote"
_PRICE = "core_app.products.price"
_TABLE = "core_app.disclosure.cost_table"


class Identity(Group):
    """Which product this is, for whom, for what."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,39}$")] = told(
        _CATALOGUE, "Id, the same in all versions."
    )
    version: Annotated[int, Field(ge=1, le=10_000, strict=True)] = told(
        _CATALOGUE, "Version, rising; a published version never changes."
    )
    name: InTwoLanguages
    valid_from: dt.date = told(_CATALOGUE, "First business day on which it is sold.")
    valid_to: dt.date | None = told(
        _CATALOGUE, "Last business day on which it is sold; absent: no end.", None
    )
    currency: Literal["CNY"] = told(_TABLE, "Currency of every amount.")
    activity: Name = told(_MEASURE, "What the business is: consumer_loan; the rules refuse others.")
    borrower: Name = told(_MEASURE, "Who borrows: natural_person; the rules refuse others.")
    collateral: Name = told(_MEASURE, "What secures the loan: none; the rules refuse others.")
    purposes: SomeNames = told(_MEASURE, "Uses of the money that are allowed; an application may name one.")
    services: Names = told(_MEASURE, "Services that come with the product.")
    regions: SomeNames = told(_MEASURE, "Where it is sold: mainland.")


class Reward(Group):
    """A lower rate for a borrower who pays on time."""

    after_periods: Count = told(_TERMS, "Periods paid on time before the cut; it starts with the next one.")
    unit: Literal["points", "relative"] = told(
        _TERMS, "points: the cut is subtracted from the rate; relative: it is a share of the rate."
    )
    cut: Share = told(_TERMS, 'The cut: "0.005" is half a point, or half a percent of the rate.')


class Fees(Group):
    """Costs besides interest. Every one of them counts for the all-in cost."""

    upfront_share: Share = told(_TERMS, "One-off fee, as a share of the principal.")
    upfront_when: Literal["draw", "first_instalment"] = told(
        _MEASURE, "Kept back at the draw, which the law refuses, or due with the first instalment.", "draw"
    )
    upfront_income: Literal["own", "payee"] = told(
        _TERMS, "Whose income it is: ours, or the payee's, for whom it is collected.", "payee"
    )
    upfront_payee: Line | None = told(_TABLE, "Who gets it; needed when there is one.", None)
    monthly_share: Share = told(_TERMS, "Guarantee, service or handling fee of each period, as a share.")
    monthly_base: Literal["original", "opening"] = told(
        _TERMS, "Of the original principal, or of the period's opening balance."
    )
    monthly_income: Literal["own", "payee"] = told(
        _TERMS, "Whose income it is: ours, or the payee's, for whom it is collected.", "payee"
    )
    monthly_payee: Line | None = told(_TABLE, "Who gets it; needed when there is one.", None)


class PriceCell(Group):
    """The rate of one segment for one term."""

    segment: Name = told(_PRICE, "Customer segment (core_app/customers/segments.yaml).")
    periods: Months = told(_PRICE, "Number of monthly periods, one of tenor.periods.")
    rate_annual: Exact = told(
        _PRICE, "Simple rate a year for that segment and term, in place of the own rate."
    )


class Pricing(Group):
    """What the loan costs."""

    rate_annual: Exact = told(_TERMS, 'Simple rate a year: "0.18" is 18 %.')
    day_count: Literal[360, 365] = told(_TERMS, "Days of a year for daily interest and penalty.")
    all_in_ceiling: Exact = told(_MEASURE, "Own ceiling of the all-in cost a year; the law may be lower.")
    ceiling_unit: Literal["simple", "compound"] = told(
        _MEASURE, "Unit in which ceiling and law are compared; which one the law means is not settled."
    )
    fees: Fees
    reward: Reward | None = None
    grid: tuple[PriceCell, ...] = ()


class Amount(Group):
    """How large one loan may be."""

    min_fen: PositiveFen = told(_DECISION, "Smallest amount of one loan, in fen.")
    max_fen: PositiveFen = told(_DECISION, "Largest amount of one loan, in fen.")
    step_fen: PositiveFen = told(_DECISION, "Amounts are multiples of this, in fen.")


class Tenor(Group):
    """How long, and when instalments fall due."""

    periods: Periods = told(_DECISION, "Numbers of monthly periods on offer, ascending.")
    first_due: Literal["same_day", "bill_day"] = told(
        _TERMS, "Instalments fall due on the day of the draw, or on one bill day for all loans."
    )
    bill_day: Annotated[int, Field(ge=1, le=28, strict=True)] | None = told(
        _TERMS, "Day of the month on which the merged bill falls due; with first_due: bill_day only.", None
    )
    first_due_min_days: Count = told(_TERMS, "Fewest days between the draw and a first bill day.")
    grace_days: Annotated[int, Field(ge=0, le=7, strict=True)] = told(
        _TERMS, "Days past due without penalty; classification counts them all the same."
    )


class ScheduleRule(Group):
    """How interest and principal are spread."""

    method: Literal["equal_instalment", "equal_principal", "interest_only", "anytime"] = told(
        _TERMS, "Equal instalments, equal principal, interest with principal at the end, or repay anytime."
    )
    interest_by: Literal["month", "day"] = told(
        _TERMS, "Interest of a period: a twelfth of the rate, or its days over pricing.day_count."
    )


class Prepayment(Group):
    """Paying before it is due."""

    modes: Names = told(_TERMS, "Of: full, keep_term, keep_instalment; none: refused until due.")
    min_fen: Fen = told(_TERMS, "Smallest principal of a partial prepayment, in fen.")
    fee_share: Share = told(_TERMS, "Fee as a share of the prepaid principal.")
    fee_free_after_periods: Count = told(_TERMS, "Periods due after which there is no fee.")
    locked_periods: Count = told(_TERMS, "Periods that must have fallen due before a prepayment.")


class PenaltyRule(Group):
    """What an overdue borrower pays on top."""

    multiple: Exact = told(_TERMS, 'Times the contract rate on what is overdue: "1.5".')
    misuse_multiple: Exact = told(_TABLE, "Times the contract rate when the money was misused.")
    base: Literal["principal", "principal_and_interest"] = told(
        _TERMS, "Overdue principal only, or overdue interest too."
    )


Order = Literal["by_instalment", "by_component", "principal_first"]


class AllocationRule(Group):
    """Which debt a repayment pays first."""

    normal: Order = told(_TERMS, "Order while the loan performs.")
    non_performing: Order = told(_TERMS, "Order once it does not.")
    non_performing_after_days: Count = told(_TERMS, "Days past due after which it does not.")
