"""The pure parts of filings: bureau records keep their rules, returns agree, batches end once."""

import asyncio
import dataclasses
import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from compliance.reporting import bureau, bureau_others
from compliance.reporting.batch import Kind, Made, State, batch_id_of, default_since, plan_next
from compliance.reporting.catalogue import read_tables
from compliance.reporting.errors import RegulatorSilent
from compliance.reporting.regulator import FakeRegulator, Fault
from compliance.reporting.returns import add_up, check_returns, yuan
from compliance.reporting.statements import Statement, find_statement_faults, list_missing, render_stated

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
        "last_paid": None, "paid_fen": 0, "due_fen": 0, "types": 1, "joint": False, "trades": [],
    }  # fmt: skip
    return made | changed


def broken_rules(row: dict[str, Any], point: str, person: Any = None, **changed: Any) -> list[str]:
    """Return the rules that a record breaks; `changed`: fields of H by tag, segments to leave out (None)."""
    values = bureau.make_values(row, PERSON if person is None else person, point, PERIOD, "ORG")
    record = TABLES.records["210"]
    segments = bureau.fill(record, bureau.segments_of(row["account_type"], point), values)
    segments |= bureau.fill_trades(record, row["trades"])
    for name, text in changed.items():
        if name == "guarantee":
            values[name] = text
        elif text is None:
            del segments[name]
        else:
            segments["H"][name] = text
    return [one.rule for one in bureau.check_record(record, segments, values, PERIOD)]


