"""Device evidence and bureau reports end when their time is over, by one function and on the record."""

import datetime as dt
import json
from typing import Any

import psycopg
import pytest

from core_app.day_end.service import DayEnd
from core_app.decisions.purge import Purged, find_ends, purge_expired
from tests.integration.core_app.lending import apply, confirm, register, repay

EVIDENCE = {"device": "PURGE-00000001", "ip": "10.9.8.7"}
COUNTS = """
select (select count(*) from core.evidence),
       (select count(*) from core.bureau_inquiries where report is not null),
       (select count(*) from core.bureau_inquiries where purged_on is not null)
"""


async def counts(cells: Any) -> tuple[int, int, int]:
    """Return rows of evidence, reports that are kept and reports that were purged, over both cells."""
    rows = await cells.rows(COUNTS)
    return tuple(sum(column) for column in zip(*rows, strict=True))  # type: ignore[return-value]


async def decide(client: Any) -> tuple[str, Any]:
    customer_id = await register(client)
    return customer_id, await apply(client, customer_id, evidence=EVIDENCE)


async def last_days_kept(cells: Any, core: Any) -> tuple[dt.date, dt.date]:
    """Return the last evenings on which everything, and something, of now is still kept.

    Evidence counts from the day on the clock, a report from the business date, which may be the day before.
    """
    rows = await cells.rows(
        """select max((at at time zone 'Asia/Shanghai')::date) from core.evidence
           union all select max(asked_on) from core.bureau_inquiries"""
    )
    newest = [day for (day,) in rows if day is not None]
    days = int(core.catalogue.rulebook.value("keep.device_evidence", max(newest)))
    assert days == int(core.catalogue.rulebook.value("keep.bureau_report", max(newest)))
    return min(newest) + dt.timedelta(days=days), max(newest) + dt.timedelta(days=days)


async def purge(core: Any, day: dt.date, **more: Any) -> Purged:
    found = [await purge_expired(core, cell, day, **more) for cell in core.router.cells]
    return Purged(sum(one.evidence for one in found), sum(one.reports for one in found))


async def test_what_is_over_is_purged_on_the_record_and_once(client: Any, core: Any, cells: Any) -> None:
    await decide(client)
    await decide(client)
    everything, last = await last_days_kept(cells, core)
    assert await purge(core, last - dt.timedelta(days=400)) == Purged(0, 0)
    assert await purge(core, everything) == Purged(0, 0), "the last evening"
    assert await counts(cells) == (4, 2, 0)
    over = last + dt.timedelta(days=1)
    for _ in range(2):  # repeated, it answers as before and does nothing
        assert await purge(core, over, at_once=1) == Purged(4, 2)
        assert await counts(cells) == (0, 0, 2)
    lines = await cells.rows("select line from audit.entries where line like '%decisions.purged%'")
    told = [json.loads(line) for (line,) in lines]
    ends = find_ends(core.catalogue.rulebook, over)
    counted = [one["body"] for one in told if one["body"]["day"] == over.isoformat()]
    assert {one["evidence_before"] for one in counted} == {ends.evidence_before.isoformat()}
    assert (sum(one["evidence"] for one in counted), sum(one["reports"] for one in counted)) == (4, 2)


async def test_what_a_loan_rests_on_stays_until_it_is_settled(client: Any, core: Any, cells: Any) -> None:
    _, decided = await decide(client)
    _, contract, _ = await client.post("/v1/contracts", confirm(decided))
    over = (await last_days_kept(cells, core))[1] + dt.timedelta(days=1)
    assert await purge(core, over) == Purged(0, 0)
    _, loan, _ = await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
    assert await purge(core, over + dt.timedelta(days=1)) == Purged(0, 0)
    status, _, _ = await repay(client, loan["loan_id"], loan["outstanding_fen"])
    assert status == 201
    assert await purge(core, over + dt.timedelta(days=2)) == Purged(2, 1)


async def test_a_day_end_purges_what_is_over_on_its_evening(client: Any, core: Any, cells: Any) -> None:
    customer_id, _ = await decide(client)
    over = (await last_days_kept(cells, core))[1] + dt.timedelta(days=1)
    cells.set_business_date(str(over))
    await DayEnd(core, core.cell_of_customer(customer_id), lambda *_: None).run()
    assert await counts(cells) == (0, 0, 1)


@pytest.mark.parametrize(
    ("user", "statement", "refusal"),
    [
        ("biyi_app", "delete from core.evidence", psycopg.errors.InsufficientPrivilege),
        ("biyi_app", "update core.bureau_inquiries set report = null", psycopg.errors.InsufficientPrivilege),
        ("biyi_payer", "select core.purge_expired('2020-01-01', '2020-01-01', '2026-01-01', 1)",
         psycopg.errors.InsufficientPrivilege),
        ("biyi_owner", "delete from core.evidence", psycopg.Error),
        ("biyi_owner", "update core.bureau_inquiries set report = null", psycopg.Error),
        ("biyi_app", "select core.purge_expired('2026-01-02', '2020-01-01', '2026-01-01', 1)", psycopg.Error),
    ],
)  # fmt: skip
async def test_nothing_else_ends_them(
    client: Any, cells: Any, user: str, statement: str, refusal: type[Exception]
) -> None:
    await decide(client)
    with pytest.raises(refusal) as found:
        await cells.rows(statement, user)
    if user == "biyi_owner":
        assert found.value.sqlstate == "BY103"  # type: ignore[attr-defined]
    assert (await counts(cells))[:2] == (2, 1)
