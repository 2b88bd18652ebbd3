"""The pure parts of filings: bureau records keep their rules, returns agree, batches end once."""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from compliance.reporting import bureau
from compliance.reporting.batch import Kind, Made, State, batch_id_of, default_since, plan_next
from compliance.reporting.catalogue import read_tables
from compliance.reporting.errors import RegulatorSilent
from compliance.reporting.regulator import FakeRegulator, Fault
from compliance.reporting.returns import add_up, check_returns, yuan

TABLES = read_tables()
DAY = dt.date(2026, 11, 30)
PERIOD = bureau.Period(dt.date(2026, 10, 31), DAY)
PERSON = {"name": "张三", "id_number": "11010519491231002X"}


def account(**changed: Any) -> dict[str, Any]:
    made = {
        "code": "L001", "customer_id": "C1", "account_type": "D1", "repay_mode": "11", "frequency": "03",
        "opened": dt.date(2026, 11, 3), "due": dt.date(2027, 11, 3), "amount_fen": 1_200_000, "periods": 12,
        "line": "K1", "balance_fen": 1_200_000, "days_past_due": 0, "class5": 1, "class5_before": None,
        "overdue_fen": 0, "missed": 0, "left_periods": 12, "ended": None, "written_off": False,
        "last_paid": None, "paid_fen": 0, "due_fen": 0,
    }  # fmt: skip
    return made | changed


def broken_rules(row: dict[str, Any], point: str, person: Any = None, **fields: str) -> list[str]:
    values = bureau.make_values(row, PERSON if person is None else person, point, PERIOD, "ORG")
    record = TABLES.records["210"]
    segments = bureau.fill(record, bureau.segments_of(row["account_type"], point), values)
    for tag, text in fields.items():
        segments["H"][tag] = text
    return [one.rule for one in bureau.check_record(record, segments, values, PERIOD)]


@pytest.mark.parametrize(
    ("row", "period", "points"),
    [
        (account(), PERIOD, ("10", "32")),
        (account(opened=dt.date(2026, 5, 1)), PERIOD, ("32",)),
        (account(opened=dt.date(2026, 5, 1), ended=DAY), PERIOD, ("20",)),
        (account(ended=DAY), PERIOD, ("10", "20")),
        (account(opened=dt.date(2026, 5, 1)), bureau.Period(None, DAY), ("31",)),
        (account(opened=dt.date(2026, 5, 1)), bureau.Period(DAY, dt.date(2026, 12, 15)), ()),
        (
            account(opened=dt.date(2026, 5, 1), class5=2, class5_before=1),
            bureau.Period(DAY, dt.date(2026, 12, 15)),
            ("40",),
        ),
    ],
)
def test_an_account_is_reported_when_something_happened(
    row: dict[str, Any], period: bureau.Period, points: tuple[str, ...]
) -> None:
    assert bureau.time_points(row, period) == points


@pytest.mark.parametrize("point", ["10", "32"])
def test_a_good_record_breaks_no_rule(point: str) -> None:
    assert broken_rules(account(), point) == []
    assert broken_rules(account(account_type="R1", repay_mode="90"), point) == []
    assert broken_rules(account(account_type="R4", repay_mode="23", frequency="99"), point) == []


def test_a_closed_record_owes_nothing() -> None:
    closed = account(ended=DAY, last_paid=DAY, balance_fen=0)
    assert broken_rules(closed, "20") == []
    assert broken_rules(closed, "20", AcctBal="5.00") == ["a closed account owes nothing"]
    assert broken_rules(closed | {"last_paid": DAY + dt.timedelta(1)}, "20") == [
        "it closes on its last repayment or later"
    ]


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"repay_mode": "90", "frequency": "99"}, "aggregated bills are monthly"),
        ({"repay_mode": "23"}, "bullet and anytime are irregular"),
        ({"account_type": "R1"}, "a revolving account is not repaid by term modes"),
        ({"due": dt.date(2026, 11, 1)}, "it opens before it is due"),
        ({"days_past_due": 9}, "only an overdue account has overdue periods"),
        ({"account_type": "X9"}, "B.AcctType is of its code list"),
        ({"class5": 6}, "H.FiveCate is of its code list"),
    ],
)
def test_each_rule_of_a_record_bites(changed: dict[str, Any], rule: str) -> None:
    assert rule in broken_rules(account(**changed), "10")


def test_a_record_about_nobody_or_of_another_month_is_refused() -> None:
    assert broken_rules(account(), "10", person={}) == ["the borrower is named"]
    assert broken_rules(account(), "10", Month="2026-10") == ["the month is that of the report"]


