"""What a product document may say, and the checks between its fields. Pure."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from core_app.disclosure.annual_cost import AnnualCost, compute_annual_cost
from core_app.loans.schedule import Terms, plan_equal_instalments
from core_app.money import MAX_FEN, round_half_up

_STRICT = ConfigDict(extra="forbid", frozen=True)


def _need_text(value: object) -> object:
    if not isinstance(value, (str, Decimal)):
        raise ValueError('needs a decimal in quotes, such as "0.18": a YAML number would be inexact')
    return value


def _need_ascending(periods: tuple[int, ...]) -> tuple[int, ...]:
    if list(periods) != sorted(set(periods)):
        raise ValueError("needs ascending, distinct numbers of months")
    return periods


Exact = Annotated[Decimal, BeforeValidator(_need_text), Field(ge=0, le=10, decimal_places=8)]
Fen = Annotated[int, Field(strict=True, ge=0, le=MAX_FEN)]


class ProductName(BaseModel):
    """What the product is called."""

    model_config = _STRICT
    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)


class AmountRange(BaseModel):
    """Smallest and largest amount of one loan, in fen."""

    model_config = _STRICT
    min_fen: Annotated[Fen, Field(gt=0)]
    max_fen: Annotated[Fen, Field(gt=0)]


class AgeRange(BaseModel):
    """Ages that may apply, in completed years, both ends included."""

    model_config = _STRICT
    min_years: int = Field(ge=18, le=100, strict=True)
    max_years: int = Field(ge=18, le=100, strict=True)


class Fees(BaseModel):
    """Costs besides interest, as shares of the original principal."""

    model_config = _STRICT
    upfront_share: Exact = Decimal(0)
    guarantee_monthly_share: Exact = Decimal(0)


class Product(BaseModel):
    """One version of one product, as its document says."""

    model_config = _STRICT

    id: str = Field(pattern=r"^[a-z][a-z0-9-]{2,39}$")
    version: int = Field(ge=1, strict=True)
    name: ProductName
    valid_from: dt.date
    currency: Literal["CNY"]
    repayment: Literal["equal_instalment"]
    rate_annual: Exact
    amount: AmountRange
    periods: Annotated[
        tuple[Annotated[int, Field(ge=1, le=60, strict=True)], ...],
        Field(min_length=1),
        AfterValidator(_need_ascending),
    ]
    limit_per_customer_fen: Annotated[Fen, Field(gt=0)]
    age: AgeRange
    penalty_multiple: Exact
    day_count: Literal[360, 365]
    fees: Fees
    all_in_ceiling: Exact


def compute_all_in_cost(product: Product, periods: int) -> AnnualCost:
    """Return the all-in cost of the product's largest loan over `periods`, every fee included."""
    principal_fen = product.amount.max_fen
    fee_fen = round_half_up(principal_fen * product.fees.guarantee_monthly_share)
    kept_back_fen = round_half_up(principal_fen * product.fees.upfront_share)
    # The plan's dates do not matter here: months are equal in the legal formula.
    plan = plan_equal_instalments(Terms(principal_fen, product.rate_annual, periods), product.valid_from)
    payments = [instalment.total_fen + fee_fen for instalment in plan]
    return compute_annual_cost(principal_fen - kept_back_fen, payments)
