"""Where money went: every yuan is followed from funder to borrower and back to the funder, or listed."""

import datetime as dt
import re
from typing import Any

import psycopg
import pytest

from compliance.reporting import flows
from compliance.reporting.flows import Flows, trace_flows
from core_app.funding.settle import settle_cell
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.filing_house import BANK, corrupt, live_a_month
from tests.integration.core_app.lending import repay
from tests.integration.core_app.portfolio import set_day


@pytest.fixture
async def loans(client: Any, core: Any, cells: Any) -> list[str]:
    return await live_a_month(client, core, cells)


async def trace_all(cells: Any) -> list[Flows]:
    found = []
    for cell, database in cells.databases.items():
        dsn = cells.server.dsn(database, "biyi_report")
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            found.append(await trace_flows(connection, cell))
    return found


def rules_of(flows: list[Flows]) -> set[str]:
    return {odd.rule for one in flows for odd in one.exceptions}


ON_ITS_WAY = "the payout is on its way: ordered"
NOT_SETTLED = "the day is not settled with the partner yet"


async def test_every_yuan_is_followed_to_the_funder_or_listed(
    loans: list[str], core: Any, cells: Any
) -> None:
    # Nobody paid the orders of this test out, nor settled with the partner: that is listed, and nothing else.
    flows = await trace_all(cells)
    assert sum(one.loans for one in flows) == len(loans)
    assert rules_of(flows) == {ON_ITS_WAY, NOT_SETTLED}
    assert [odd.key for one in flows for odd in one.exceptions if odd.what == "settlement"] == [
        "bank_east 2026-01-15", "bank_east 2026-01-25",
    ]  # fmt: skip
    assert sum(one.settled_net_fen for one in flows) == 0
    to_tell = sum(one.unsettled_net_fen for one in flows)
    assert to_tell == sum(one.owed_to_partners_fen for one in flows) - sum(
        fen for (fen,) in await cells.rows("select coalesce(sum(amount_fen), 0)::bigint from core.entries "
                                           "where account = '1321'")
    )  # fmt: skip
    for cell in core.router.cells:
        for day in (TODAY, dt.date(2026, 1, 25)):
            await settle_cell(core, cell, BANK, day)
    corrupt(cells, "update core.payout_orders set state = 'paid', channel = 'bank_a'")
    flows = await trace_all(cells)
    assert [one.exceptions for one in flows] == [(), ()]
    assert sum(one.reconciled for one in flows) == len(loans)
    assert (sum(one.settled_net_fen for one in flows), sum(one.unsettled_net_fen for one in flows)) == (
        to_tell, 0,
    )  # fmt: skip


async def test_a_reversal_and_a_prepayment_of_a_joint_loan_are_followed_too(
    loans: list[str], core: Any, cells: Any, client: Any
) -> None:
    joint, days = loans[-1], (TODAY, dt.date(2026, 1, 25), dt.date(2026, 2, 1), dt.date(2026, 2, 17))
    set_day(cells, days[2])
    first = f"select repayment_id from core.repayments where loan_id = '{joint}' order by number"
    assert (await repay(client, joint, 50_001))[0] == 201
    wish = {"repayment_id": (await cells.rows(first))[0][0], "reason": "bounced_debit"}
    assert (await client.post("/v1/reversals", wish))[0] == 201
    assert rules_of(await trace_all(cells)) == {ON_ITS_WAY, NOT_SETTLED}
    set_day(cells, days[3])
    _, payoff, _ = await client.get(f"/v1/loans/{joint}/payoff")
    whole = {"loan_id": joint, "mode": "full", "amount_fen": payoff["total_fen"]}
    assert (await client.post("/v1/prepayments", whole))[0] == 201
    set_day(cells, days[3] + dt.timedelta(1))
    corrupt(cells, "update core.payout_orders set state = 'paid', channel = 'bank_a'")
    assert rules_of(await trace_all(cells)) == {NOT_SETTLED}
    for cell in core.router.cells:
        for day in days:
            await settle_cell(core, cell, BANK, day)
    assert rules_of(await trace_all(cells)) == set()