@pytest.mark.parametrize(
    ("row", "period", "points"),
    [
        (account(), PERIOD, ("10", "32")),
        (account(opened=dt.date(2026, 5, 1)), PERIOD, ("32",)),
        (account(opened=dt.date(2026, 10, 31)), PERIOD, ("32",)),  # told on the evening of the last filing
        (account(opened=dt.date(2026, 11, 1)), PERIOD, ("10", "32")),
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


CLOSED = account(ended=DAY, last_paid=DAY, balance_fen=0)
LATE_TRADE = {"kind": "4", "on": "2026-10-30", "fen": 100}
BROKEN: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("a new account has its basic segment", account(), "10", {"C": None}),
    ("a term loan reports its month", account(), "32", {"H": None}),
    ("an account under a line names it", account(account_type="R4", repay_mode="23", frequency="99"), "10",
     {"F": None}),
    ("the month is that of the report", account(), "32", {"Month": "2026-10"}),
    ("a closed account owes nothing", CLOSED, "20", {"AcctBal": "5.00"}),
    ("a closed account owes nothing", CLOSED, "20", {"OverdPrd": "1"}),
    ("a closed account has its day and state", CLOSED, "20", {"CloseDate": ""}),
    ("a closed account has its day and state", CLOSED, "20", {"RpyStatus": "N"}),
    ("it closes on its last repayment or later", CLOSED | {"last_paid": DAY + dt.timedelta(1)}, "20", {}),
    ("only an overdue account has overdue periods", account(days_past_due=9), "10", {}),
    ("special trades are of the period", account(trades=[LATE_TRADE]), "32", {}),
    ("it opens before it is due", account(due=dt.date(2026, 11, 1)), "10", {}),
    ("aggregated bills are monthly", account(repay_mode="90", frequency="99"), "10", {}),
    ("bullet and anytime are irregular", account(repay_mode="23"), "10", {}),
    ("a revolving account is not repaid by term modes", account(account_type="R1"), "10", {}),
    ("a term account is not repaid by revolving modes", account(repay_mode="31"), "32", {}),
    ("who guarantees is named", account(), "32", {"guarantee": "3"}),
    ("the type of an account never changes", account(types=2), "32", {}),
    ("the borrower is named", account(), "10", {"person": {}}),
    ("B.AcctType is of its code list", account(account_type="X9"), "10", {}),
    ("H.FiveCate is of its code list", account(class5=6), "10", {}),
    ("C.RepayMode is of its code list", account(repay_mode="22", frequency="99"), "10", {}),
    ("K.ChanTranType is of its code list",
     account(trades=[{"kind": "7", "on": "2026-11-20", "fen": 1}]), "32", {}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "row", "point", "changed"), BROKEN)
def test_each_rule_of_a_record_is_broken_once_and_bites(
    rule: str, row: dict[str, Any], point: str, changed: dict[str, Any]
) -> None:
    assert broken_rules(row, point, **changed).count(rule) == 1


def test_no_rule_of_a_record_is_left_out_above() -> None:
    values = bureau.make_values(account(), PERSON, "10", PERIOD, "ORG")
    every = [*bureau._of_state({}, values, PERIOD), *bureau._of_terms({}, values, PERIOD)]
    assert {rule for rule, *_ in every} <= {rule for rule, *_ in BROKEN}


def test_a_closed_record_breaks_no_rule() -> None:
    assert broken_rules(CLOSED, "20") == []


def test_what_was_written_off_is_closed_as_such_and_owes_the_bureau_nothing() -> None:
    for written_off, state, status in ((False, "3", "C"), (True, "42", "G")):
        values = bureau.make_values(CLOSED | {"written_off": written_off}, PERSON, "20", PERIOD, "ORG")
        assert (values["state"], values["status"], values["balance_fen"]) == (state, status, 0)
    assert broken_rules(CLOSED | {"written_off": True}, "20") == []


def test_special_trades_are_segments_of_their_own() -> None:
    trades = [{"kind": "4", "on": "2026-11-20", "fen": 100}, {"kind": "5", "on": "2026-11-30", "fen": 250}]
    assert broken_rules(account(trades=trades), "32") == []
    made = bureau.fill_trades(TABLES.records["210"], trades)
    assert [(name, one["TranAmt"]) for name, one in made.items()] == [("K1", "1.00"), ("K2", "2.50")]


AGREEMENT = {
    "agreement": "K1", "customer_id": "C1", "amount_fen": 5_000_000, "opened": dt.date(2026, 11, 3),
    "due": dt.date(2027, 11, 3), "ended": None,
}  # fmt: skip


def broken_of_agreement(person: Any = None, **changed: Any) -> list[str]:
    row = AGREEMENT | changed
    who = PERSON if person is None else person
    values = bureau_others.make_agreement(row, who, "10", PERIOD, "ORG") | {
        key: value for key, value in changed.items() if key == "currency"
    }
    record = TABLES.records["220"]
    segments = bureau.fill(record, ("B", "C"), values)
    return [one.rule for one in bureau_others.check_agreement(record, segments, values, PERIOD)]


@pytest.mark.parametrize(
    ("rule", "changed"),
    [
        ("nothing is filed of an agreement that has ended", {"ended": dt.date(2026, 10, 31)}),
        ("an agreement begins before it ends", {"due": dt.date(2026, 11, 2)}),
        ("an agreement is of some amount", {"amount_fen": 0}),
        ("the borrower is named", {"person": {}}),
        ("C.Cy is of its code list", {"currency": "USD"}),
    ],
)
def test_each_rule_of_an_agreement_bites(rule: str, changed: dict[str, Any]) -> None:
    assert broken_of_agreement() == []
    assert broken_of_agreement(**changed) == [rule]


@pytest.mark.parametrize(
    ("changed", "points"),
    [
        ({}, ("10",)),
        ({"opened": dt.date(2026, 5, 1)}, ()),
        ({"opened": dt.date(2026, 5, 1), "ended": DAY}, ("20",)),
        ({"ended": DAY}, ("10", "20")),
    ],
)
def test_an_agreement_is_reported_when_it_begins_and_ends(
    changed: dict[str, Any], points: tuple[str, ...]
) -> None:
    assert bureau_others.agreement_points(AGREEMENT | changed, PERIOD) == points


def test_only_what_was_filed_can_be_deleted() -> None:
    filed = {"code": "L1", "opened": dt.date(2026, 10, 30), "ended": DAY}
    assert bureau_others.check_deletion(filed, PERIOD) == []
    for period in (PERIOD, bureau.Period(None, DAY)):
        fresh = filed | {"opened": dt.date(2026, 11, 2)}
        assert [one.rule for one in bureau_others.check_deletion(fresh, period)] == [
            "what is deleted was filed"
        ]


def test_an_event_stands_alone_and_in_its_month() -> None:
    event = {"AcctCode": "L1", "RptDate": "2026-11-30", "Month": "2026-11"}
    assert bureau_others.check_event(event, frozenset()) == []
    beside = frozenset({("L1", "2026-11-30")})
    assert [one.rule for one in bureau_others.check_event(event, beside)] == [
        "an event is not told beside its account's own record"
    ]
    other = bureau_others.check_event(event | {"Month": "2026-10"}, frozenset())
    assert [one.rule for one in other] == ["an event's month is that of the report"]


def test_every_record_and_segment_is_made_or_says_why_not() -> None:
    assert sorted(TABLES.records) == [
        "110", "120", "130", "140", "210", "211", "212", "213", "214", "215", "220", "230",
    ]  # fmt: skip
    made = {"110", "210", "214", "220"}
    for name, record in TABLES.records.items():
        assert (record.why_empty is None) == (name in made), name
    account_record = TABLES.records["210"]
    assert "".join(account_record.segments) == "BCDEFGHIJK"
    assert "".join(account_record.segments_empty) == "DEGIJ"


@pytest.mark.parametrize(
    ("days", "status"), [(0, "N"), (1, "1"), (30, "1"), (31, "2"), (180, "6"), (181, "7")]
)  # fmt: skip
def test_the_status_follows_days_past_due(days: int, status: str) -> None:
    values = bureau.make_values(account(days_past_due=days), PERSON, "32", PERIOD, "ORG")
    assert values["status"] == status


GOOD = {
    "G01": {"loans": 915, "assets": 1_000, "liabilities": 400, "profit": 600, "provision": -90,
            "deposits": 75, "owed_to_funders": 30, "other_payables": 7},
    "G03": {"opening": 70, "set_aside": 40, "written_off": 25, "recovered": 5, "closing": 90},
    "G04": {"profit": 600, "interest_income": 700, "fee_income": 30, "impairment": 100, "marketing": 30},
    "G11": {"normal": 800, "special_mention": 50, "substandard": 40, "doubtful": 20, "loss": 5, "total": 915,
            "individuals": 915, "industries": 0},
    "G14": {"largest": 400, "ten_largest": 900, "loans": 915},
    "G22": {"deposits": 75, "owed_to_funders": 30, "other_payables": 7},
    "G40": {"loans_net": 825},
}  # fmt: skip
OFF = [
    ("G01 loans are the sum of 503", "G01", "loans", 1),
    ("G11 total is G01 loans", "G11", "total", 1),
    ("G11 classes sum to its total", "G11", "loss", 1),
    ("G11 rows of part I sum to its total", "G11", "individuals", 1),
    ("G11 lends to no company", "G11", "industries", 1),
    ("assets are liabilities and profit", "G01", "assets", 1),
    ("profit is income less impairment and marketing", "G04", "impairment", 1),
    ("profit is income less impairment and marketing", "G04", "marketing", 1),
    ("G03 rolls forward", "G03", "recovered", 1),
    ("G03 closing is G01 provision", "G03", "closing", 1),
    ("G14 loans are G01 loans", "G14", "loans", 1),
    ("the ten largest are within all loans", "G14", "ten_largest", 16),
    ("the largest is one of the ten", "G14", "largest", 501),
    ("G22 deposits are G01 deposits", "G22", "deposits", 1),
    ("G22 owed to funders is that of G01", "G22", "owed_to_funders", 1),
    ("G22 payables are those of G01", "G22", "other_payables", 1),
    ("G40 loans net are G01 loans less provision", "G40", "loans_net", 1),
]


@pytest.mark.parametrize(("rule", "name", "cell", "more"), OFF)
def test_each_relation_between_returns_bites(rule: str, name: str, cell: str, more: int) -> None:
    assert check_returns(GOOD, 915) == []
    off = {**GOOD, name: {**GOOD[name], cell: GOOD[name][cell] + more}}
    found = check_returns(off, 915)
    assert rule in [one.rule for one in found]
    assert all(one.found != one.needed for one in found)


def test_cells_of_the_company_are_put_together_as_each_says() -> None:
    ways = {"G14": {"loans": "sum", "largest": "max", "ten_largest": "ten"}}
    a = {"G14": {"loans": [6], "largest": [5], "ten_largest": [5, 1]}}
    b = {"G14": {"loans": [70], "largest": [9], "ten_largest": [9, 8, 8, 8, 8, 8, 8, 8, 5]}}
    empty: Any = {"G14": {"loans": [], "largest": [], "ten_largest": []}}
    total = add_up({"a": a, "b": b, "c": empty}, ways)
    assert total == {"G14": {"loans": 76, "largest": 9, "ten_largest": 75}}
    assert add_up({"c": empty}, ways) == {"G14": {"loans": 0, "largest": 0, "ten_largest": 0}}
    assert (yuan(-5), yuan(123_456), yuan(-100)) == ("-0.05", "1234.56", "-1.00")


def stated(fen: int, **changed: Any) -> Statement:
    made = Statement(Decimal(fen) / 100, DAY, "finance", "chen.yu", "ledger of finance, November")
    return dataclasses.replace(made, **changed)


CAPITAL = {
    name: stated(fen)
    for name, fen in (
        ("core_tier1", 100), ("tier1", 100), ("capital", 120), ("credit_risk", 700), ("market_risk", 0),
        ("operational_risk", 90), ("risk_weighted", 790),
    )
}  # fmt: skip


def test_what_others_keep_is_filed_with_whose_it_is_and_never_made_up() -> None:
    assert find_statement_faults(TABLES.stated(), {"G40": CAPITAL}, DAY) == []
    assert list_missing(TABLES.stated(), {"G40": CAPITAL}) == []
    lines = render_stated("G40", TABLES.stated(), {"G40": CAPITAL})
    assert lines[2].startswith("G40.capital\t资本净额\tCapital net\t1.20\tfinance, chen.yu, 2026-11-30")
    assert all(line.split("\t")[3:] == ["", "未提供 not stated"] for line in
               render_stated("G40", TABLES.stated(), {}))  # fmt: skip
    assert list_missing(TABLES.stated(), {}) == [f"G40.{name} (finance)" for name in CAPITAL]


@pytest.mark.parametrize(
    ("name", "cell", "one", "rule"),
    [
        ("G40", "goodwill", stated(1), "a stated cell is of the catalogue"),
        ("G99", "capital", stated(1), "a stated cell is of the catalogue"),
        ("G01", "loans", stated(1), "a stated cell is of the catalogue"),
        ("G40", "capital", stated(120, as_of=DAY - dt.timedelta(1)), "it is stated as of the evening"),
        ("G40", "capital", stated(120, owner="sales"), "it is stated by its owner"),
        ("G40", "capital", stated(99), "tier1 is part of capital"),
        ("G40", "core_tier1", stated(101), "core_tier1 is part of tier1"),
        ("G40", "market_risk", stated(1), "risk-weighted assets are their three parts"),
    ],
)
def test_a_statement_that_cannot_be_is_refused(name: str, cell: str, one: Statement, rule: str) -> None:
    given = {"G40": CAPITAL} | {name: {**(CAPITAL if name == "G40" else {}), cell: one}}
    assert [found.rule for found in find_statement_faults(TABLES.stated(), given, DAY)] == [rule]


def test_a_batch_ends_once_whatever_is_answered_afterwards() -> None:
    assert plan_next(State.SENDING, "accepted") is State.ACCEPTED
    assert plan_next(State.RECEIVED, "rejected") is State.REJECTED
    for final in (State.ACCEPTED, State.REJECTED):
        assert [plan_next(final, answer) for answer in ("accepted", "rejected", "received")] == [None] * 3
    assert plan_next(State.SENDING, None) is None
    assert plan_next(State.RECEIVED, "received") is None, "nothing is written down twice"


def test_ids_periods_and_hashes_are_the_same_at_both_sites() -> None:
    assert batch_id_of(Kind.EAST, DAY, 2) == "east-20261130-002"
    for day, since in (
        (DAY, (2026, 10, 31)),
        (dt.date(2026, 3, 31), (2026, 2, 28)),
        (dt.date(2026, 1, 5), (2025, 12, 31)),
    ):
        assert default_since(day) == dt.date(*since)
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
