"""Settlement files: read back as written, and any changed byte is noticed."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.documents import compute_sm3
from core_app.funding.settlement import (
    Line,
    LoanDay,
    Settlement,
    SettlementInvalid,
    expect_line,
    find_differences,
    read_settlement,
    sum_lines,
    write_settlement,
)
from core_app.funding.shares import Paid, Share

DAY = dt.date(2026, 1, 15)
DUE = dt.date(2026, 1, 16)
fens = st.integers(-(10**12), 10**12)
lines_made = st.lists(
    st.builds(Line, st.from_regex(r"L[0-9a-f]{3}-[0-9a-f]{32}", fullmatch=True), st.just(DUE), *[fens] * 4),
    max_size=6,
    unique_by=lambda line: line.loan_id,
)
SHARES = (Share("bank_east", Decimal("0.7")), Share("own", Decimal("0.3")))


@given(lines_made)
def test_a_file_is_read_back_as_it_was_written_whatever_the_order_of_its_lines(lines: list[Line]) -> None:
    settlement = Settlement("bank_east", DAY, tuple(sorted(lines)))
    text = write_settlement(settlement)
    assert write_settlement(replace(settlement, lines=tuple(lines))) == text
    assert read_settlement(text) == settlement


@given(lines_made, st.data())
def test_one_changed_character_is_noticed(lines: list[Line], data: st.DataObject) -> None:
    text = write_settlement(Settlement("bank_east", DAY, tuple(lines)))
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("0123456789abcdef|-\n").filter(lambda c: c != text[at]))
    with pytest.raises(SettlementInvalid):
        read_settlement(text[:at] + other + text[at + 1 :])


def test_totals_that_are_not_those_of_the_lines_are_refused_though_the_digest_is_right() -> None:
    text = write_settlement(Settlement("bank_east", DAY, (Line("L1", DUE, 100, 5, 2, 1),)))
    assert "TOTAL|1|100|5|2|1\nNET|-92\n" in text
    with pytest.raises(SettlementInvalid, match="totals"):
        read_settlement(_signed(text.rsplit("SM3", 1)[0].replace("NET|-92", "NET|92")))
    with pytest.raises(SettlementInvalid, match="at least four"):
        read_settlement("SETTLEMENT|1\n")


def _signed(body: str) -> str:
    return f"{body}SM3|{compute_sm3(body.encode()).hex()}\n"


def test_known_answer_twelve_split_seventy_thirty() -> None:
    loan = LoanDay("L1", DUE, SHARES, Paid(0, 0, 0), Paid(0, 18_000, 92_016), 0)
    assert expect_line(loan, "bank_east") == Line("L1", DUE, 0, 64_411, 12_600, 0)
    assert expect_line(loan, "own") == Line("L1", DUE, 0, 27_605, 5_400, 0)
    assert sum_lines([expect_line(loan, "bank_east")]).net_fen == 77_011


def test_differences_name_the_loan_and_both_sides() -> None:
    booked, right = Line("L1", DUE, 0, 5, 2, 0), Line("L1", DUE, 0, 5, 3, 0)
    assert find_differences([booked], [booked, Line("L2", DUE)]) == ()
    assert find_differences([booked], [right]) == (
        "L1: booked 2026-01-16/0/5/2/0 fen, by the loan's own rows 2026-01-16/0/5/3/0 fen",
    )
    assert find_differences([], [right])[0].startswith("L1: booked nothing")
