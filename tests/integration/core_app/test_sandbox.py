"""The rule sandbox over real business of both cells: names what would be refused, can write nothing."""

import datetime as dt
import random
from typing import Any

import psycopg
import pytest

from core_app.rules.legal import LegalRow
from core_app.rules.read import read_rulebook
from core_app.sandbox.read import open_copy
from runbooks.sandbox import try_rules
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.portfolio import close_chunks_of, lend_some, pay_something, set_day
from tests.integration.core_app.tables import TABLES
from tests.integration.core_app.test_stress import connecting

DAY = dt.date(2027, 1, 1)
LATE = TODAY + dt.timedelta(days=40)


def draft(key: str, value: str) -> LegalRow:
    known = next(row for row in read_rulebook().rows if row.key == key)
    plain = known.model_dump(by_alias=True) | {"value": value, "from": DAY, "to": None, "source": "draft"}
    return LegalRow.model_validate(plain)


async def sums_of_tables(cells: Any) -> list[tuple[Any, ...]]:
    """Return a digest of every row of every table of the core."""
    digest = "select '{0}', count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) from core.{0} t"
    query = " union all ".join(digest.format(table) for table in TABLES["core"])
    return sorted(await cells.rows(query))


async def test_a_draft_says_what_it_would_refuse_and_which_figures_move_and_writes_nothing(
    client: Any, core: Any, cells: Any
) -> None:
    dice = random.Random(3)
    set_day(cells, TODAY)
    loans = [loan for _ in range(2) for loan in await lend_some(client, dice, TODAY, {})]
    for loan in loans[:4]:
        await pay_something(client, dice, loan)
    set_day(cells, LATE)
    await close_chunks_of(core, loans, LATE)
    set_day(cells, LATE + dt.timedelta(days=1))
    before = await sums_of_tables(cells)
    connect, names, when = connecting(cells), core.router.cells, (LATE, 60)
    unchanged = await try_rules(connect, names, [draft("cap.all_in", "0.24")], when)
    assert (unchanged.rules, unchanged.figures) == ((), ())
    assert unchanged.looked_at["quote"] == unchanged.looked_at["contract"] == len(loans)
    assert unchanged.looked_at["posting"] == 4
    # 18 % and more is what most products cost; 90 days of late loans are none yet, 25 days are some.
    rows = [draft("cap.all_in", "0.17"), draft("class5.substandard", "5")]
    found = await try_rules(connect, names, rows, when)
    changes = {(one.kind, one.rule): one for one in found.rules}
    contracts = changes["contract", "cap.all_in"]
    assert (contracts.effect, contracts.old, contracts.new) == (
        "refused_now",
        "<= 0.24 share a year",
        "<= 0.17 share a year",
    )
    ids = {row[0] for row in await cells.rows("select contract_id from core.contracts")}
    assert set(contracts.examples) <= ids
    assert contracts.count == changes["quote", "cap.all_in"].count == found.turned["contract"]["refused_now"]
    dear = [loan for loan in loans if core.catalogue.find_version(loan.product, 1).pricing.rate_annual > 0.17]
    assert contracts.count == len(dear) > 0
    assert {one.figure for one in found.figures} >= {"G11.substandard", "G11.special_mention", "G03.closing"}
    late = await cells.rows(
        "select coalesce(sum(balance_fen), 0) from core.loan_snapshots "
        f"where on_date = '{LATE}' and days_past_due >= 5"
    )
    moved = next(one for one in found.figures if one.figure == "G11.substandard")
    assert (moved.old, moved.new) == ("0.00", f"{sum(int(row[0]) for row in late) / 100:.2f}")
    assert await sums_of_tables(cells) == before


@pytest.mark.parametrize(
    "statement",
    [
        "delete from core.entries",
        "insert into core.outbox (topic, key, payload, idempotency_key) values ('x', 'x', '{}', 'x')",
        "create table core.mine (a int)",
        "select nextval(pg_get_serial_sequence('core.outbox', 'outbox_id'))",
    ],
)
async def test_what_a_sandbox_reads_through_cannot_write(core: Any, cells: Any, statement: str) -> None:
    refused = (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.InsufficientPrivilege)
    async with open_copy(connecting(cells), "a") as connection:
        assert (await (await connection.execute("show transaction_read_only")).fetchone()) == ("on",)
        with pytest.raises(refused):
            await connection.execute(statement)
