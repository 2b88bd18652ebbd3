"""Filings from real books: they agree with each other, what does not is refused, and money is traced."""

import datetime as dt
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from compliance.reporting.batch import Kind
from compliance.reporting.errors import DayNotClosed
from compliance.reporting.run import make_filing
from core_app.commands import make_command
from core_app.funding.service import Void, void_draw
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.filing_house import (
    MONTH_END,
    close_evening,
    evening,
    live_a_month,
    open_house,
)
from tests.integration.core_app.portfolio import set_day


@pytest.fixture
async def loans(client: Any, core: Any, cells: Any) -> list[str]:
    return await live_a_month(client, core, cells)


def read_rows(house: Any, made: Any, name: str) -> list[dict[str, str]]:
    table = house.tables.east[name]
    text = (house.out / made.content["tables"][name]["file"]).read_text(encoding="utf-8")
    columns = [column[0] for column in table.columns]
    return [dict(zip(columns, line.split(house.tables.delimiter), strict=True)) for line in text.splitlines()]


async def test_a_month_is_filed_whole_and_everything_agrees(
    loans: list[str], core: Any, cells: Any, tmp_path: Path
) -> None:
    house = open_house(core, cells, tmp_path)
    east = await make_filing(house, Kind.EAST, evening(core))
    assert east.findings == []
    ious = read_rows(house, east, "503")
    assert sorted(row["iou"] for row in ious) == sorted(loans)
    assert len(ious[0]) == 50
    assert {row["customer_id"] for row in ious} == {
        row["customer_id"] for row in read_rows(house, east, "201")
    }
    returns = await make_filing(house, Kind.RETURNS, evening(core))
    assert returns.findings == []
    own_fen = round(sum(float(row["balance"]) for row in ious) * 100)
    ledger = await cells.rows(
        "select coalesce(sum(amount_fen), 0)::bigint from core.entries where account = '1303'"
    )
    assert own_fen == sum(fen for (fen,) in ledger) == returns.content["values_fen"]["G01"]["loans"]
    joint = next(row for row in ious if row["iou"] == loans[-1])
    assert float(joint["amount"]) == 3_600.00, "our 30 % of 12,000 only"
    partner = read_rows(house, east, "502")
    assert [(row["agreement"], float(row["partner_share"])) for row in partner] == [("bank_east", 70.0)]
    texts = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.txt"))
    assert "张三丰" not in texts
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0


async def test_the_same_books_give_the_same_bytes_also_after_business_went_on(
    loans: list[str], core: Any, cells: Any, client: Any, tmp_path: Path
) -> None:
    first = await make_filing(open_house(core, cells, tmp_path / "1"), Kind.EAST, evening(core))
    set_day(cells, dt.date(2026, 2, 3))
    body = {"loan_id": loans[1], "amount_fen": 5_000}
    status, answer, _ = await client.post("/v1/repayments", body)
    assert status == 201, answer
    second = await make_filing(open_house(core, cells, tmp_path / "2"), Kind.EAST, evening(core))
    assert first.sm3 == second.sm3
    assert second.findings == []


async def test_the_next_month_rolls_forward_from_the_last(
    loans: list[str], core: Any, cells: Any, client: Any, tmp_path: Path
) -> None:
    day = dt.date(2026, 2, 28)
    set_day(cells, dt.date(2026, 2, 16))
    status, answer, _ = await client.post("/v1/repayments", {"loan_id": loans[0], "amount_fen": 9_999})
    assert status == 201, answer
    await close_evening(core, cells, loans, day)
    house = open_house(core, cells, tmp_path)
    made = await make_filing(house, Kind.EAST, evening(core, MONTH_END, day))
    assert made.findings == []
    assert {row["core_date"] for row in read_rows(house, made, "410")} == {"20260216"}
    assert any(int(row["missed"]) > 0 for row in read_rows(house, made, "503"))
    bureau = await make_filing(house, Kind.PBOC, evening(core, MONTH_END, day))
    assert bureau.findings == []


