"""A closed month of a small company: loans of every product, a joint one, repayments; and its filings."""

import contextlib
import datetime as dt
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg

from compliance.reporting.catalogue import read_tables
from compliance.reporting.house import House
from compliance.reporting.settings import Institution
from compliance.reporting.snapshot import Connection, Evening
from core_app.loans.classification import read_class_limits
from runbooks.bureau_persons import read_persons
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.lending import repay
from tests.integration.core_app.partners import draw_contract, make_partner, publish, sign_joint
from tests.integration.core_app.portfolio import Drawn, close_chunks_of, lend_some, set_day

MONTH_END = dt.date(2026, 1, 31)
DRAWN_FEN = 1_200_000
BANK = "bank_east"


async def live_a_month(client: Any, core: Any, cells: Any, *, settle: Sequence[int] = ()) -> list[str]:
    """Lend on the 15th, repay a little, close the evening of the month's last day; returns the loans' ids.

    `settle`: places in what is returned of the loans that are repaid whole.
    """
    set_day(cells, TODAY)
    dice = random.Random(8)
    drawn = [loan for _ in range(2) for loan in await lend_some(client, dice, TODAY, {})]
    await publish(core, make_partner(BANK, {"total_fen": 100_000_000}))
    status, joint, _ = await draw_contract(client, await sign_joint(client, DRAWN_FEN))
    assert status == 201, joint
    set_day(cells, dt.date(2026, 1, 25))
    for loan_id in (str(joint["loan_id"]), drawn[0].loan_id, drawn[2].loan_id):
        _, shown, _ = await client.get(f"/v1/loans/{loan_id}")
        status, body, _ = await repay(client, loan_id, min(33_333, int(shown["outstanding_fen"])))
        assert status == 201, body
    loans = [*(loan.loan_id for loan in drawn), str(joint["loan_id"])]
    for loan_id in (loans[place] for place in settle):
        _, shown, _ = await client.get(f"/v1/loans/{loan_id}")
        status, body, _ = await repay(client, loan_id, int(shown["outstanding_fen"]))
        assert status == 201, body
    await close_evening(core, cells, loans, MONTH_END)
    return loans


async def close_evening(core: Any, cells: Any, loans: list[str], day: dt.date) -> None:
    """Close the day for the chunks that hold the loans, and begin the next one: a test saves time."""
    set_day(cells, day)
    held = [Drawn(loan_id, "", "", 1, 1, 1, day) for loan_id in loans]
    await close_chunks_of(core, held, day)
    set_day(cells, day + dt.timedelta(1))


def evening(core: Any, since: dt.date | None = None, day: dt.date = MONTH_END) -> Evening:
    limits = read_class_limits(core.catalogue.rulebook, day)
    return Evening(day, since, Institution(), limits, core.catalogue.versions)


def open_house(core: Any, cells: Any, out: Path) -> House:
    @contextlib.asynccontextmanager
    async def connect(cell: str) -> AsyncIterator[Connection]:
        dsn = cells.server.dsn(cells.databases[cell], "biyi_report")
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            yield connection

    async def persons(cell: str, ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        return await read_persons(core, cell, ids)

    return House(tuple(cells.databases), connect, persons, read_tables(), out)


def corrupt(cells: Any, statement: str) -> None:
    """Do what only a superuser behind the append-only triggers could, in every cell."""
    for database in cells.databases.values():
        cells.server.run(
            "psql", "-U", "biyi_admin", "-d", database, "-v", "ON_ERROR_STOP=1", "-qc",
            f"set session_replication_role = replica; {statement}",
        )  # fmt: skip
