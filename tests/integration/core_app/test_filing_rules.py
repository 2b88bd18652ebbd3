"""Each rule of filings is broken once, in the books or in a definition, and nothing leaves."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compliance.reporting.batch import Kind
from compliance.reporting.errors import FilingRefused
from compliance.reporting.run import make_filing
from compliance.reporting.snapshot import open_snapshot
from compliance.reporting.submission import prepare, read_standings
from core_app.staff.portal import make_portal
from tests.integration.core_app.filing_house import corrupt, evening, live_a_month, open_house


@pytest.fixture
async def loans(client: Any, core: Any, cells: Any) -> list[str]:
    return await live_a_month(client, core, cells)


SAVED = ("entries", "customers", "loan_snapshots", "outbox", "contracts", "loan_funders", "loans")


ONE_ENTRY = "where account = '1303' and amount_fen > 0 and loan_id = '{loan}'"
ONE_EVENING = "where loan_id = '{loan}'"
CORRUPTIONS = [
    (f"update core.entries set amount_fen = amount_fen - 1 {ONE_ENTRY}", "sum-503-is-gl"),
    (f"update core.entries set amount_fen = amount_fen - 1 {ONE_ENTRY}", "account-is-ledger"),
    (f"update core.entries set amount_fen = amount_fen - 1 {ONE_ENTRY}", "balanced-gl"),
    (f"update core.entries set account = '9999' {ONE_ENTRY}", "gl-complete"),
    ("delete from core.customers where customer_id in ({customer})", "customer-of-503"),
    ("delete from core.customers where customer_id in ({customer})", "customer-of-501"),
    ("delete from core.contracts where contract_id in ({contract})", "contract-of-503"),
    (f"update core.loan_snapshots set days_past_due = 100 {ONE_EVENING}", "class-floor"),
    (f"update core.loan_snapshots set balance_fen = balance_fen + 100 {ONE_EVENING}", "roll-forward"),
    (f"delete from core.loan_snapshots {ONE_EVENING}", "evening-there"),
    (
        f"update core.loan_snapshots set principal_overdue_fen = balance_fen + 1 {ONE_EVENING}",
        "overdue-within-balance",
    ),
    ("delete from core.outbox where key = '{loan}' and topic = 'loan.drawn'", "drawn-is-captured"),
    ("delete from core.outbox where topic = 'loan.repaid'", "change-is-captured"),
    ("update core.contracts set amount_fen = 1 where contract_id in ({contract})", "iou-within-contract"),
    ("update core.loan_funders set share = 0.9 where funder = 'bank_east'", "partner-share"),
]
"""What somebody did behind every trigger, and the rule that finds it."""
DOUBLED = {"unique-503": "503", "unique-501": "501", "unique-410": "410"}
"""Keys that no row of the books can double; a join of a table's definition can."""
BAD_FIELDS = [
    ("update core.contracts set rate_annual = 1.5 where contract_id in ({contract})", "501", "rate"),
    ("update core.loans set channel = E'a\\tb' where loan_id = '{loan}'", "410", "channel"),
    ("update core.loans set region = '' where loan_id = '{loan}'", "503", "region"),
]
BAD_COLUMNS = [
    ("503", "class5", "'好'", "class5: is of its code list"),
    ("503", "issued", "null::date", "issued: is a day"),
    ("503", "contract", "''", "contract: is not empty"),
    ("503", "kind", "E'a\\nb'", "kind: has no control characters"),
    ("503", "amount", "-1", "amount: is in its range"),
    ("503", "amount", "1.5", "amount: is in its range"),
    ("503", "rate", "1.01", "rate: is in its range"),
    ("503", "periods", "-1", "periods: is in its range"),
    ("503", "periods", "null", "periods: is in its range"),
]


async def find_broken(house: Any, core: Any, name: str, *, fields: bool = False) -> list[Any]:
    """Return the findings of one check, or of the fields of a table, in every cell."""
    found = []
    for cell in house.cells:
        async with open_snapshot(house.connect, cell, house.tables, evening(core)) as snapshot:
            found += await (snapshot.check_fields(name) if fields else snapshot.check(name))
    return found


@contextlib.contextmanager
def kept(cells: Any) -> Iterator[Callable[[], None]]:
    """Keep rows aside; yields a way to bring them back."""
    corrupt(cells, ";".join(f"create table public.kept_{t} as table core.{t}" for t in SAVED))
    plain = ", ".join(COLUMNS_OF_LOANS)
    back = ";".join(
        f"delete from core.{t}; insert into core.{t} overriding system value table public.kept_{t}"
        for t in SAVED
        if t != "loans"
    )
    back += f";update core.loans l set {plain} from public.kept_loans k where k.loan_id = l.loan_id"
    try:
        yield lambda: corrupt(cells, back)
    finally:
        corrupt(cells, ";".join(f"drop table public.kept_{t}" for t in SAVED))


