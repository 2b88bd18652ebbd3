"""Fees of instalments: planned, paid in order, ours or a payee's, earned by days; money is conserved."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy_financial as npf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.disclosure.charges import compute_charges
from core_app.funding.service import LoanShares
from core_app.funding.shares import Paid, Share
from core_app.ledger.posting import Account, Event
from core_app.loans.allocation import (
    Allocation,
    Due,
    Order,
    OrderRule,
    PenaltyTerms,
    allocate_each,
    sum_parts,
)
from core_app.loans.fees import FeeRule, LoanFees, Running
from core_app.loans.loan import Loan, make_loan, pay_loan, plan_columns
from core_app.loans.payoff import Whole, after_prepayment, plan_part, plan_payoff
from core_app.loans.prepayment import Mode
from core_app.loans.replay import Contract, Repaid, Reversed, replay
from core_app.loans.schedule import Plan, Terms, plan_equal_instalments
from core_app.loans.standing import find_days_past_due, make_lines
from core_app.loans.store import new_row
from core_app.loans.terms import fee_rule, loan_terms, plan_loan
from core_app.products.check import judge_product
from core_app.products.model import Product
from core_app.rules.read import read_rulebook
from tests.unit.core_app.product_documents import START, make_product

PRINCIPAL_FEN = 1_200_000
PLAN = plan_equal_instalments(Terms(PRINCIPAL_FEN, Decimal("0.18"), 12), START)
ORIGINAL = {"monthly_share": "0.003", "monthly_payee": "guarantor"}
OPENING = ORIGINAL | {"monthly_base": "opening"}
ONCE = {"upfront_share": "0.01", "upfront_payee": "us", "upfront_income": "own"}

shares = st.integers(0, 50).map(lambda permille: Decimal(permille) / 1000)
rules = st.builds(FeeRule, shares, st.booleans(), shares, st.booleans(), st.booleans())
orders = st.builds(OrderRule, st.sampled_from(Order), st.sampled_from(Order), st.integers(0, 120))
payments = st.lists(
    st.tuples(st.dates(START, dt.date(2026, 12, 31)), st.integers(1, 120_000)), min_size=1, max_size=8
)


def product_with(**fees: str) -> Product:
    return make_product({f"pricing.fees.{name}": value for name, value in fees.items()})


def drawn(product: Product, on: dt.date = START, plan: Plan | None = None) -> Loan:
    """Return a loan of 12,000 yuan as it is read on a day, nothing paid."""
    plan = plan or plan_loan(product, loan_terms(product, PRINCIPAL_FEN, 12), START)
    columns: dict[str, Any] = plan_columns(plan, START) | {
        "day": START,
        "contract_id": "K",
        "customer_id": "C",
        "product": product.id,
        "product_version": 1,
        "rate_annual": product.pricing.rate_annual,
        "principal_fen": PRINCIPAL_FEN,
        "interest_fen": sum(line.interest_fen for line in plan),
        "fee_fen": sum(line.fee_fen for line in plan),
        "anytime": False,
        "interest_to": None,
    }
    return make_loan("L", replace(new_row(columns), today=on), product, 100)


def paid_up_to(product: Product, periods: int, on: dt.date) -> tuple[Loan, Whole]:
    """Return a loan whose first instalments were paid when due, and its whole plan."""
    plan = plan_loan(product, loan_terms(product, PRINCIPAL_FEN, 12), START)
    loan = drawn(product, START)
    row = replace(
        loan.row,
        today=on,
        principal_paid_fen=sum(line.principal_fen for line in plan[:periods]),
        interest_paid_fen=sum(line.interest_fen for line in plan[:periods]),
        fee_paid_fen=sum(line.fee_fen for line in plan[:periods]),
        open_period=periods + 1,
    )
    names = ("periods", "begins", "dues", "principals", "interests", "principals_before", "interests_before")
    more = ("fen_days", "counted_to", "penalties_paid", "fees", "fees_before")
    row = replace(row, **{name: getattr(row, name)[periods:] for name in (*names, *more)})
    return make_loan("L", row, product, 100), Whole(plan, START)


def test_a_guarantee_fee_of_the_original_principal_is_thirty_six_yuan_a_period() -> None:
    plan = compute_charges(product_with(**ORIGINAL), PRINCIPAL_FEN, 12, START).plan
    assert [line.fee_fen for line in plan] == [3_600] * 12
    assert [line.total_fen for line in plan] == [113_616] * 11 + [113_619]


def test_a_fee_of_the_opening_balance_falls_with_it() -> None:
    plan = compute_charges(product_with(**OPENING), PRINCIPAL_FEN, 12, START).plan
    assert [line.fee_fen for line in plan[:4]] == [3_600, 3_324, 3_044, 2_759]
    assert sum(line.fee_fen for line in plan) == 24_039


def test_a_one_off_fee_falls_due_with_the_first_instalment_and_costs_what_a_library_says() -> None:
    product = product_with(**ORIGINAL, **ONCE, upfront_when="first_instalment")
    charges = compute_charges(product, PRINCIPAL_FEN, 12, START)
    assert [line.fee_fen for line in charges.plan] == [15_600] + [3_600] * 11
    assert (charges.paid_out_fen, charges.upfront_fen, charges.monthly_fees_fen) == (
        1_200_000,
        12_000,
        43_200,
    )
    monthly = npf.irr([-charges.paid_out_fen, *(line.total_fen for line in charges.plan)])
    assert float(charges.cost.simple) / 12 == pytest.approx(monthly, abs=1e-12)


def test_what_is_kept_back_at_the_draw_is_refused_with_the_rules_id() -> None:
    refused = {one.rule for one in judge_product(product_with(**ONCE, upfront_when="draw"), read_rulebook())}
    assert "fee.kept_back" in refused
    allowed = product_with(**ONCE | {"upfront_share": "0.001"}, upfront_when="first_instalment")
    assert judge_product(allowed, read_rulebook()) == ()


@pytest.mark.parametrize(
    ("fees", "fee_fen"),
    [(ORIGINAL, 1_200), (OPENING, 920), (ORIGINAL | ONCE | {"upfront_when": "first_instalment"}, 1_200)],
    ids=["original", "opening", "one-off paid before"],
)
def test_settling_ten_days_into_a_period_owes_a_third_of_its_fee(fees: dict[str, str], fee_fen: int) -> None:
    product = product_with(**fees)
    loan, whole = paid_up_to(product, 3, dt.date(2026, 4, 25))
    prepaid = plan_payoff(loan, product, whole)
    assert (prepaid.split.principal_fen, prepaid.split.interest_fen) == (919_791, 4_599)
    assert prepaid.split.fee_fen == fee_fen
    after = after_prepayment(loan, prepaid)
    assert (after.outstanding_fen, after.row.fee_fen) == (0, after.row.fee_paid_fen)


def test_settling_on_the_day_of_the_draw_owes_the_one_off_fee_and_no_other() -> None:
    product = product_with(**ORIGINAL, **ONCE, upfront_when="first_instalment")
    loan, whole = paid_up_to(product, 0, START)
    prepaid = plan_payoff(loan, product, whole)
    assert (prepaid.split.interest_fen, prepaid.split.fee_fen) == (0, 12_000)


@pytest.mark.parametrize("mode", [Mode.KEEP_TERM, Mode.KEEP_INSTALMENT])
@pytest.mark.parametrize(
    ("fees", "now_fen", "first_fen"),
    [(ORIGINAL, 0, 3_600), (OPENING, 300, 1_859)],
    ids=["original", "opening"],
)
def test_after_a_part_is_prepaid_fees_are_of_what_their_base_is_then(
    mode: Mode, fees: dict[str, str], now_fen: int, first_fen: int
) -> None:
    product = product_with(**fees)
    loan, whole = paid_up_to(product, 3, dt.date(2026, 4, 25))
    prepaid = plan_part(loan, product, whole, mode, 300_000)
    assert (prepaid.split.fee_fen, prepaid.plan[0].fee_fen) == (now_fen, first_fen)
    after = after_prepayment(loan, prepaid)
    assert after.row.fee_fen - after.row.fee_paid_fen == sum(line.fee_fen for line in prepaid.plan)
    assert after.outstanding_fen == sum(line.total_fen for line in prepaid.plan)


def test_a_fee_alone_makes_no_loan_past_due_and_bears_no_penalty() -> None:
    (line, *_) = make_lines(FeeRule(period_share=Decimal("0.003")).charge(PLAN, PRINCIPAL_FEN), START)
    only_fee = replace(line, principal_fen=0, interest_fen=0)
    later = dt.date(2026, 6, 1)
    assert find_days_past_due([only_fee], later) == 0
    assert only_fee.penalty_fen(later, PenaltyTerms(Decimal("0.18"), Decimal("1.5"), 360, True)) == 0
    assert only_fee.due_on(later, PenaltyTerms(Decimal("0.18"), Decimal("1.5"), 360)).total_fen == 3_600


@given(rules, orders, payments, st.booleans())
def test_money_is_conserved_and_a_reversed_payment_never_was(
    rule: FeeRule, order: OrderRule, paid: list[tuple[dt.date, int]], by_interest: bool
) -> None:
    penalty = PenaltyTerms(Decimal("0.18"), Decimal("1.5"), 360, by_interest)
    plan = rule.charge(PLAN, PRINCIPAL_FEN)
    contract = Contract(plan, penalty, order, START)
    journal = [Repaid(number, on, fen) for number, (on, fen) in enumerate(paid, 1)]
    end = dt.date(2026, 12, 31)
    stood = replay(contract, journal, end)
    splits = stood.splits.values()
    assert sum(split.total_fen for split in splits) == sum(fen for _, fen in paid)
    for name, planned in (
        ("principal_fen", PRINCIPAL_FEN),
        ("interest_fen", sum(line.interest_fen for line in plan)),
        ("fee_fen", sum(line.fee_fen for line in plan)),
    ):
        moved = sum(getattr(split, name) for split in splits)
        assert moved + sum(getattr(line, name) for line in stood.lines) == planned
    again = replay(contract, [*journal, Reversed(len(journal) + 1, 1)], end)
    assert again == replay(contract, journal[1:], end)


@given(rules, st.lists(st.integers(1, 400_000), min_size=1, max_size=12))
def test_a_loan_as_stored_pays_what_the_replay_pays(rule: FeeRule, amounts: list[int]) -> None:
    product = make_product()
    plan = rule.charge(PLAN, PRINCIPAL_FEN)
    loan = drawn(product, plan=plan)
    penalty = loan.terms
    contract = Contract(plan, penalty, OrderRule(Order.BY_INSTALMENT, Order.PRINCIPAL_FIRST, 90), START)
    journal = []
    for number, fen in enumerate(amounts, 1):
        amount_fen = min(fen, loan.outstanding_fen)
        if not amount_fen:
            break
        journal.append(Repaid(number, START, amount_fen))
        before = replay(contract, journal[:-1], START)
        after = replay(contract, journal, START)
        assert before.outstanding_fen - after.outstanding_fen == amount_fen
        parts = allocate_each(loan.dues, amount_fen, Order.BY_INSTALMENT, loan.fallen)
        loan = pay_loan(loan, parts)
        assert loan.outstanding_fen == after.outstanding_fen
        assert loan.row.fee_paid_fen == sum(split.fee_fen for split in after.splits.values())
    assert (loan.row.settled_on is None) == (loan.outstanding_fen > 0)


@given(rules, st.lists(st.integers(0, 200_000), min_size=3, max_size=3))
def test_whose_fees_are_does_not_depend_on_how_they_are_paid(rule: FeeRule, steps: list[int]) -> None:
    fees = LoanFees(replace(rule, period_share=Decimal("0.01")), PRINCIPAL_FEN)
    first, second, third = sorted(steps)
    one, two = fees.split_paid(first, second), fees.split_paid(second, third)
    assert tuple(map(sum, zip(one, two, strict=True))) == fees.split_paid(first, third)
    assert sum(one) == second - first


@pytest.mark.parametrize(
    ("once_own", "period_own", "parts"),
    [(True, False, (12_000, 3_600)), (False, True, (3_600, 12_000)), (True, True, (15_600, 0))],
)
def test_of_a_first_instalments_fee_each_part_goes_to_whom_it_belongs(
    once_own: bool, period_own: bool, parts: tuple[int, int]
) -> None:
    rule = FeeRule(Decimal("0.01"), once_own, Decimal("0.003"), False, period_own)
    assert LoanFees(rule, PRINCIPAL_FEN).split_paid(0, 15_600) == parts


@pytest.mark.parametrize(
    ("order", "paid"),
    [
        (Order.BY_INSTALMENT, Allocation(10, 20, 7, 5)),
        (Order.BY_COMPONENT, Allocation(11, 24, 0, 7)),
        (Order.PRINCIPAL_FIRST, Allocation(0, 12, 30, 0)),
    ],
)
def test_fees_are_paid_after_penalties_and_before_interest_unless_principal_goes_first(
    order: Order, paid: Allocation
) -> None:
    dues = (Due(1, 10, 20, 28, 5), Due(2, 1, 4, 2, 2))
    assert sum_parts(allocate_each(dues, 42, order, fallen=2)) == paid
    ahead = sum_parts(allocate_each(dues, 15, order, fallen=0))
    assert ahead == Allocation(10, 0, 0, 5), "ahead of its day always by instalment"


def test_a_fee_that_the_product_does_not_have_cannot_be_booked() -> None:
    with pytest.raises(ValueError, match="7 fen of fees paid"):
        LoanFees().split_paid(0, 7)


splits = st.builds(Allocation, *[st.integers(0, 50_000)] * 4)


@given(rules, st.lists(splits, min_size=1, max_size=5), st.data())
def test_entries_of_fees_balance_and_corrections_end_where_the_new_splits_do(
    rule: FeeRule, booked: list[Allocation], data: st.DataObject
) -> None:
    rule = replace(rule, period_share=Decimal("0.01"))
    funders = (Share("bank", Decimal("0.7")), Share("own", Decimal("0.3")))
    becomes = [data.draw(st.none() | splits) for _ in booked]
    paid = Paid(0, 0, 0)
    entries = []
    for split in booked:
        stood = LoanShares(funders, paid, LoanFees(rule, PRINCIPAL_FEN))
        entries += stood.plan(Event.REPAYMENT, split)
        paid = Paid(
            *(getattr(paid, name) + getattr(split, name) for name in ("penalty_fen", "interest_fen")),
            paid.principal_fen + split.principal_fen,
            paid.fee_fen + split.fee_fen,
        )
    stood = LoanShares(funders, paid, LoanFees(rule, PRINCIPAL_FEN))
    for corrected in stood.plan_corrections(list(zip(booked, becomes, strict=True))):
        entries += corrected
    assert sum(entry.amount_fen for entry in entries) == 0
    fee_fen = sum(split.fee_fen for split in becomes if split)
    own_fen, payee_fen = LoanFees(rule, PRINCIPAL_FEN).split_paid(0, fee_fen)

    def on(account: Account) -> int:
        return -sum(entry.amount_fen for entry in entries if entry.account is account)

    assert (on(Account.FEE_INCOME), on(Account.FEES_OWED_TO_PAYEES)) == (own_fen, payee_fen)
    assert sum(e.amount_fen for e in entries if e.account is Account.BANK_DEPOSITS) == sum(
        split.total_fen for split in becomes if split
    )


@given(rules, st.integers(1, 12), st.integers(0, 40), st.integers(0, 60_000))
def test_what_is_receivable_is_earned_ours_and_open(rule: FeeRule, period: int, days: int, paid: int) -> None:
    begins = dt.date(2026, 3, 1)
    line = rule.charge(PLAN, PRINCIPAL_FEN)[period - 1]
    running = Running(period, begins, begins + dt.timedelta(days=31), line.fee_fen)
    open_fen = max(0, line.fee_fen - paid)
    fees = LoanFees(rule, PRINCIPAL_FEN)
    found = fees.receivable_fen(running, open_fen, begins + dt.timedelta(days=days))
    assert 0 <= found <= open_fen
    if rule.once_own and rule.period_own and days >= 31:
        assert found == open_fen
    if not rule.once_own and not rule.period_own:
        assert found == 0


def test_a_fee_rule_says_what_the_document_says() -> None:
    product = product_with(**OPENING, **ONCE, upfront_when="first_instalment", monthly_income="own")
    assert fee_rule(product) == FeeRule(Decimal("0.01"), True, Decimal("0.003"), True, True)
    assert fee_rule(product_with(**ONCE, upfront_when="draw")).once_share == 0
