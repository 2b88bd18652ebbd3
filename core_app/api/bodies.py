"""Request bodies and answers as the OpenAPI document shows them. Pure.

Requests are strict: an amount is a JSON integer (not 1.0, "100" or true), unknown fields are
refused, and texts hold no control characters and no lone surrogates.
"""

import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from core_app.money import MAX_FEN

REQUEST = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


def _refuse_control_characters(text: str) -> str:
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise ValueError("needs a text without control characters")
    return text


Text = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_refuse_control_characters)]
Purpose = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,63}$")]
Province = Annotated[str, Field(pattern=r"^[1-9][0-9]$")]
Sm3 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Reference = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{4,64}$")]
AmountFen = Annotated[int, Field(gt=0, le=MAX_FEN, description="Amount in fen (1/100 yuan).")]


class CustomerRequest(BaseModel):
    """A person to register; the same person always gets the same id."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [{"name": "张三", "id_number": "11010519491231002X", "phone": "13800138000"}]
        }
    )
    name: Text = Field(description="Full name.")
    id_number: Text = Field(description="18-character resident ID number (GB 11643).")
    phone: Text = Field(description="Mainland mobile number, with or without +86.")


class DeviceEvidence(BaseModel):
    """Where an application came from. Kept as keyed indexes only: counted and compared, never read."""

    model_config = REQUEST
    device: Text | None = Field(default=None, description="Id of the device, as the app's SDK has it.")
    wifi: Text | None = Field(default=None, description="BSSID of the WiFi it is in.")
    ip: Text | None = Field(default=None, description="IP address; of IPv6 the /64 counts.")
    address: Text | None = Field(default=None, description="Home or delivery address.")


class PartnerScoreRequest(BaseModel):
    """The score that a partner bank's own model gave, as a versioned input of our scorecards."""

    model_config = REQUEST
    partner: Purpose = Field(description="Id of the partner bank.")
    version: Reference = Field(description="Version of its model, kept with the decision.")
    score: int = Field(ge=0, le=1000)


class ApplicationRequest(BaseModel):
    """What a customer applies for."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customer_id": "C0123456789abcdef01234567",
                    "product": "instalment-12",
                    "amount_fen": 1200000,
                    "periods": 12,
                }
            ]
        }
    )
    customer_id: Text = Field(description="As answered by POST /v1/customers.")
    product: Text = Field(description="Id of a product on offer.")
    amount_fen: AmountFen
    periods: int = Field(gt=0, le=60, description="Months; one of the product's.")
    purpose: Purpose | None = Field(default=None, description="Use of the money, one of the product's.")
    channel: Purpose | None = Field(
        default=None, description="Entrance it came by, one of the product's; a dimension of the ledger."
    )
    region: Province | None = Field(
        default=None, description="Province it came from (GB/T 2260); absent: that of the ID number."
    )
    bureau_authorisation: Reference | None = Field(
        default=None, description="Id of the written authorisation; the bureau is asked only with one."
    )
    partner_score: PartnerScoreRequest | None = Field(
        default=None, description="A partner bank's score; a scorecard may weigh it as `partner.score`."
    )
    evidence: DeviceEvidence | None = Field(default=None, description="Device evidence, as far as known.")
    monthly_income_fen: AmountFen | None = Field(
        default=None,
        description="Mean monthly income after tax, in fen; asked for by some products, not kept.",
    )


class QuoteRequest(BaseModel):
    """A loan to be priced."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"product": "instalment-12", "amount_fen": 1200000, "periods": 12}]}
    )
    product: Text = Field(description="Id of a product on offer.")
    amount_fen: AmountFen
    periods: int = Field(gt=0, le=60, description="Months; one of the product's.")
    purpose: Purpose | None = Field(default=None, description="Use of the money, one of the product's.")
    customer_id: Text | None = Field(
        default=None, description="Whose segment prices it; absent: the product's rate for everybody."
    )
    coupon_id: Text | None = Field(default=None, description="A coupon of the customer, to show its worth.")


