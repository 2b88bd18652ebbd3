"""Money, dates, ids, slots, identity, decisions, postings: each rule on its own."""

import datetime as dt
import uuid
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.business_calendar import add_months, age_on, business_date_at
from core_app.customers.identity import (
    compute_check_character,
    find_id_number_fault,
    normalise,
    read_mobile,
)
from core_app.decisions.rules import Reason, Room, decide_application, reason_of
from core_app.errors import LedgerUnbalanced
from core_app.ids import Letter, derive_customer_id, is_customer_id, make_routed_id, slot_of_id
from core_app.ledger.posting import Account, Entry, Event, check_balanced, plan_entries
from core_app.limits.tree import CUSTOMER, Node, NodeRow, compute_room_fen, find_breaches
from core_app.money import round_half_up
from core_app.rules.engine import Refusal
from core_app.slots import SLOTS, cell_of_slot, compute_slot

KEY = b"k" * 32
fen = st.integers(0, 10**12)


@given(st.fractions())
def test_rounding_is_to_the_nearest_fen_and_halves_go_away_from_zero(exact: Fraction) -> None:
    rounded = round_half_up(exact)
    assert abs(rounded - exact) <= Fraction(1, 2)
    assert round_half_up(-exact) == -rounded
    if abs(rounded - exact) == Fraction(1, 2):
        assert abs(rounded) > abs(exact)


def test_the_business_day_is_shanghais() -> None:
    assert business_date_at(dt.datetime(2026, 1, 15, 15, 59, tzinfo=dt.UTC)) == dt.date(2026, 1, 15)
    assert business_date_at(dt.datetime(2026, 1, 15, 16, 0, tzinfo=dt.UTC)) == dt.date(2026, 1, 16)


def test_refuses_an_instant_without_a_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        business_date_at(dt.datetime(2026, 1, 15))  # noqa: DTZ001 - what is refused


@given(st.dates(dt.date(2000, 1, 1), dt.date(2100, 1, 1)), st.integers(1, 60))
def test_a_due_date_never_leaves_its_month(start: dt.date, months: int) -> None:
    due = add_months(start, months)
    assert (due.year * 12 + due.month) - (start.year * 12 + start.month) == months
    assert due.day <= start.day


def test_age_counts_completed_years() -> None:
    born = dt.date(2008, 1, 16)
    assert (age_on(born, dt.date(2026, 1, 15)), age_on(born, dt.date(2026, 1, 16))) == (17, 18)


@given(st.uuids(), st.integers(0, SLOTS - 1), st.sampled_from(Letter))
def test_an_id_carries_its_slot_and_its_kind(unique: uuid.UUID, slot: int, letter: Letter) -> None:
    made = make_routed_id(letter, slot, unique)
    assert slot_of_id(letter, made) == slot
    assert [slot_of_id(other, made) for other in Letter if other is not letter] == [None] * (len(Letter) - 1)


@given(st.text())
def test_any_text_is_judged_as_an_id_without_error(text: str) -> None:
    assert slot_of_id(Letter.LOAN, text) is None
    assert not is_customer_id(text)


def test_slots_above_the_last_are_no_ids() -> None:
    assert slot_of_id(Letter.LOAN, "L400-" + "0" * 32) is None
    assert slot_of_id(Letter.LOAN, "L3ff-" + "0" * 32) == 1023


@pytest.mark.parametrize("cells", [("a",), ("a", "b"), ("a", "b", "c")])
def test_every_slot_has_a_cell_and_cells_get_even_shares_in_order(cells: tuple[str, ...]) -> None:
    dealt = [cell_of_slot(slot, cells) for slot in range(SLOTS)]
    assert dealt == sorted(dealt)
    shares = [dealt.count(cell) for cell in cells]
    assert max(shares) - min(shares) <= 1


def test_customers_spread_over_both_cells() -> None:
    ids = [derive_customer_id(KEY, str(number)) for number in range(400)]
    in_a = sum(cell_of_slot(compute_slot(KEY, customer_id), ("a", "b")) == "a" for customer_id in ids)
    assert 150 < in_a < 250