@pytest.mark.parametrize(
    ("days", "status"), [(0, "N"), (1, "1"), (30, "1"), (31, "2"), (180, "6"), (181, "7")]
)  # fmt: skip
def test_the_status_follows_days_past_due(days: int, status: str) -> None:
    values = bureau.make_values(account(days_past_due=days), PERSON, "32", PERIOD, "ORG")
    assert values["status"] == status


GOOD = {
    "G01": {"loans": 915, "assets": 1_000, "liabilities": 400, "profit": 600},
    "G04": {"profit": 600, "interest_income": 700, "fee_income": 0, "impairment": 100},
    "G11": {"normal": 800, "special_mention": 50, "substandard": 40, "doubtful": 20, "loss": 5, "total": 915},
}


def test_returns_that_agree_have_no_finding_and_each_relation_bites() -> None:
    assert check_returns(GOOD, 915) == []
    assert [one.rule for one in check_returns(GOOD, 914)] == ["G01 loans are the sum of 503"]
    for name, cell in (("G11", "total"), ("G11", "loss"), ("G01", "assets"), ("G04", "impairment")):
        off = {**GOOD, name: {**GOOD[name], cell: GOOD[name][cell] + 1}}
        assert check_returns(off, 915), (name, cell)


def test_cells_of_the_company_are_added_up() -> None:
    assert add_up({"a": {"G01": {"loans": 1}}, "b": {"G01": {"loans": 2}}}) == {"G01": {"loans": 3}}
    assert (yuan(-5), yuan(123_456), yuan(-100)) == ("-0.05", "1234.56", "-1.00")


def test_a_batch_ends_once_whatever_is_answered_afterwards() -> None:
    assert plan_next(State.SENDING, "accepted") is State.ACCEPTED
    assert plan_next(State.RECEIVED, "rejected") is State.REJECTED
    for final in (State.ACCEPTED, State.REJECTED):
        assert [plan_next(final, answer) for answer in ("accepted", "rejected", "received")] == [None] * 3
    assert plan_next(State.SENDING, None) is None


def test_ids_periods_and_hashes_are_the_same_at_both_sites() -> None:
    assert batch_id_of(Kind.EAST, DAY, 2) == "east-20261130-002"
    assert default_since(DAY) == dt.date(2026, 10, 31)
    one = Made(Kind.EAST, DAY, None, {"a": 1, "b": 2}, {"x": {"lsn": "0/1"}}, ())
    other = Made(Kind.EAST, DAY, None, {"b": 2, "a": 1}, {"x": {"lsn": "0/2"}}, ())
    assert one.sm3 == other.sm3


def test_every_label_says_what_nobody_verified() -> None:
    labels = (TABLES.east_label, TABLES.returns_label, TABLES.records_label)
    assert all("not verified" in label.en for label in labels)
    assert len(TABLES.east["503"].columns) == 50


# The contract of the port, held by the fake: what any regulator has to do.


def answer_with(*faults: Fault) -> Any:
    waiting = list(faults)
    return lambda: waiting.pop(0) if waiting else None


MANIFEST = {"sm3": "aa"}


def test_the_same_batch_twice_is_filed_once_under_one_receipt(tmp_path: Path) -> None:
    fake = FakeRegulator(tmp_path)
    first = asyncio.run(fake.submit("east-1", MANIFEST))
    assert asyncio.run(fake.submit("east-1", MANIFEST)) == first
    assert fake.filed() == {"east-1": "aa"}


def test_another_content_under_a_known_id_is_rejected(tmp_path: Path) -> None:
    fake = FakeRegulator(tmp_path)
    asyncio.run(fake.submit("east-1", MANIFEST))
    assert asyncio.run(fake.submit("east-1", {"sm3": "bb"})).state == "rejected"
    assert fake.filed() == {"east-1": "aa"}


def test_silence_says_nothing_about_what_was_filed(tmp_path: Path) -> None:
    fake = FakeRegulator(tmp_path, answer_with(Fault.TIME_OUT, Fault.LOSE_ANSWER))
    for known in ({}, {"east-1": "aa"}):
        with pytest.raises(RegulatorSilent):
            asyncio.run(fake.submit("east-1", MANIFEST))
        assert fake.filed() == known
    found = asyncio.run(fake.find("east-1"))
    assert found is not None
    assert found.state == "accepted"
    assert asyncio.run(fake.find("east-2")) is None


def test_feedback_may_come_later_and_answers_may_come_twice(tmp_path: Path) -> None:
    fake = FakeRegulator(tmp_path, answer_with(Fault.LATE, Fault.ANSWER_TWICE))
    assert asyncio.run(fake.submit("pboc-1", MANIFEST)).state == "received"
    found = asyncio.run(fake.find("pboc-1"))
    assert found is not None
    assert found.state == "accepted"
    rejecting = FakeRegulator(tmp_path, answer_with(Fault.REJECT))
    assert asyncio.run(rejecting.submit("1104-1", MANIFEST)).state == "rejected"