COLUMNS_OF_LOANS = ("channel = k.channel", "region = k.region")
"""What is brought back of loans: the table has a column that PostgreSQL computes."""


async def test_every_rule_is_broken_once_and_finds_it(
    loans: list[str], core: Any, cells: Any, tmp_path: Path
) -> None:
    house = open_house(core, cells, tmp_path)
    of_loan = {name: f"select {name}_id from core.loans where loan_id = '{loans[3]}'"
               for name in ("customer", "contract")}  # fmt: skip
    assert {*DOUBLED, *(rule for _, rule in CORRUPTIONS)} == house.tables.checks.keys()
    with kept(cells) as bring_back:
        for statement, rule in CORRUPTIONS:
            assert await find_broken(house, core, rule) == [], rule
            corrupt(cells, statement.format(loan=loans[3], **of_loan))
            found = await find_broken(house, core, rule)
            bring_back()
            assert found, rule
            one = found[0]
            assert (one.table, bool(one.key)) == (house.tables.checks[rule].table, True)
            assert one.found != one.needed
        for statement, table, column in BAD_FIELDS:
            assert await find_broken(house, core, table, fields=True) == [], table
            corrupt(cells, statement.format(loan=loans[3], **of_loan))
            found = await find_broken(house, core, table, fields=True)
            bring_back()
            assert {one.rule.split(":")[0] for one in found} == {f"field {column}"}
        assert (await make_filing(house, Kind.EAST, evening(core))).findings == []


async def test_what_a_tables_definition_gets_wrong_is_refused(
    loans: list[str], core: Any, cells: Any, tmp_path: Path
) -> None:
    house = open_house(core, cells, tmp_path)
    for rule, name in DOUBLED.items():
        table = house.tables.east[name]
        twice = dataclasses.replace(table, source=f"{table.source} cross join generate_series(1, 2) as twice")
        found = await find_broken(changed_table(house, name, twice), core, rule)
        assert {(one.table, one.found, one.needed) for one in found} == {(name, "2", "1")}
    for name, column, expression, rule in BAD_COLUMNS:
        table = house.tables.east[name]
        columns = [one if one[0] != column else (*one[:3], expression) for one in table.columns]
        wrong = changed_table(house, name, dataclasses.replace(table, columns=columns))
        found = await find_broken(wrong, core, name, fields=True)
        assert {one.rule for one in found} == {f"field {rule}"}
        assert {one.key for one in found} == set(loans)


def changed_table(house: Any, name: str, table: Any) -> Any:
    tables = dataclasses.replace(house.tables, east={**house.tables.east, name: table})
    return dataclasses.replace(house, tables=tables)


REFUSED = [
    (
        f"update core.entries set amount_fen = amount_fen - 1 {ONE_ENTRY}",
        ("sum-503-is-gl", "balanced-gl", "account-is-ledger"),
    ),
    ("delete from core.customers where customer_id in ({customer})", ("customer-of-503", "customer-of-501")),
    (f"update core.loan_snapshots set days_past_due = 100 {ONE_EVENING}", ("class-floor",)),
    (
        f"update core.loan_snapshots set balance_fen = balance_fen + 100 {ONE_EVENING}",
        ("roll-forward", "sum-503-is-gl"),
    ),
]


async def test_a_corrupted_row_a_missing_customer_a_wrong_class_and_a_broken_roll_forward_never_leave(
    loans: list[str], core: Any, cells: Any, tmp_path: Path
) -> None:
    house = open_house(core, cells, tmp_path)
    writer = make_portal(core, core.router.staff).desk.directory
    of_loan = {"customer": f"select customer_id from core.loans where loan_id = '{loans[3]}'"}
    with kept(cells) as bring_back:
        for statement, rules in REFUSED:
            corrupt(cells, statement.format(loan=loans[3], **of_loan))
            made = await make_filing(house, Kind.EAST, evening(core))
            bring_back()
            found = {one.rule.split(":")[0]: one for one in made.findings}
            assert found.keys() >= set(rules), statement
            first = made.findings[0]
            told = f"table {first.table}, key {first.key}, rule {first.rule}: found {first.found}"
            with pytest.raises(FilingRefused, match=re.escape(told)):
                await prepare(writer, made, "idc")
    assert await read_standings(writer) == []
