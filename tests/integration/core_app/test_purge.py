"""Device evidence and bureau reports end when their time is over, by one function and on the record."""

import datetime as dt
import json
from typing import Any

import psycopg
import pytest

from core_app.day_end.service import DayEnd
from core_app.decisions.purge import Purged, find_ends, purge_expired
from tests.integration.core_app.lending import apply, confirm, register, repay

ONE_DAY = dt.timedelta(days=1)
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


async def last_evenings(cells: Any, core: Any) -> tuple[list[dt.date], list[dt.date]]:
    """Return, of each row of evidence and of each report, the last evening on which it is still kept.

    Evidence counts from the day on the clock, a report from the business date, which may be the day before.
    """
    found = []
    for key, asked in (
        ("keep.device_evidence", "select (at at time zone 'Asia/Shanghai')::date from core.evidence"),
        ("keep.bureau_report", "select asked_on from core.bureau_inquiries"),
    ):
        days = [day for (day,) in await cells.rows(asked)]
        found.append([day + dt.timedelta(days=int(core.catalogue.rulebook.value(key, day))) for day in days])
    evidence, reports = found
    return evidence, reports


async def when_all_is_over(cells: Any, core: Any) -> dt.date:
    """Return the first evening on which nothing of now is kept."""
    evidence, reports = await last_evenings(cells, core)
    return max(evidence + reports) + ONE_DAY


async def purge(core: Any, day: dt.date, **more: Any) -> Purged:
    found = [await purge_expired(core, cell, day, **more) for cell in core.router.cells]
    return Purged(sum(one.evidence for one in found), sum(one.reports for one in found))


async def test_what_is_over_is_purged_on_the_record_and_once(client: Any, core: Any, cells: Any) -> None:
    await decide(client)
    await decide(client)
    evidence, reports = await last_evenings(cells, core)
    assert await purge(core, min(evidence + reports) - dt.timedelta(days=400)) == Purged(0, 0)
    assert await counts(cells) == (4, 2, 0)
    evenings = sorted({last + more for last in evidence + reports for more in (dt.timedelta(0), ONE_DAY)})
    before = Purged(0, 0)
    for evening in evenings:
        over = Purged(sum(last < evening for last in evidence), sum(last < evening for last in reports))
        newly = Purged(over.evidence - before.evidence, over.reports - before.reports)
        for _ in range(2):  # repeated, it answers as before and does nothing
            assert await purge(core, evening, at_once=1) == newly, evening
            assert await counts(cells) == (4 - over.evidence, 2 - over.reports, over.reports)
        before = over
    assert before == Purged(4, 2)
    lines = await cells.rows("select line from audit.entries where line like '%decisions.purged%'")
    told = [json.loads(line)["body"] for (line,) in lines]
    counted = [one for one in told if dt.date.fromisoformat(one["day"]) in evenings]
    for one in counted:
        ends = find_ends(core.catalogue.rulebook, dt.date.fromisoformat(one["day"]))
        assert one["evidence_before"] == ends.evidence_before.isoformat()
        assert one["reports_before"] == ends.reports_before.isoformat()
    assert (sum(one["evidence"] for one in counted), sum(one["reports"] for one in counted)) == (4, 2)


async def test_what_a_loan_rests_on_stays_until_it_is_settled(client: Any, core: Any, cells: Any) -> None:
    _, decided = await decide(client)
    _, contract, _ = await client.post("/v1/contracts", confirm(decided))
    over = await when_all_is_over(cells, core)
    assert await purge(core, over) == Purged(0, 0)
    _, loan, _ = await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
    assert await purge(core, over + ONE_DAY) == Purged(0, 0)
    status, _, _ = await repay(client, loan["loan_id"], loan["outstanding_fen"])
    assert status == 201
    assert await purge(core, over + dt.timedelta(days=2)) == Purged(2, 1)


async def test_a_day_end_purges_what_is_over_on_its_evening(client: Any, core: Any, cells: Any) -> None:
    customer_id, _ = await decide(client)
    over = await when_all_is_over(cells, core)
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
