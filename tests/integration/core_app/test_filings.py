"""Filings from real books: they agree with each other, what does not is refused, and money is traced."""

import datetime as dt
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import psycopg
import pytest

from compliance.reporting.batch import Kind
from compliance.reporting.errors import DayNotClosed
from compliance.reporting.flows import trace_flows
from compliance.reporting.run import make_filing
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


SAVED = ("entries", "customers", "loan_snapshots", "outbox", "contracts")


def corrupt(cells: Any, statement: str) -> None:
    """Do what only a superuser behind the append-only triggers could, in every cell."""
    for database in cells.databases.values():
        cells.server.run(
            "psql", "-U", "biyi_admin", "-d", database, "-v", "ON_ERROR_STOP=1", "-qc",
            f"set session_replication_role = replica; {statement}",
        )  # fmt: skip


CORRUPTIONS = [
    (
        "update core.entries set amount_fen = amount_fen - 1 where account = '1303' and amount_fen > 0 and "
        "loan_id = '{loan}'",
        "sum-503-is-gl",
        "503",
    ),
    ("delete from core.customers where customer_id in ({customer})", "customer-of-503", "503"),
    ("delete from core.customers where customer_id in ({customer})", "customer-of-501", "501"),
    ("delete from core.contracts where contract_id in ({contract})", "contract-of-503", "503"),
    ("update core.loan_snapshots set days_past_due = 100 where loan_id = '{loan}'", "class-floor", "503"),
    (
        "update core.loan_snapshots set asset_class = 'loss', balance_fen = balance_fen + 100 "
        "where loan_id = '{loan}'",
        "roll-forward",
        "410",
    ),
    ("delete from core.loan_snapshots where loan_id = '{loan}'", "evening-there", "503"),
    ("delete from core.outbox where key = '{loan}' and topic = 'loan.drawn'", "drawn-is-captured", "503"),
    (
        "update core.contracts set amount_fen = 1 where contract_id in ({contract})",
        "iou-within-contract",
        "501",
    ),
]


async def test_what_does_not_agree_is_refused_with_table_key_rule_and_values(
    loans: list[str], core: Any, cells: Any, tmp_path: Path
) -> None:
    house = open_house(core, cells, tmp_path)
    of_loan = {name: f"select {name}_id from core.loans where loan_id = '{loans[3]}'"
               for name in ("customer", "contract")}  # fmt: skip
    corrupt(cells, ";".join(f"create table public.kept_{t} as table core.{t}" for t in SAVED))
    back = ";".join(
        f"truncate core.{t} cascade; insert into core.{t} overriding system value table public.kept_{t}"
        for t in ("entries", "outbox", "loan_snapshots")
    )
    back += ";" + ";".join(
        f"delete from core.{t}; insert into core.{t} table public.kept_{t}"
        for t in ("customers", "contracts")
    )
    try:
        for statement, rule, table in CORRUPTIONS:
            corrupt(cells, statement.format(loan=loans[3], **of_loan))
            made = await make_filing(house, Kind.EAST, evening(core))
            corrupt(cells, back)
            found = [one for one in made.findings if one.rule.startswith(f"{rule}:")]
            assert found, (rule, [one.rule for one in made.findings])
            assert (found[0].table, bool(found[0].key)) == (table, True)
            assert found[0].found != found[0].needed
        assert (await make_filing(house, Kind.EAST, evening(core))).findings == []
    finally:
        corrupt(cells, ";".join(f"drop table public.kept_{t}" for t in SAVED))


async def test_flows_are_reconciled_or_listed(loans: list[str], core: Any, cells: Any) -> None:
    async def trace() -> list[Any]:
        found = []
        for cell, database in cells.databases.items():
            dsn = cells.server.dsn(database, "biyi_report")
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
                found.append(await trace_flows(connection, cell))
        return found

    # Nobody paid the orders of this test out: each is listed as on its way, and nothing else is wrong.
    flows = await trace()
    assert sum(one.loans for one in flows) == len(loans)
    assert {e.rule for one in flows for e in one.exceptions} == {"the payout is on its way: ordered"}
    corrupt(cells, "update core.payout_orders set state = 'paid', channel = 'bank_a'")
    flows = await trace()
    assert [one.exceptions for one in flows] == [(), ()]
    assert sum(one.reconciled for one in flows) == len(loans)
    corrupt(cells, f"update core.repayments set amount_fen = amount_fen + 1, penalty_fen = penalty_fen + 1"
                   f" where loan_id = '{loans[0]}'")  # fmt: skip
    broken = [e for one in await trace() for e in one.exceptions]
    assert [(e.loan_id, e.rule) for e in broken] == [
        (loans[0], "bank: repaid and surplus less what was paid out")
    ]