@given(st.from_regex(r"[1-9][0-9]{5}19[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[0-8])[0-9]{3}", fullmatch=True))
def test_any_single_wrong_digit_of_an_id_number_is_found(first: str) -> None:
    number = first + compute_check_character(first)
    assert find_id_number_fault(number) is None
    for place in (*range(6), 16):
        for digit in set("0123456789") - {number[place]}:
            assert find_id_number_fault(number[:place] + digit + number[place + 1 :]) is not None


@pytest.mark.parametrize(
    ("text", "mobile"),
    [
        ("13800138000", "13800138000"),
        ("+86 138-0013-8000", "13800138000"),
        ("１３８００１３８０００", "13800138000"),
        ("12800138000", None),
        ("1380013800", None),
        ("", None),
    ],
)
def test_mobile_numbers_are_read_in_their_usual_spellings(text: str, mobile: str | None) -> None:
    assert read_mobile(normalise(text)) == mobile


PATH = (Node(CUSTOMER, 20_000_000), Node("product:p", 15_000_000))


@given(
    st.booleans(), fen, fen, st.integers(10_000, 5_000_000), st.sampled_from([None, 4_500_000, 15_000_000])
)
def test_approves_exactly_when_no_rule_is_broken(
    failed: bool, total: int, product: int, amount: int, tier_fen: int | None
) -> None:
    rows = {
        CUSTOMER: NodeRow(CUSTOMER, None, total, product, 0),
        "product:p": NodeRow("product:p", None, product, 0, 0),
    }
    law = () if total + product + amount <= 20_000_000 else (Reason("cfc.line", 0, ""),)
    refused = (Reason("age", 17, "18 to 60"),) if failed else ()
    room = Room(compute_room_fen(PATH, rows), 5_000_000, product, tier_fen)
    breaches = find_breaches(PATH, rows, amount, tier_limit_fen=tier_fen)
    decision = decide_application(refused, breaches, room, law)
    within_tier = tier_fen is None or product + amount <= tier_fen
    assert decision.approved == (not failed and product + amount <= 15_000_000 and within_tier and not law)
    assert decision.approved == (not decision.reasons)
    if decision.approved:
        assert amount <= decision.limit_fen
    if failed:
        assert decision.limit_fen == 0


def test_a_refusal_of_the_law_becomes_a_reason_with_day_and_source() -> None:
    day = dt.date(2026, 1, 15)
    refusal = Refusal(
        "cfc.line", "body.amount_fen", "20000001", "<= 20000000 fen", day, "Order 2024-4", "law"
    )
    reason = reason_of(refusal)
    assert reason.as_plain() == {
        "rule": "cfc.line",
        "value": 20_000_001,
        "limit": "<= 20000000 fen",
        "on": "2026-01-15",
        "source": "Order 2024-4",
    }
    rows = {CUSTOMER: NodeRow(CUSTOMER, None, 0, 19_000_000, 0)}
    room = Room(compute_room_fen(PATH, rows), 5_000_000, 0, None)
    decision = decide_application((), find_breaches(PATH, rows, 1_000_001), room, (reason,))
    assert (decision.approved, decision.reasons, decision.limit_fen) == (False, (reason,), 1_000_000)


@given(fen, fen, fen)
def test_every_posting_balances(penalty: int, interest: int, principal: int) -> None:
    parts = {"penalty": penalty, "interest": interest, "principal": principal}
    if not sum(parts.values()):
        return
    entries = plan_entries(Event.REPAYMENT, parts | {"amount": sum(parts.values())})
    assert sum(entry.amount_fen for entry in entries) == 0
    assert all(entry.amount_fen for entry in entries)


def test_an_unbalanced_posting_is_stopped_before_any_insert() -> None:
    with pytest.raises(LedgerUnbalanced):
        plan_entries(Event.REPAYMENT, {"amount": 10, "penalty": 0, "interest": 5, "principal": 4})
    with pytest.raises(LedgerUnbalanced):
        check_balanced((Entry(Account.LOANS, 0),))