LOST_YUAN = [
    (
        "update core.repayments set amount_fen = amount_fen + 1, penalty_fen = penalty_fen + 1 "
        "where loan_id = '{first}'",
        {"bank: repaid and surplus less what was paid out"},
    ),
    (
        "update core.payout_orders set amount_fen = amount_fen + 1 where loan_id = '{first}'",
        {"the payout is of the principal"},
    ),
    (
        "update core.loan_funders set principal_fen = principal_fen + 1 where loan_id = '{first}'",
        {"funders gave what the borrower got"},
    ),
    (
        "update core.entries set amount_fen = amount_fen - 1 where loan_id = '{joint}' and funder <> 'own' "
        "and account = '231401'",
        {"funders: interest and penalty collected for partners are owed to them",
         "funders: what partners paid in and got is at their bank line",
         "what the partner was told is what is booked of the day"},
    ),
    (
        "update core.entries set amount_fen = amount_fen + 1 where loan_id = '{joint}' and account = '1303' "
        "and amount_fen > 0; update core.entries set amount_fen = amount_fen - 1 where loan_id = '{joint}' "
        "and account = '1321' and amount_fen > 0",
        {"funders: what partners lent less their part of what was repaid is held",
         "funders: what partners paid in and got is at their bank line",
         "what the partner was told is what is booked of the day"},
    ),
    (
        "update core.settlements set principal_fen = principal_fen - 1 where on_date = '2026-01-25' "
        "and principal_fen > 0",
        {"what the partner was told is what is booked of the day"},
    ),
    (
        "update core.repayments set principal_fen = principal_fen - 1, interest_fen = interest_fen + 1 "
        "where loan_id = '{first}' and principal_fen > 0",
        {"principal: lent less repaid is the balance"},
    ),
    (
        "update core.entries set amount_fen = amount_fen + 1 where loan_id = '{first}' and account = '1303' "
        "and amount_fen > 0",
        {"ours and held for funders are what is owed"},
    ),
    (
        "update core.payout_orders set state = 'failed' where loan_id = '{first}'",
        {"the payout failed and the draw stands"},
    ),
]  # fmt: skip


def test_every_rule_of_the_flows_is_broken_below_or_listed_above() -> None:
    of_loans = re.findall(r"^    \('(.+?)', \w", flows._EXCEPTIONS, re.MULTILINE)
    others = re.findall(r"^select '\w+', (?:\w+|\w+ .. ' ' .. \w+), '(.+?)'", flows._EXCEPTIONS, re.MULTILINE)
    assert len(others) == flows._EXCEPTIONS.count("union all"), "every query of the list was read"
    listed = {NOT_SETTLED, ON_ITS_WAY.removesuffix("ordered")}
    broken = {rule for _, rules in LOST_YUAN for rule in rules} | listed
    assert {*of_loans, *others} == broken


async def test_a_yuan_that_is_lost_anywhere_on_its_way_is_listed(
    loans: list[str], core: Any, cells: Any
) -> None:
    for cell in core.router.cells:
        for day in (TODAY, dt.date(2026, 1, 25)):
            await settle_cell(core, cell, BANK, day)
    corrupt(cells, "update core.payout_orders set state = 'paid', channel = 'bank_a'")
    tables = ("repayments", "payout_orders", "loan_funders", "entries", "settlements")
    corrupt(cells, ";".join(f"create table public.kept_{t} as table core.{t}" for t in tables))
    back = ";".join(
        f"delete from core.{t}; insert into core.{t} overriding system value table public.kept_{t}"
        for t in tables
    )
    try:
        for statement, rules in LOST_YUAN:
            corrupt(cells, statement.format(first=loans[0], joint=loans[-1]))
            found = rules_of(await trace_all(cells))
            corrupt(cells, back)
            assert found == rules, statement
        assert rules_of(await trace_all(cells)) == set()
    finally:
        corrupt(cells, ";".join(f"drop table public.kept_{t}" for t in tables))
