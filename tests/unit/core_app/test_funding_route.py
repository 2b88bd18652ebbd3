"""Who funds a loan: the seed's two lenders, each reason, and what holds of every choice."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.funding.funder import Funder
from core_app.funding.quota import deal_quota, plan_raises
from core_app.funding.route import Need, Offer, Party, Why, find_hindrance, route
from core_app.funding.service import LoanShares
from core_app.funding.shares import FeesPaid, Paid, Share, own_part, plan_collected, split_change
from core_app.ledger.posting import Account, Event, check_balanced
from core_app.loans.allocation import Allocation


def make_funder(name: str, **changes: Any) -> Funder:
    plain = {
        "id": name,
        "version": 1,
        "name": {"zh": "银行", "en": "Bank"},
        "fills": ["partner_bank"],
        "cost_annual": "0.05",
        "speed_s": 10,
        "per_loan_max_fen": 10_000_000,
        "share_min": "0.30",
        "share_max": "1",
        "quota": {"total_fen": 1_000_000_000},
    }
    return Funder.model_validate(plain | changes)


def offer(name: str, left_fen: int | None = 10**9, day_left_fen: int | None = None, **changes: Any) -> Offer:
    return Offer(make_funder(name, **changes), left_fen, day_left_fen)


PARTNER = Party("partner_bank", Decimal("0.7"), lead=False)
OWN = Party("own", Decimal("0.3"), lead=True)
NEED = Need("joint-instalment", ("mainland",), 1_200_000, (OWN, PARTNER), ("cost", "speed"), Decimal("0.20"))
WHOLE = replace(NEED, parties=(Party("partner_bank", Decimal(1), lead=True),))

# The seed compares "10s" with "9s" as texts and knows neither quota nor health.
CHEAP = offer("cheap", cost_annual="0.08", per_loan_max_fen=5_000_000, speed_s=10)
LARGE = offer("large", cost_annual="0.10", per_loan_max_fen=10_000_000, speed_s=30)


@pytest.mark.parametrize(
    ("amount_fen", "offers", "chosen"),
    [
        (5_000_000, (LARGE, CHEAP), "cheap"),
        (5_000_001, (LARGE, CHEAP), "large"),
        (1_000_000, (LARGE, replace(CHEAP, stopped=True)), "large"),
        (1_000_000, (LARGE, replace(CHEAP, left_fen=999_999)), "large"),
        (1_000_000, (LARGE, replace(CHEAP, day_left_fen=999_999)), "large"),
    ],
)
def test_the_cheapest_that_can_is_taken(amount_fen: int, offers: tuple[Offer, ...], chosen: str) -> None:
    routed = route(replace(WHOLE, amount_fen=amount_fen), offers)
    assert [stake.funder for stake in routed.stakes] == [chosen]
    assert {one.funder for one in routed.passed_over} == {"cheap", "large"} - {chosen}


def test_nine_seconds_are_fewer_than_ten_and_the_order_of_ranks_is_the_products() -> None:
    nine, ten = offer("nine", speed_s=9, cost_annual="0.06"), offer("ten", speed_s=10, cost_annual="0.05")
    assert route(replace(WHOLE, rank_by=("speed",)), (ten, nine)).stakes[0].funder == "nine"
    assert route(replace(WHOLE, rank_by=("cost", "speed")), (nine, ten)).stakes[0].funder == "ten"
    with pytest.raises(ValueError, match="beauty"):
        route(replace(WHOLE, rank_by=("beauty",)), (nine,))


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (replace(offer("aa"), stopped=True), Why.STOPPED),
        (offer("aa", products=["instalment-12"]), Why.PRODUCT),
        (offer("aa", regions=["hainan"]), Why.REGION),
        (offer("aa", share_max="0.5"), Why.SHARE),
        (offer("aa", cost_annual="0.21"), Why.DEAR),
        (offer("aa", per_loan_max_fen=839_999), Why.LOAN_LIMIT),
        (offer("aa", 839_999), Why.QUOTA_TOTAL),
        (offer("aa", None, 839_999), Why.QUOTA_DAY),
        (offer("aa", 840_000, 840_000), None),
    ],
)
def test_each_hindrance_has_its_reason(found: Offer, why: Why | None) -> None:
    assert find_hindrance(NEED, PARTNER, 840_000, found) is why


def test_a_joint_loan_has_its_lead_last_and_two_parties_have_two_funders() -> None:
    routed = route(NEED, (CHEAP,))
    assert [(stake.funder, stake.principal_fen) for stake in routed.stakes] == [
        ("cheap", 840_000),
        ("own", 360_000),
    ]
    halves = tuple(Party("partner_bank", Decimal("0.5"), lead) for lead in (True, False))
    both = route(replace(NEED, parties=halves), (CHEAP, LARGE))
    assert [stake.funder for stake in both.stakes] == ["cheap", "large"]
    assert Why.TAKEN in {one.why for one in both.passed_over}
    assert route(replace(NEED, parties=halves), (CHEAP,)).stakes == ()


fens = st.integers(0, 2_000_000)
PARTS = ("penalty_fen", "interest_fen", "principal_fen")
offers_made = st.lists(
    st.builds(
        lambda n, cost, speed, most, left, day: offer(
            f"bank{n}", left, day, cost_annual=Decimal(cost) / 100, speed_s=speed, per_loan_max_fen=most
        ),
        st.integers(0, 20), st.integers(0, 30), st.integers(0, 60), st.integers(1, 2_000_000),
        st.none() | fens, fens,
    ),
    max_size=8,
    unique_by=lambda made: made.funder.id,
)  # fmt: skip


@given(offers_made, st.integers(1, 2_000_000), st.randoms())
def test_every_choice_is_allowed_best_and_independent_of_the_order_of_rows(
    offers: list[Offer], amount_fen: int, dice: Any
) -> None:
    need = replace(NEED, amount_fen=amount_fen)
    routed = route(need, offers)
    shuffled = list(offers)
    dice.shuffle(shuffled)
    assert route(need, shuffled).stakes == routed.stakes
    part_fen = amount_fen - sum(stake.principal_fen for stake in routed.stakes if stake.funder == "own")
    if not routed.stakes:
        partner_fen = route(need, [offer("any")]).stakes[0].principal_fen
        assert all(find_hindrance(need, PARTNER, partner_fen, one) for one in offers)
        return
    assert sum(stake.principal_fen for stake in routed.stakes) == amount_fen
    chosen = next(one for one in offers if one.funder.id == routed.stakes[0].funder)
    assert find_hindrance(need, PARTNER, part_fen, chosen) is None
    better = [
        one
        for one in offers
        if (one.funder.cost_annual, one.funder.speed_s) < (chosen.funder.cost_annual, chosen.funder.speed_s)
    ]
    assert all(find_hindrance(need, PARTNER, part_fen, one) for one in better)


def test_a_partner_without_any_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="without any limit"):
        make_funder("aa", quota={})
    with pytest.raises(ValueError, match="own is the company"):
        make_funder("own")


@given(st.integers(0, 10**6), st.lists(st.integers(0, 10**6), min_size=1, max_size=6), st.data())
def test_parts_of_a_quota_never_sum_to_more_whatever_is_used_meanwhile(
    quota: int, used: list[int], data: st.DataObject
) -> None:
    wanted = deal_quota(quota, used)
    assert sum(wanted) == max(quota, sum(used))
    assert all(part >= had for part, had in zip(wanted, used, strict=True))
    # As a cell lowers itself: not under what it uses by then, and what it had before.
    had = [data.draw(st.integers(then, 10**6)) for then in used]
    now = [data.draw(st.integers(then, before)) for then, before in zip(used, had, strict=True)]
    lowered = [max(min(before, part), uses) for before, part, uses in zip(had, wanted, now, strict=True)]
    raised = plan_raises(quota, lowered, wanted)
    assert sum(raised) <= max(quota, sum(lowered))
    assert all(after >= before for after, before in zip(raised, lowered, strict=True))


@st.composite
def some_shares(draw: st.DrawFn) -> list[Share]:
    weights = draw(st.lists(st.integers(1, 20), max_size=5))
    partners = [Share(f"bank{n}", Decimal(weight) / 101) for n, weight in enumerate(weights)]
    rounded = [Share(one.funder, one.share.quantize(Decimal("1e-8"))) for one in partners]
    return [*rounded, Share("own", 1 - sum((one.share for one in rounded), Decimal(0)))]


@given(some_shares(), st.lists(st.tuples(fens, fens, fens), min_size=1, max_size=30))
def test_repayments_are_split_to_the_fen_and_add_up_to_the_split_of_their_sum(
    shares: list[Share], paid: list[tuple[int, int, int]]
) -> None:
    before = Paid(0, 0, 0)
    had = {share.funder: 0 for share in shares}
    for penalty, interest, principal in paid:
        if not penalty + interest + principal:
            continue
        after = Paid(
            before.penalty_fen + penalty, before.interest_fen + interest, before.principal_fen + principal
        )
        entries = plan_collected(Event.REPAYMENT, shares, before, after)
        for share in shares:
            own = tuple(entry for entry in entries if entry.funder == share.funder)
            if own:
                check_balanced(own)
            had[share.funder] += sum(e.amount_fen for e in own if e.account is Account.BANK_DEPOSITS)
        assert sum(e.amount_fen for e in entries if e.account is Account.BANK_DEPOSITS) == (
            penalty + interest + principal
        )
        before = after
    whole = [
        sum(parts)
        for parts in zip(
            split_change(0, before.penalty_fen, shares),
            split_change(0, before.interest_fen, shares),
            split_change(0, before.principal_fen, shares),
            strict=True,
        )
    ]
    assert list(had.values()) == whole


def test_taking_a_repayment_back_gives_back_what_it_gave() -> None:
    shares = [Share("bank", Decimal("0.7")), Share("own", Decimal("0.3"))]
    gave = split_change(333, 1_000, shares)
    assert split_change(1_000, 333, shares) == tuple(-part for part in gave)


def test_a_partners_share_is_neither_our_asset_nor_our_income() -> None:
    shares = [Share("bank", Decimal("0.7")), Share("own", Decimal("0.3"))]
    entries = plan_collected(Event.REPAYMENT, shares, Paid(0, 0, 0), Paid(0, 18_000, 92_016))
    assert [(e.funder, str(e.account), e.amount_fen) for e in entries] == [
        ("bank", "1002", 77_011), ("bank", "1321", -64_411), ("bank", "231401", -12_600),
        ("own", "1002", 33_005), ("own", "1303", -27_605), ("own", "6011", -5_400),
    ]  # fmt: skip


def test_fees_are_no_funders_but_ours_or_owed_to_their_payee() -> None:
    shares = [Share("bank", Decimal("0.7")), Share("own", Decimal("0.3"))]
    fees = FeesPaid(own_fen=40, payee_fen=25)
    entries = plan_collected(Event.PREPAYMENT, shares, Paid(0, 0, 0), Paid(0, 0, 100), fees)
    assert [(e.funder, str(e.account), e.amount_fen) for e in entries] == [
        ("bank", "1002", 70), ("bank", "1321", -70), ("own", "1002", 30), ("own", "1303", -30),
        ("own", "1002", 65), ("own", "6021", -40), ("own", "224101", -25),
    ]  # fmt: skip


def test_what_is_recovered_for_a_partner_was_never_written_off_here() -> None:
    shares = [Share("bank", Decimal("0.7")), Share("own", Decimal("0.3"))]
    entries = plan_collected(Event.RECOVERY, shares, Paid(0, 0, 0), Paid(0, 0, 100))
    assert [(e.funder, str(e.account), e.amount_fen) for e in entries] == [
        ("bank", "1002", 70), ("bank", "1321", -70), ("own", "1002", 30), ("own", "1304", -30),
    ]  # fmt: skip


some_splits = st.builds(Allocation, fens, fens, fens)


@given(some_shares(), st.lists(some_splits, min_size=1, max_size=8), st.data())
def test_corrections_leave_each_funder_with_its_part_of_the_new_totals(
    shares: list[Share], booked: list[Allocation], data: st.DataObject
) -> None:
    """Whatever each repayment was and becomes: balanced by funder, and no fen collects by rounding."""
    becomes = [data.draw(st.one_of(st.none(), some_splits)) for _ in booked]
    before = Paid(*(sum(getattr(split, name) for split in booked) for name in PARTS))
    after = Paid(*(sum(getattr(split, name) for split in becomes if split) for name in PARTS))
    planned = LoanShares(tuple(shares), before).plan_corrections(list(zip(booked, becomes, strict=True)))
    entries = [entry for each in planned for entry in each]
    for place, share in enumerate(shares):
        own = tuple(entry for entry in entries if entry.funder == share.funder)
        if own:
            check_balanced(own)
        collected = sum(
            split_change(getattr(before, name), getattr(after, name), shares)[place] for name in PARTS
        )
        assert sum(e.amount_fen for e in own if e.account is Account.BANK_DEPOSITS) == collected


def test_our_own_part_of_a_loan_without_our_money_is_nothing() -> None:
    assert own_part(100, [Share("bank", Decimal("0.7")), Share("own", Decimal("0.3"))]) == 30
    assert own_part(100, [Share("east", Decimal("0.7")), Share("west", Decimal("0.3"))]) == 0
