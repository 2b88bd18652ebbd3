"""What coupons take off, by hand; what keeps one from being used; its worth beside the disclosed cost."""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.disclosure.annual_cost import compute_annual_cost
from core_app.disclosure.charges import compute_charges, compute_cost_less
from core_app.disclosure.coupon_worth import show_worth
from core_app.ledger.posting import Account, Event, plan_entries
from core_app.products.references import find_dangling, read_coupon_kinds
from core_app.servicing.coupons import (
    AmountOff,
    Coupon,
    FreeDays,
    InterestPaid,
    RateCut,
    compute_discount_fen,
    find_fault,
)
from tests.unit.core_app.product_documents import START, make_product

CUSTOMER = "C0123456789abcdef01234567"
FIRST = InterestPaid(18_000, 1_200_000, Decimal("0.18"), 360)
BENEFITS = (
    FreeDays(gives="interest_free_days", days=7),
    RateCut(gives="interest_reduction", points=Decimal("0.02")),
    AmountOff(gives="amount_off_interest", amount_fen=5_000),
)


def coupon(kind: str = "fifty_off", used_by: str | None = None) -> Coupon:
    (found,) = (one for one in read_coupon_kinds() if one.id == kind)
    last = START + dt.timedelta(days=30)
    return Coupon("V000-" + "0" * 32, CUSTOMER, kind, found.benefit, START, last, used_by)


def test_each_benefit_takes_off_what_a_hand_finds() -> None:
    # 12,000 yuan at 18 %: 600 fen a day, 18,000 fen the first month; 2 of 18 points of that are a ninth.
    assert [compute_discount_fen(one, FIRST) for one in BENEFITS] == [7 * 600, 2_000, 5_000]


@pytest.mark.parametrize("benefit", BENEFITS)
def test_a_coupon_never_takes_off_more_than_the_interest(benefit: FreeDays | RateCut | AmountOff) -> None:
    assert compute_discount_fen(benefit, InterestPaid(0, 1_200_000, Decimal("0.18"), 360)) == 0
    small = InterestPaid(100, 1_200_000, Decimal("0.01"), 360)
    assert compute_discount_fen(benefit, small) <= 100


@given(
    st.sampled_from(BENEFITS),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.decimals("0", "0.24", places=4),
)
def test_whatever_is_paid_the_discount_is_within_it(
    benefit: FreeDays | RateCut | AmountOff, interest_fen: int, balance_fen: int, rate: Decimal
) -> None:
    assert (
        0 <= compute_discount_fen(benefit, InterestPaid(interest_fen, balance_fen, rate, 360)) <= interest_fen
    )


def test_what_keeps_a_coupon_from_being_used_is_named() -> None:
    product = make_product({"servicing.coupons": ["fifty_off"]})
    last = START + dt.timedelta(days=30)
    assert [find_fault(coupon(), CUSTOMER, product, day) for day in (START, last)] == [None, None]
    faults = [
        find_fault(None, CUSTOMER, product, START),
        find_fault(coupon(), "C" + "f" * 24, product, START),
        find_fault(coupon(used_by="R1"), CUSTOMER, product, START),
        find_fault(coupon(), CUSTOMER, product, START - dt.timedelta(days=1)),
        find_fault(coupon(), CUSTOMER, product, last + dt.timedelta(days=1)),
        find_fault(coupon("free_days"), CUSTOMER, product, START),
        find_fault(coupon(), CUSTOMER, make_product(), START),
    ]
    assert [fault and fault[0][:20] for fault in faults] == [
        "no such coupon of th", "no such coupon of th", "a coupon that was us", "a coupon from 2026-0",
        "a coupon from 2026-0", "a coupon of kind fre", "a coupon of kind fif",
    ]  # fmt: skip


def test_worth_is_shown_in_both_units_and_leaves_the_disclosed_cost_alone() -> None:
    product = make_product({"servicing.coupons": ["fifty_off"]})
    charges = compute_charges(product, 1_200_000, 12, START)
    worth = show_worth(product, charges, coupon(), START)
    by_hand = compute_annual_cost(1_200_000, [110_016 - 5_000] + [110_016] * 10 + [110_019])
    assert worth["discount_fen"] == 5_000
    assert (worth["annual_cost_simple"], worth["annual_cost_compound"]) == (
        str(by_hand.in_unit("simple")),
        str(by_hand.in_unit("compound")),
    )
    assert by_hand.simple < charges.cost.simple
    assert charges.cost.in_unit("simple") == Decimal("0.1800")
    assert compute_cost_less(product, charges, START, 0) == charges.cost
    # However much it says, the first payment falls by its interest at most: fees stay whole.
    all_of_it = compute_cost_less(product, charges, START, 10**9)
    assert all_of_it == compute_cost_less(product, charges, START, 18_000)


def test_a_dated_loan_without_a_discount_costs_what_it_is_disclosed_at() -> None:
    product = make_product({"schedule.interest_by": "day"})
    charges = compute_charges(product, 1_200_000, 12, START)
    assert compute_cost_less(product, charges, START, 0) == charges.cost
    anytime = make_product({}, "revolving-anytime")
    with pytest.raises(ValueError, match="without a plan"):
        compute_cost_less(anytime, compute_charges(anytime, 1_000_000, 12, START), START, 1)
    assert (
        show_worth(anytime, compute_charges(anytime, 1_000_000, 12, START), coupon(), START)["discount_fen"]
        is None
    )


def test_a_coupon_is_booked_as_our_marketing_cost() -> None:
    booked = [
        (one.account, one.amount_fen, one.funder) for one in plan_entries(Event.COUPON, {"discount": 50})
    ]
    assert booked == [(Account.MARKETING_COST, 50, "own"), (Account.BANK_DEPOSITS, -50, "own")]


def test_a_product_that_names_an_unknown_kind_does_not_go_on_sale() -> None:
    assert find_dangling(make_product({"servicing.coupons": ["fifty_off", "gold"]})) == (
        "servicing.coupons: gold, which is no kind of coupon",
    )