class ContractRequest(BaseModel):
    """The approved application to sign for."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"application_id": "A1f3-0123456789abcdef0123456789abcdef"}]}
    )
    application_id: Text = Field(description="As answered by POST /v1/applications.")
    cost_table_sm3: Sm3 | None = Field(
        default=None, description="The cost table that the borrower confirmed, by its hash."
    )
    cost_table_read_seconds: int = Field(
        default=0, ge=0, le=86_400, description="How long it was shown, as the channel's page measured."
    )


class MerchantRequest(BaseModel):
    """The merchant whose order is paid for the borrower."""

    model_config = REQUEST
    merchant_id: Text
    kind: Purpose = Field(description="Kind of merchant, one of the product's.")
    order_id: Text = Field(description="The merchant's order; it is paid once.")


class DrawRequest(BaseModel):
    """The contract to pay out."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={"examples": [{"contract_id": "K1f3-0123456789abcdef0123456789abcdef"}]}
    )
    contract_id: Text = Field(description="As answered by POST /v1/contracts.")
    amount_fen: AmountFen | None = Field(
        default=None, description="Under a line: how much to draw. Else all of the contract."
    )
    merchant: MerchantRequest | None = Field(default=None, description="Who is paid, in a shopping scene.")


class RepaymentRequest(BaseModel):
    """An amount paid on a loan; at most what is outstanding."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [{"loan_id": "L1f3-0123456789abcdef0123456789abcdef", "amount_fen": 110016}]
        }
    )
    loan_id: Text = Field(description="As answered by POST /v1/draws.")
    amount_fen: AmountFen
    coupon_id: Text | None = Field(
        default=None,
        description="A coupon of the borrower that pays a part of the interest; in cash comes the rest.",
    )


class CustomerAnswer(BaseModel):
    """A registered customer and the cell their data live in."""

    customer_id: str
    cell: str


class MaskedCustomer(BaseModel):
    """A customer with personal data masked."""

    customer_id: str
    cell: str
    name: str = Field(examples=["张*"])
    id_number: str = Field(examples=["110***********002X"])
    phone: str = Field(examples=["138****8000"])


class ReasonAnswer(BaseModel):
    """A rule that refused, the value it looked at, the limit it has; of the law also day and source."""

    rule: str = Field(examples=["cfc.line"])
    value: int | str
    limit: str = Field(examples=["<= 20000000 fen"])
    on: str | None = Field(default=None, examples=["2026-01-15"])
    source: str | None = None


class PriceAnswer(BaseModel):
    """The rate, and where it comes from: a cell of the published grid, or the product's own rate."""

    rate_annual: str = Field(examples=["0.16"])
    segment: str | None = Field(description="The segment that it is the price of; null: everybody's.")
    grid: str = Field(description="Product and version that publish it.", examples=["instalment-12 v2"])
    path: str = Field(examples=["pricing.grid.0.rate_annual"])
    why: dict[str, str]


class ApplicationAnswer(BaseModel):
    """The decision; `limit_fen` is the largest single loan the customer could have now."""

    application_id: str
    decision: str = Field(examples=["approved", "refused"])
    reasons: list[ReasonAnswer]
    limit_fen: int
    price: PriceAnswer
    cost_table: dict[str, Any] = Field(description="What the borrower is shown before signing.")
    cost_table_sm3: str = Field(description="SM3 of its canonical JSON, in hex.")


class InstalmentAnswer(BaseModel):
    """One line of a schedule."""

    period: int
    due: str = Field(examples=["2026-02-15"])
    principal_fen: int
    interest_fen: int
    fee_fen: int = Field(default=0, description="Fees that fall due with it, one-off and of the period.")
    total_fen: int


class CouponWorthAnswer(BaseModel):
    """What a coupon takes off the first repayment; null for a loan repaid anytime, where it depends."""

    coupon_id: str
    kind: str = Field(examples=["fifty_off"])
    discount_fen: int | None
    annual_cost_simple: str | None = Field(examples=["0.1712"])
    annual_cost_compound: str | None = Field(examples=["0.1853"])
    note: dict[str, str]


class QuoteAnswer(BaseModel):
    """The price of a loan drawn today; a loan repaid anytime has no schedule."""

    product: str
    product_version: int
    price: PriceAnswer
    schedule: list[InstalmentAnswer]
    annual_cost_simple: str = Field(examples=["0.1800"])
    annual_cost_compound: str = Field(examples=["0.1956"])
    coupon: CouponWorthAnswer | None = Field(
        default=None, description="Only where a coupon was asked for; the cost above is without it."
    )
    cost_table: dict[str, Any]
    cost_table_sm3: str


