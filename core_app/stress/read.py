"""Read scenarios, and one evening's portfolio: a read-only snapshot of each cell, the same evening in all."""

import datetime as dt
import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from core_app.core import Connection
from core_app.errors import CoreError, DocumentInvalid
from core_app.indicators.read import read_table
from core_app.indicators.table import Indicator
from core_app.loans.classification import AssetClass
from core_app.stress.runoff import Flow
from core_app.stress.scenario import FINANCE, SCENARIO, Finance, Scenario
from core_app.stress.shock import Group, Portfolio
from core_app.yaml_documents import parse_yaml, read_text

FOLDER = Path(__file__).parent / "scenarios"
TABLE = Path(__file__).parent / "table.yaml"
LARGEST = 10
Connect = Callable[[str], AbstractAsyncContextManager[Connection]]
"""Gives a connection to a cell that may read what biyi_report may."""


class NoEvening(CoreError):
    """There is no evening that all cells have closed, or not the one asked for."""


_CLOSED_TO = "select on_date - 1 from core.business_date"
_GROUPS = """
select product, region, normal_fen, special_mention_fen, substandard_fen, doubtful_fen, loss_fen,
       by_60_days_fen, provision_general_fen + provision_specific_fen,
       interest_receivable_fen + penalty_receivable_fen + fee_receivable_fen
from core.closings where on_date = %(day)s
order by chunk, product, channel, region
"""
# Our part of what was left of each good loan's plan that evening, as of the newest plan made by then, by
# cumulative difference, so that it adds up to our part of the balance.
_FLOWS = """
with good as materialized (
    select s.loan_id, l.product, l.region, s.balance_fen, l.principal_fen - s.balance_fen as paid_fen,
           core.own_part(s.loan_id, s.balance_fen) as own_fen
    from core.loan_snapshots s join core.loans l using (loan_id)
    where s.on_date = %(day)s and s.asset_class = 'normal' and s.balance_fen > 0
), part as (
    select g.*, i.period, greatest(i.due, %(day)s::date + 1) as due, i.interest_fen,
           i.principal_fen = 0 and i.due > %(day)s as interest_only,
           least(i.principal_fen, greatest(0, i.principal_before_fen + i.principal_fen - g.paid_fen)) as fen
    from good g join core.instalments i using (loan_id)
    where coalesce(i.made_on, %(day)s) <= %(day)s and not exists (
        select from core.instalments j where j.loan_id = i.loan_id and j.plan_version > i.plan_version
            and j.period <= i.period and j.made_on <= %(day)s)
), added as (
    select p.*, sum(p.fen) over (partition by p.loan_id order by p.period) as up_to
    from part p where p.fen > 0 or p.interest_only
)
select product, region, due,
       sum(core.round_half_up(least(up_to, balance_fen) * own_fen, balance_fen)
           - core.round_half_up(least(up_to - fen, balance_fen) * own_fen, balance_fen))::bigint,
       sum(core.round_half_up(interest_fen * own_fen, balance_fen))::bigint
from added group by product, region, due order by product, region, due
"""
_JOINT = """
select f.funder, count(*) over (partition by f.loan_id), core.own_part(s.loan_id, s.balance_fen), s.loan_id
from core.loan_snapshots s join core.loan_funders f using (loan_id)
where s.on_date = %(day)s and f.funder <> 'own' and s.balance_fen > 0
"""
_LARGEST = """
select sum(core.own_part(loan_id, balance_fen))::bigint as fen from core.loan_snapshots
where on_date = %(day)s and balance_fen > 0 group by customer_id order by fen desc limit 10
"""
_OWED = """
select coalesce(-sum(amount_fen), 0)::bigint from core.entries
where booked_on <= %(day)s and (account like '2314%%' or account like '2241%%')
"""
_BOOKED = """
select coalesce(-sum(amount_fen), 0)::bigint from core.entries
where booked_on <= %(day)s and account = '1304'
"""
_COMMITTED = """
select coalesce(sum(c.amount_fen), 0)::bigint
from core.contracts c join core.limit_holds h using (contract_id)
where c.signed_on <= %(day)s and h.valid_to >= %(day)s
    and not exists (select from core.loans l where l.contract_id = c.contract_id and l.drawn_on <= %(day)s)
"""


