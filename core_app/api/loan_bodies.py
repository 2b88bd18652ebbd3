"""Bodies and answers of what happens to a loan once drawn: prepaid, billed, reversed, written off. Pure."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from core_app.api.bodies import REQUEST, AmountFen, InstalmentAnswer, Reference, RepaymentAnswer, Text

Reason = Annotated[str, Field(pattern=r"^[a-z][a-z_]{1,39}$")]


class PrepaymentRequest(BaseModel):
    """A loan paid before it is due: in full, or a part that keeps the term or keeps the instalment."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "loan_id": "L1f3-0123456789abcdef0123456789abcdef",
                    "mode": "keep_term",
                    "amount_fen": 300000,
                }
            ]
        }
    )
    loan_id: Text = Field(description="As answered by POST /v1/draws.")
    mode: Literal["full", "keep_term", "keep_instalment"]
    amount_fen: AmountFen = Field(
        description="In full: the total of GET /v1/loans/{loan_id}/payoff. Else the principal to prepay."
    )


class BillRepaymentRequest(BaseModel):
    """One amount paid on a customer's bill; at most what is open of it."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customer_id": "C0123456789abcdef01234567",
                    "product": "bill-small-ticket",
                    "amount_fen": 30000,
                }
            ]
        }
    )
    customer_id: Text = Field(description="As answered by POST /v1/customers.")
    product: Text = Field(description="Id of a product whose tickets are merged.")
    amount_fen: AmountFen


class ReversalRequest(BaseModel):
    """A repayment to take back."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [{"repayment_id": "R1f3-0123456789abcdef0123456789abcdef", "reason": "bounced_debit"}]
        }
    )
    repayment_id: Text = Field(description="As answered by POST /v1/repayments.")
    reason: Reason


class WriteOffRequest(BaseModel):
    """A loan to write off."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [{"loan_id": "L1f3-0123456789abcdef0123456789abcdef", "reason": "uncollectable"}]
        }
    )
    loan_id: Text = Field(description="As answered by POST /v1/draws.")
    reason: Reason


class DebitAgreementRequest(BaseModel):
    """The agreement by which a customer's instalments are collected when due, or its end."""

    model_config = REQUEST | ConfigDict(
        json_schema_extra={
            "examples": [{"customer_id": "C0123456789abcdef01234567", "agreement": "AGR-20260115-0001"}]
        }
    )
    customer_id: Text = Field(description="As answered by POST /v1/customers.")
    agreement: Reference | None = Field(
        default=None,
        description="The channel's number of the bound account, never the account's own; absent: it ends.",
    )


class DebitAgreementAnswer(BaseModel):
    """What holds from now on; an order that is under way is not called back."""

    customer_id: str
    agreed_on: str
    active: bool


class PayoffAnswer(BaseModel):
    """What settles a loan on the day `as_of`."""

    loan_id: str
    as_of: str
    penalty_fen: int
    interest_fen: int
    principal_fen: int
    fee_fen: int = Field(description="All fees: of instalments, and for prepaying.")
    prepayment_fee_fen: int = Field(default=0, description="The part of `fee_fen` that is for prepaying.")
    total_fen: int


class RateChangeAnswer(BaseModel):
    """A lower rate, as the borrower was shown it; the SM3 is of the canonical document."""

    loan_id: str
    rate_before: str
    rate_after: str
    from_period: int
    begins: str
    interest_saved_fen: int
    schedule: list[InstalmentAnswer]
    why: dict[str, str]
    document_sm3: str


class RateChangesAnswer(BaseModel):
    """Every change of a loan's rate, oldest first."""

    loan_id: str
    changes: list[RateChangeAnswer]


class PrepaymentAnswer(BaseModel):
    """What a prepayment booked, and the plan that is left."""

    repayment_id: str
    penalty_fen: int
    interest_fen: int
    principal_fen: int
    fee_fen: int = Field(description="All fees: of instalments, and for prepaying.")
    prepayment_fee_fen: int = Field(default=0, description="The part of `fee_fen` that is for prepaying.")
    total_fen: int
    balance_fen: int
    schedule: list[InstalmentAnswer]


class BillAnswer(BaseModel):
    """A customer's newest bill: all tickets of a product, one amount, one due date."""

    customer_id: str
    product: str
    made_on: str
    due: str
    amount_fen: int = Field(description="As the bill was made.")
    tickets: int
    open_fen: int = Field(description="What is still open of it now.")


class BillPartAnswer(RepaymentAnswer):
    """What a payment of a bill paid on one of its loans."""

    loan_id: str
    amount_fen: int


class BillRepaymentAnswer(BaseModel):
    """A bill paid, in full or in part: one repayment a loan."""

    repayments: list[BillPartAnswer]
    open_fen: int
    due: str


class ReversalAnswer(BaseModel):
    """A repayment taken back; `corrected` later ones were split anew."""

    repayment_id: str
    corrected: int
    balance_fen: int
    outstanding_fen: int


class WriteOffAnswer(BaseModel):
    """A loan that left the books; the debt stays."""

    loan_id: str
    principal_fen: int
    days_past_due: int
    written_off_on: str