class ContractAnswer(BaseModel):
    """A signed contract; the schedule is that of a draw on the signing day."""

    contract_id: str
    application_id: str
    customer_id: str
    product: str
    product_version: int
    amount_fen: int
    periods: int
    rate_annual: str = Field(examples=["0.18"])
    cost_table_sm3: str
    schedule: list[InstalmentAnswer]


class DrawAnswer(BaseModel):
    """A loan just paid out; `balance_fen` is open principal, `outstanding_fen` adds interest and fees."""

    loan_id: str
    contract_id: str
    customer_id: str
    balance_fen: int
    outstanding_fen: int
    next_due: str


class RepaymentAnswer(BaseModel):
    """How a repayment was split; `balance_fen` is the open principal after it."""

    repayment_id: str
    interest_fen: int
    principal_fen: int
    penalty_fen: int
    fee_fen: int = 0
    balance_fen: int
    coupon_id: str | None = Field(default=None, description="The coupon that was used, where one was.")
    discount_fen: int | None = Field(default=None, description="What it paid of the interest.")
    cash_fen: int | None = Field(default=None, description="What the borrower pays: the rest.")


class LoanAnswer(BaseModel):
    """Where a loan stands."""

    loan_id: str
    customer_id: str
    status: str = Field(examples=["active", "settled", "written_off"])
    drawn_on: str
    principal_fen: int
    balance_fen: int
    outstanding_fen: int
    penalty_fen: int = Field(description="Penalty interest that is open.")
    days_past_due: int
    next_due: str | None
    next_due_fen: int
    as_of: str = Field(description="Business date of these figures.", examples=["2026-03-25"])


class PartAnswer(BaseModel):
    """One funder's part of one instalment."""

    period: int
    principal_fen: int
    interest_fen: int


class FunderAnswer(BaseModel):
    """One funder of a loan; the lead stands last and carries the collected rounding."""

    funder: str = Field(examples=["bank_east", "own"])
    share: str = Field(examples=["0.7"])
    principal_fen: int
    interest_fen: int
    instalments: list[PartAnswer]


class PayoutAnswer(BaseModel):
    """Where the payout of a draw stands; unknown: its channel is being asked, nobody else is."""

    state: str = Field(examples=["ordered", "sent", "unknown", "paid", "failed"])
    channel: str | None
    amount_fen: int
    note: str
    voided: bool = Field(description="Taken back: no channel paid it, nothing is owed.")


class FundingAnswer(BaseModel):
    """Whose money a loan is, and how it gets to the borrower."""

    loan_id: str
    funders: list[FunderAnswer]
    payout: PayoutAnswer | None


class LoanSummaryAnswer(LoanAnswer):
    """Where a loan stood, for showing only; `age_ms` says how old that knowledge is."""

    source: str = Field(examples=["cache", "primary"])
    version: int = Field(description="Rises with each change of the loan within an epoch.")
    changed_at: str = Field(description="When the change that made this state began.")
    age_ms: int = Field(
        description="How long ago the local copy was last known to hold everything; 0 from the primary."
    )


class FieldProblemAnswer(BaseModel):
    """One bad field of a request."""

    path: str = Field(examples=["body.amount_fen"])
    found: str
    needed: str


class RuleAnswer(BaseModel):
    """A rule that refused: its id, what was found, its limit, the day it was asked for, its source."""

    rule: str = Field(examples=["cap.all_in"])
    found: str = Field(examples=["0.2425"])
    limit: str = Field(examples=["<= 0.24 share a year"])
    on: str = Field(examples=["2026-01-15"])
    source: str


class ProblemAnswer(BaseModel):
    """An error as RFC 9457 has it; `outcome` only with 503: not_done is safe, unknown needs a repeat.

    `rules` only where rules of the law or the product refused it.
    """

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblemAnswer]
    rules: list[RuleAnswer] | None = None
    outcome: str | None = Field(default=None, examples=["not_done", "unknown"])
