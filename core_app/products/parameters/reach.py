"""To whom and through whom: limits, eligibility, funding, channels, risk. Pure."""

from typing import Annotated, Literal

from pydantic import Field

from core_app.products.parameters.shapes import (
    Count,
    Exact,
    Fen,
    Group,
    Hour,
    Line,
    Name,
    Names,
    PositiveFen,
    Share,
    SomeNames,
    told,
)

_MEASURE = "core_app.rules.measure"
_DECISION = "core_app.decisions.service"
_LIMITS = "core_app.limits"
_SEGMENTS = "core_app.customers.segments"
_EVIDENCE = "core_app.customers.evidence"
_FUNDING = "core_app.funding"
_STEPS = "core_app.decisions.steps"
_INQUIRY = "core_app.decisions.inquiry"

Age = Annotated[int, Field(ge=18, le=100, strict=True)]


class Limits(Group):
    """How much one customer may owe, level by level."""

    customer_fen: PositiveFen = told(_LIMITS, "Outstanding and contracted in this product, in fen.")
    revolving: bool = told(_LIMITS, "Whether repaid principal may be drawn again.")
    group: Name | None = told(_LIMITS, "Limit group shared with other products.", None)
    scene_fen: Fen | None = told(_LIMITS, "Limit of one scene, in fen.", None)
    temporary_fen: Fen = told(_LIMITS, "Largest temporary increase, in fen.")
    temporary_days: Count = told(_LIMITS, "Days a temporary increase lasts.")
    validity_months: Count = told(_LIMITS, "Months until a limit is decided anew.")
    draw_min_fen: PositiveFen = told(_LIMITS, "Smallest draw under a limit, in fen.")
    draws_per_day: Count = told(_LIMITS, "Draws a customer may make in one day.")
    open_draws: Count = told(_LIMITS, "Draws that may be open at once.")


class Eligibility(Group):
    """Who may apply."""

    min_years: Age = told(_STEPS, "Youngest age, in completed years.")
    max_years: Age = told(_STEPS, "Oldest age, in completed years.")
    segments: Names = told(_SEGMENTS, "Customer segments it is offered to; none: all.")
    income_min_fen: Fen = told(_SEGMENTS, "Lowest monthly income after tax, in fen; 0: not asked.")
    id_kinds: SomeNames = told(_EVIDENCE, "Identity documents that are accepted.")
    identity_checks: SomeNames = told(_EVIDENCE, "Evidence needed before a limit is given.")
    bureau_authorisation: bool = told(_EVIDENCE, "Whether a written authorisation of inquiry is needed.")
    cool_off_days: Count = told(_STEPS, "Days after a refusal before the next application.")


class Party(Group):
    """One funder of each loan."""

    funder: Name = told("core_app.loans.terms", "Who funds.")
    share: Share = told("core_app.rules.measure", "Share of each instalment.")
    lead: bool = told("core_app.loans.terms", "The lead carries the collected rounding; exactly one does.")


class Funding(Group):
    """Whose money it is."""

    parties: Annotated[tuple[Party, ...], Field(min_length=1, max_length=10)]
    rank_by: SomeNames = told(_FUNDING, "What the router compares funders by, in order.")
    cost_max_annual: Exact = told(_FUNDING, "Dearest money the router may take, a year.")
    reserve_minutes: Count = told(
        "core_app.funding.service",
        "Minutes after which a draw that no channel took is voided and its quota free.",
    )
    settlement_days: Count = told(_FUNDING, "Days until a business day is settled with funders.")
    guaranteed: bool = told("core_app.insight.ratios", "Whether loans count as guarantee-enhanced.")


class Channels(Group):
    """Where borrowers come from and how money moves."""

    entrances: SomeNames = told("core_app.decisions.quote", "Where it may be applied for.")
    scene: Name | None = told(_MEASURE, "Shopping scene it is sold in; absent: none.", None)
    pay_out_to: Literal["borrower", "merchant"] = told(
        "core_app.loans.merchant", "Who is paid: the borrower, or the merchant on the borrower's order."
    )
    merchant_kinds: Names = told("core_app.loans.merchant", "Merchants that may be paid.")
    pay_out_channels: SomeNames = told(
        "core_app.funding.service", "Kinds of payment channels for draws, by rank."
    )
    repay_channels: SomeNames = told("core_app.funding.debits", "Payment channels for repayments.")
    auto_debit: bool = told("core_app.funding.debits", "Whether instalments are collected when due.")
    debits_per_day: Count = told("core_app.funding.debits", "Most attempts to collect in one day.")


class Risk(Group):
    """How an application is judged."""

    models: SomeNames = told(_MEASURE, "Models that score it.")
    data_sources: SomeNames = told(_MEASURE, "Where their inputs come from.")
    steps: SomeNames = told(_DECISION, "Steps in order: pre_screen, identity, fraud, score; each may end it.")
    step_budget_ms: Count = told(_STEPS, "Time one step may take, in ms; over it the step fails.")
    bureau_timeout_ms: Count = told(_INQUIRY, "Patience with the bureau, in ms.")
    bureau_valid_days: Count = told(_INQUIRY, "Days a bureau answer may be used again.")
    score_floor: Count = told(_STEPS, "Lowest score that passes.")
    score_hysteresis: Count = told(_STEPS, "Points a score must move before the grade does.")
    night_from_hour: Hour = told(_STEPS, "Begin of the night rule, o'clock in Shanghai.")
    night_until_hour: Hour = told(_STEPS, "End of the night rule, o'clock in Shanghai.")
    window_minutes: Count = told(_STEPS, "Window in which applications per device and address count.")
    window_applications: Count = told(_STEPS, "Applications per device or address in that window.")


class Accounting(Group):
    """How the loan stands in the books."""

    loan_class: Line = told("core_app.ledger.dimensions", "Accounting class, for dimensions of entries.")
    accrue: Literal["daily", "on_due"] = told("core_app.day_end.terms", "When interest is booked.")
    non_accrual_after_days: Count = told(
        "core_app.day_end.terms", "Days past due after which interest leaves the balance sheet."
    )
    dimensions: SomeNames = told("core_app.ledger.dimensions", "Dimensions each entry carries.")
    write_off_after_days: Count = told("core_app.loans.write_off", "Days past due before a write-off.")
