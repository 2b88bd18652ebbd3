"""Filings from real books: they agree with each other, what does not is refused, and money is traced."""

import datetime as dt
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from compliance.reporting.batch import Kind
from compliance.reporting.errors import DayNotClosed
from compliance.reporting.run import make_filing
from compliance.reporting.snapshot import IDLE, open_snapshot
from core_app.commands import make_command
from core_app.funding.service import Void, void_draw
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.filing_house import (
    MONTH_END,
    close_evening,
    corrupt,
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
    theirs = round(float(joint["balance"]) / 0.3 * 0.7, 2)
    assert [float(row["partner_liability"]) for row in partner] == [theirs]
    texts = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.txt"))
    assert "张三丰" not in texts
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0


async def make_all(core: Any, cells: Any, out: Path, *days: Any) -> dict[Kind, Any]:
    """Make every filing of an evening; nothing of it may be wrong."""
    house = open_house(core, cells, out)
    made = {kind: await make_filing(house, kind, evening(core, *days)) for kind in Kind}
    assert {kind: one.findings for kind, one in made.items()} == {kind: [] for kind in Kind}
    return made


LOWERED = """
insert into core.rate_changes (loan_id, plan_version, rate_before, rate_after, from_period, begins, document,
    document_sm3, decided_on, idempotency_key)
select loan_id, 2, rate_annual, rate_annual / 2, 2, '{day}', '', decode(repeat('00', 32), 'hex'), '{day}', 'r'
from core.loans where loan_id = '{loan}';
insert into core.instalments (loan_id, plan_version, period, begins, due, principal_fen, interest_fen,
    principal_before_fen, interest_before_fen, fee_fen, fee_before_fen, made_on)
select loan_id, 2, period, begins, due, principal_fen, interest_fen / 2, principal_before_fen,
    interest_before_fen / 2, fee_fen, fee_before_fen, '{day}'
from core.instalments where loan_id = '{loan}' and period > 1;
update core.loans set rate_annual = rate_annual / 2, plan_version = 2 where loan_id = '{loan}'"""
"""A reward, written down: a year of payments on time is more than a test has time for."""


async def test_an_evening_is_filed_as_it_was_whatever_became_of_its_loans(
    core: Any, cells: Any, client: Any, tmp_path: Path
) -> None:
    loans = await live_a_month(client, core, cells, settle=[5])
    early, bill, shorter, voided, bounced, cheaper = (loans[place] for place in (0, 1, 4, 3, 5, 7))
    first = await make_all(core, cells, tmp_path / "1")
    day = dt.date(2026, 2, 3)
    set_day(cells, day)
    _, payoff, _ = await client.get(f"/v1/loans/{early}/payoff")
    _, shown, _ = await client.get(f"/v1/loans/{shorter}")
    half_fen = shown["balance_fen"] // 2
    whole = f"select repayment_id from core.repayments where loan_id = '{bounced}'"
    for path, wish in (
        ("repayments", {"loan_id": bill, "amount_fen": 5_000}),
        ("prepayments", {"loan_id": early, "mode": "full", "amount_fen": payoff["total_fen"]}),
        ("prepayments", {"loan_id": shorter, "mode": "keep_instalment", "amount_fen": half_fen}),
        ("reversals", {"repayment_id": (await cells.rows(whole))[0][0], "reason": "bounced_debit"}),
    ):
        status, answer, _ = await client.post(f"/v1/{path}", wish)
        assert status == 201, answer
    seen_at = f"select changed_at from core.payout_orders where loan_id = '{voided}'"
    command = make_command(core, "void-after-the-evening", "void", {"loan_id": voided})
    await void_draw(core, command, Void(voided, "refused", (await cells.rows(seen_at))[0][0]))
    corrupt(cells, LOWERED.format(loan=cheaper, day=day))
    second = await make_all(core, cells, tmp_path / "2")
    assert {kind: one.sm3 for kind, one in second.items()} == {kind: one.sm3 for kind, one in first.items()}
    await close_evening(core, cells, loans, day)
    later = await make_all(core, cells, tmp_path / "3", MONTH_END, day)
    before, rows = (
        {
            row["iou"]: row
            for row in read_rows(open_house(core, cells, tmp_path / out), made[Kind.EAST], "503")
        }
        for out, made in (("2", second), ("3", later))
    )
    assert rows.keys() == before.keys() - {voided}
    assert (before[bounced]["ended"], rows[bounced]["ended"]) == ("20260125", "99991231")
    assert (before[early]["ended"], rows[early]["ended"]) == ("99991231", "20260203")
    assert rows[early]["maturity"] == before[early]["maturity"]
    assert int(rows[shorter]["periods"]) < int(before[shorter]["periods"])
    assert rows[cheaper]["periods"] == before[cheaper]["periods"], "the first is of the plan before"
    assert float(rows[cheaper]["rate"]) == float(before[cheaper]["rate"]) / 2


BY_LOAN = """
select i.loan_id, to_char(max(i.due), 'YYYYMMDD'), count(*),
    least(count(*) filter (where i.due <= '{day}') + 1, count(*)),
    coalesce(sum(i.principal_fen) filter (where i.due = s.next_due), 0)::bigint,
    coalesce(sum(i.interest_fen) filter (where i.due = s.next_due), 0)::bigint,
    max(s.days_past_due), max(s.next_due)
from core.instalments i join core.loan_snapshots s on s.loan_id = i.loan_id and s.on_date = '{day}'
group by i.loan_id"""
"""What a filing computes for all loans at once, loan by loan."""


@pytest.mark.parametrize("day", [dt.date(2026, 2, 14), dt.date(2026, 2, 15), dt.date(2026, 2, 16)], ids=str)
async def test_the_figures_of_a_plan_are_those_of_its_own_instalments(
    loans: list[str], core: Any, cells: Any, client: Any, tmp_path: Path, day: dt.date
) -> None:
    set_day(cells, dt.date(2026, 2, 13))
    for loan_id in loans[::2]:
        _, shown, _ = await client.get(f"/v1/loans/{loan_id}")
        wish = {"loan_id": loan_id, "amount_fen": max(1, shown["next_due_fen"])}
        status, answer, _ = await client.post("/v1/repayments", wish)
        assert status == 201, answer
    await close_evening(core, cells, loans, day)
    house = open_house(core, cells, tmp_path)
    made = await make_filing(house, Kind.EAST, evening(core, MONTH_END, day))
    assert made.findings == []
    names = ("iou", "maturity", "periods", "period", "next_principal", "next_interest")
    filed = {tuple(row[name] for name in names) for row in read_rows(house, made, "503")}
    stood = await cells.rows(BY_LOAN.format(day=day))
    assert filed >= {
        (loan_id, maturity, str(periods), str(period), f"{principal / 100:.2f}", f"{interest / 100:.2f}")
        for loan_id, maturity, periods, period, principal, interest, _, _ in stood
    }
    assert len({due for *_, due in stood}) > 1, "some have paid what was due, some have not"
    assert {late > 0 for *_, late, _ in stood} == {False, True}


async def test_a_cells_evening_outlasts_the_writing_of_anothers(
    core: Any, cells: Any, tmp_path: Path
) -> None:
    house = open_house(core, cells, tmp_path)
    set_day(cells, MONTH_END + dt.timedelta(1))
    async with open_snapshot(house.connect, house.cells[0], house.tables, evening(core)) as snapshot:
        row = await (await snapshot.connection.execute("show idle_in_transaction_session_timeout")).fetchone()
    assert row == (IDLE,)


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
    late = next(row for row in read_rows(house, made, "503") if row["iou"] == loans[4])
    assert (late["missed_in_a_row"], late["missed"]) == ("1", "1")
    bureau = await make_filing(house, Kind.PBOC, evening(core, MONTH_END, day))
    assert bureau.findings == []
    end = dt.date(2026, 3, 3)
    set_day(cells, end)
    _, shown, _ = await client.get(f"/v1/loans/{loans[4]}")
    status, answer, _ = await client.post(
        "/v1/repayments", {"loan_id": loans[4], "amount_fen": shown["next_due_fen"]}
    )
    assert status == 201, answer
    await close_evening(core, cells, loans, end)
    paid = read_rows(house, await make_filing(house, Kind.EAST, evening(core, day, end)), "503")
    late = next(row for row in paid if row["iou"] == loans[4])
    assert (late["missed_in_a_row"], late["missed"]) == ("0", "1"), "what was paid late stays counted"


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