async def test_a_day_that_is_not_closed_is_not_filed(core: Any, cells: Any, tmp_path: Path) -> None:
    set_day(cells, TODAY)
    with pytest.raises(DayNotClosed, match="day-end run"):
        await make_filing(open_house(core, cells, tmp_path), Kind.EAST, evening(core, day=TODAY))


async def test_bureau_records_name_people_merge_bills_and_report_our_share(
    loans: list[str], core: Any, cells: Any, tmp_path: Path
) -> None:
    house = open_house(core, cells, tmp_path)
    made = await make_filing(house, Kind.PBOC, evening(core, dt.date(2025, 12, 31)))
    assert made.findings == []
    document = ET.parse(tmp_path / made.content["tables"]["210"]["file"]).getroot()
    accounts = [rec for rec in document if rec.get("type") == "210"]
    assert {rec.findtext("B/Name") for rec in accounts} == {"张三丰"}
    points = sorted({str(rec.findtext("B/RptDateCode")) for rec in accounts})
    assert points == ["10", "32"], "new ones, and the month's end"
    merged = [rec for rec in accounts if str(rec.findtext("B/AcctCode")).endswith("-bill-small-ticket")]
    assert {rec.findtext("C/RepayMode") for rec in merged if rec.find("C") is not None} == {"90"}
    assert {rec.findtext("C/RepayFreqcy") for rec in merged if rec.find("C") is not None} == {"03"}
    joint = next(rec for rec in accounts if rec.findtext("B/AcctCode") == loans[-1])
    assert joint.findtext("C/LoanAmt") == "3600.00"


async def test_agreements_are_filed_before_what_was_drawn_under_them(
    loans: list[str], core: Any, cells: Any, tmp_path: Path
) -> None:
    house = open_house(core, cells, tmp_path)
    made = await make_filing(house, Kind.PBOC, evening(core, dt.date(2025, 12, 31)))
    document = ET.parse(tmp_path / made.content["tables"]["210"]["file"]).getroot()
    filed: set[str | None] = set()
    named = 0
    for rec in document:
        if rec.get("type") == "220":
            filed.add(rec.findtext("B/Mcc"))
            assert rec.findtext("B/Name") == "张三丰"
        elif (line := rec.findtext("F/Mcc")) is not None:
            named += 1
            assert line in filed
    assert (len(filed), named) == (4, 4), "two customers, a revolving line and a line of bills each"
    assert made.content["tables"]["210"]["records"]["220"] == 4


async def test_prepayments_and_voided_draws_are_told_to_the_bureau(
    loans: list[str], core: Any, cells: Any, client: Any, tmp_path: Path
) -> None:
    day = dt.date(2026, 2, 3)
    set_day(cells, day)
    quote = await client.get(f"/v1/loans/{loans[0]}/payoff")
    wish = {"loan_id": loans[0], "mode": "full", "amount_fen": quote[1]["total_fen"]}
    status, answer, _ = await client.post("/v1/prepayments", wish)
    assert status == 201, answer
    unpaid = (
        "select l.loan_id, o.changed_at from core.loans l join core.payout_orders o using (loan_id) where "
        "l.product <> 'bill-small-ticket' and l.principal_paid_fen + l.interest_paid_fen = 0 order by 1"
    )
    voided_id, seen_at = (await cells.rows(unpaid))[0]
    command = make_command(core, "void-for-the-bureau", "void", {"loan_id": voided_id})
    await void_draw(core, command, Void(voided_id, "refused", seen_at))
    await close_evening(core, cells, loans, day)
    made = await make_filing(open_house(core, cells, tmp_path), Kind.PBOC, evening(core, MONTH_END, day))
    assert made.findings == []
    document = ET.parse(tmp_path / made.content["tables"]["210"]["file"]).getroot()
    trades = [
        (rec.findtext("B/AcctCode"), rec.findtext("B/RptDateCode"), trade.findtext("ChanTranType"))
        for rec in document
        for trade in rec.findall("K")
    ]
    assert trades == [(loans[0], "20", "5")]
    gone = [rec.findtext("B/DelRecCode") for rec in document if rec.get("type") == "214"]
    assert gone == [voided_id]