def read_scenario(file: Path) -> Scenario:
    """Return a scenario file, checked; DocumentInvalid names the path of each bad field."""
    return parse_yaml(file.name, read_text(file), SCENARIO)


def read_finance(file: Path) -> Finance:
    """Return a statement of finance, checked."""
    return parse_yaml(file.name, read_text(file), FINANCE)


def read_shipped() -> tuple[Scenario, ...]:
    """Return the scenarios that come with the product, by file name."""
    return tuple(read_scenario(file) for file in sorted(FOLDER.glob("*.yaml")))


def find_scenario(name: str) -> Scenario:
    """Return a scenario by file, or a shipped one by id."""
    if Path(name).is_file():
        return read_scenario(Path(name))
    known = {one.id: one for one in read_shipped()}
    if name not in known:
        raise DocumentInvalid(
            f"{name}: no file and no shipped scenario; there are {', '.join(sorted(known))}"
        )
    return known[name]


def read_tables() -> tuple[Sequence[Indicator], Sequence[Indicator]]:
    """Return the indicators' rows, and those that only a stress test asks for."""
    return read_table(), read_table(TABLE)


async def find_evening(connect: Connect, cells: Sequence[str]) -> dt.date:
    """Return the newest evening that every cell has closed; NoEvening when there is none."""
    closed = []
    for cell in cells:
        async with connect(cell) as connection:
            row = await (await connection.execute(_CLOSED_TO)).fetchone()
        if row is None or row[0] is None:
            raise NoEvening(f"cell {cell}: no day-end yet; run `biyi day-end run` first")
        closed.append(row[0])
    newest: dt.date = min(closed)
    return newest


async def read_portfolio(connect: Connect, cells: Sequence[str], day: dt.date) -> Portfolio:
    """Return the evening of `day` over all cells; NoEvening when a cell has not closed it."""
    added = Portfolio(day, ())
    joint: dict[str, int] = {}
    partners: Counter[str] = Counter()
    for cell in cells:
        async with connect(cell) as connection, connection.transaction():
            await connection.execute("set transaction isolation level repeatable read, read only")
            ask = partial(_rows, connection, {"day": day})
            if (closed := (await ask(_CLOSED_TO))[0][0]) is None or closed < day:
                raise NoEvening(
                    f"cell {cell}: has closed {closed or 'no day'}, the evening of {day} is not there"
                )
            closings = await ask(_GROUPS)
            largest = [fen for (fen,) in await ask(_LARGEST)] + [*added.largest_borrowers_fen]
            for funder, _, own, loan_id in await ask(_JOINT):
                partners[funder] += own
                joint[loan_id] = own
            added = replace(
                added,
                groups=(*added.groups, *(_group(row) for row in closings)),
                flows=(*added.flows, *(Flow(*row) for row in await ask(_FLOWS))),
                largest_borrowers_fen=tuple(heapq.nlargest(LARGEST, largest)),
                receivable_fen=added.receivable_fen + sum(row[-1] for row in closings),
                owed_fen=added.owed_fen + (await ask(_OWED))[0][0],
                committed_fen=added.committed_fen + (await ask(_COMMITTED))[0][0],
                ledger_provision_fen=added.ledger_provision_fen + (await ask(_BOOKED))[0][0],
            )
    return replace(added, by_partner_fen=dict(sorted(partners.items())), joint_fen=sum(joint.values()))


def _group(row: tuple[Any, ...]) -> Group:
    product, region, *balances = row[:7]
    return Group(product, region, dict(zip(AssetClass, balances, strict=True)), row[7], row[8])


async def _rows(connection: Connection, values: dict[str, Any], query: str) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, values)).fetchall()
