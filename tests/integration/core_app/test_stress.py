"""A stress test reads a real evening of both cells: without a shock it says what day-end's books say."""

import contextlib
import datetime as dt
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from core_app.rules.read import read_rulebook
from core_app.stress.read import NoEvening, find_evening, find_scenario, read_portfolio, read_tables
from core_app.stress.scenario import NO_SHOCK
from core_app.stress.shock import stress
from runbooks.stress import as_plain, run_all
from runbooks.stress_report import render_report
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.lending import register, sign
from tests.integration.core_app.partners import draw_contract, make_partner, publish, sign_joint
from tests.integration.core_app.portfolio import (
    Drawn,
    close_chunks_of,
    lend,
    lend_some,
    make_contract,
    pay_something,
    read_products,
    set_day,
)

LATE = TODAY + dt.timedelta(days=40)
CLOSED = """
select coalesce(sum(provision_general_fen + provision_specific_fen), 0)::bigint,
       coalesce(sum(normal_fen), 0)::bigint, coalesce(sum(special_mention_fen), 0)::bigint
from core.closings where on_date = '{day}'
"""


def connecting(cells: Any) -> Any:
    @contextlib.asynccontextmanager
    async def connect(cell: str) -> AsyncIterator[Any]:
        dsn = cells.server.dsn(cells.databases[cell], "biyi_report")
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            yield connection

    return connect


async def lend_portfolio(client: Any, core: Any, cells: Any) -> list[Drawn]:
    """Two customers with a loan of every product, a joint loan, one lent late: some are past due at LATE."""
    dice = random.Random(7)
    set_day(cells, TODAY)
    await publish(core, make_partner("bank_east", {"total_fen": 100_000_000}))
    loans = [loan for _ in range(2) for loan in await lend_some(client, dice, TODAY, {})]
    _, joint, _ = await draw_contract(client, await sign_joint(client, 1_000_000))
    loans.append(Drawn(joint["loan_id"], joint["customer_id"], "joint-instalment", 1, 1_000_000, 12, TODAY))
    for loan in loans[:3]:
        await pay_something(client, dice, loan)
    set_day(cells, LATE)
    customer_id = await register(client)
    fresh = await lend(client, customer_id, "instalment-12", 600_000, 6)
    await sign(client, 300_000)
    loans.append(Drawn(fresh["loan_id"], customer_id, "instalment-12", 1, 600_000, 6, LATE))
    await close_chunks_of(core, loans, LATE)
    set_day(cells, LATE + dt.timedelta(days=1))
    return loans


async def test_without_a_shock_it_is_the_books_and_all_figures_are_those_of_the_loans(
    client: Any, core: Any, cells: Any
) -> None:
    loans = await lend_portfolio(client, core, cells)
    connect, names = connecting(cells), core.router.cells
    before = await cells.counts()
    assert await find_evening(connect, names) == LATE
    portfolio = await read_portfolio(connect, names, LATE)
    rulebook, tables = read_rulebook(), read_tables()
    books = stress(portfolio, NO_SHOCK, None, rulebook, tables)
    per_cell = await cells.rows(CLOSED.format(day=LATE))
    provision, normal, special = (sum(row[n] for row in per_cell) for n in range(3))
    assert all(row[0] for row in per_cell), "both cells have something set aside"
    assert books.provision_fen == provision == portfolio.ledger_provision_fen
    assert special > 0
    assert normal > 0
    # All the principal of good loans comes back, ours of it, on the days of their plans.
    comes = sum(flow.principal_fen for flow in portfolio.flows)
    assert comes == normal
    products = await read_products(core, cells)
    fresh = loans[-1]
    plan = make_contract(products[(fresh.product, fresh.version)], fresh).plan
    flows = {
        flow.on: (flow.principal_fen, flow.interest_fen)
        for flow in portfolio.flows
        if flow.product == fresh.product and flow.on in {line.due for line in plan}
    }
    assert flows == {line.due: (line.principal_fen, line.interest_fen) for line in plan}
    owned = await cells.rows(
        f"select customer_id, sum(core.own_part(loan_id, balance_fen)) from core.loan_snapshots "
        f"where on_date = '{LATE}' group by 1"
    )
    assert list(portfolio.largest_borrowers_fen) == sorted(
        (int(fen) for _, fen in owned if fen), reverse=True
    )
    assert portfolio.joint_fen == portfolio.by_partner_fen["bank_east"] == 300_000
    assert portfolio.committed_fen == 300_000
    # The same evening, read again after business went on, is the same; and reading wrote nothing.
    assert await cells.counts() == before
    set_day(cells, LATE + dt.timedelta(days=1))
    await pay_something(client, random.Random(8), loans[0])
    again = await read_portfolio(connect, names, LATE)
    assert again == portfolio
    with pytest.raises(NoEvening, match="cell a: has closed 2026-02-24"):
        await read_portfolio(connect, names, LATE + dt.timedelta(days=1))


async def test_a_report_shows_every_scenario_and_is_the_same_each_time(
    client: Any, core: Any, cells: Any
) -> None:
    await lend_portfolio(client, core, cells)
    portfolio = await read_portfolio(connecting(cells), core.router.cells, LATE)
    scenarios = [find_scenario(name) for name in ("downturn", "severe-downturn", "funding-freeze")]
    tested = run_all(portfolio, scenarios, None)
    page = render_report(portfolio, tested)
    assert page == render_report(portfolio, run_all(portfolio, scenarios, None))
    assert page.count("<svg") == 2
    for wanted in ("压力测试", "严重经济下行", "Severe downturn", "杠杆率", "未知 unknown"):
        assert wanted in page, wanted
    plain = json.loads(json.dumps(as_plain(portfolio, tested, None)))
    assert [one["scenario"]["id"] for one in plain["scenarios"]] == ["no-shock", *(s.id for s in scenarios)]
    provisions = [one["provision_fen"] for one in plain["scenarios"]]
    assert provisions[0] == plain["provision_in_ledger_fen"] == provisions[3]
    assert provisions[0] < provisions[1] < provisions[2]
