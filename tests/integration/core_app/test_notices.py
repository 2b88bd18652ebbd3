"""Notices: ordered by day-end on the product's days, sent once, with what is owed by then, in its hours."""

import asyncio
import datetime as dt
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core_app.day_end.service import Step, do_chunk
from core_app.insight import experiments
from core_app.notices import send as sending
from core_app.notices.fake_gateway import FakeMessageGateway
from core_app.notices.send import Sender
from core_app.notices.texts import DUE_WORDING
from tests.integration.core_app.lending import draw, repay
from tests.integration.core_app.test_rewards import REWARD, grant_all, pay_periods
from tests.integration.core_app.test_rules_at_the_api import make_version, publish

STATES = "select kind, medium, about, on_date, state from core.notices order by on_date, kind, medium"


async def close(core: Any, cells: Any, loan: Any, day: dt.date, *, hours: str = "24, 0") -> None:
    """Close a day for a loan's chunk; its notices may be sent now, within the hours given."""
    cells.set_business_date(str(day))
    cell, chunk = core.cell_of_customer(loan["customer_id"]), core.chunk_of_customer(loan["customer_id"])
    for step in Step:
        await do_chunk(core, cell, (day, step, chunk))
    cells.set_business_date(str(day + dt.timedelta(days=1)))
    for database in cells.databases.values():
        cells.run_sql(
            database,
            "alter table core.notices disable trigger user;"
            " update core.notices set due_at = now(), give_up_at = now() + interval '1 day',"
            f" (quiet_from, quiet_until) = ({hours}) where state = 'ordered';"
            " alter table core.notices enable trigger user;",
        )


async def send(core: Any, gateway: FakeMessageGateway, times: int = 1) -> None:
    own = replace(core, router=core.router.notices)  # its own rights, none of the core's
    for _ in range(times):
        await asyncio.gather(*(Sender(own, gateway).look(cell) for cell in core.router.cells))


def days(*offsets: int) -> list[dt.date]:
    return [dt.date(2026, 2, 15) + dt.timedelta(days=offset) for offset in offsets]


async def test_due_and_overdue_are_told_on_the_products_days_and_on_no_other(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    loan = await draw(client)
    gateway = FakeMessageGateway(tmp_path / "book")
    for day in days(-5, -4, -3, -2, -1, 0, 1, 2, 3, 4):
        await close(core, cells, loan, day)
        await send(core, gateway, 2)
    rows = await cells.rows(STATES)
    told = {(kind, on_date) for kind, _, _, on_date, _ in rows}
    due, first, fourth = days(-3, -1), *days(1), *days(4)
    assert told == {("due", due[0]), ("due", due[1]), ("overdue", first), ("overdue", fourth)}
    assert {(medium, state) for _, medium, _, _, state in rows} == {
        ("app", "delivered"),
        ("sms", "delivered"),
    }
    texts = [line["text"] for line in gateway.delivered().values()]
    assert len(texts) == len(rows) == 8
    assert sum("1,100.16 yuan fall due on 2026-02-15" in text for text in texts) == 4
    assert sum("yuan are overdue since 2026-02-15" in text for text in texts) == 4
    late = [text for text in texts if "overdue" in text]
    # On its fourth day it bears four days of penalty: 920.16 yuan at 27 % a year of 360 days.
    assert {re.findall(r"\n([\d,.]+) yuan", text)[0] for text in late} == {"1,100.85", "1,102.92"}
    topics = await cells.rows("select topic, payload from core.outbox where topic like 'notice.%'")
    assert [topic for topic, _ in topics].count("notice.closed") == 8
    assert "138" not in json.dumps([payload for _, payload in topics if "phone" in payload])


async def test_who_has_paid_by_then_is_told_nothing(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    loan = await draw(client)
    gateway = FakeMessageGateway(tmp_path / "book")
    (day,) = days(0)
    await close(core, cells, loan, day)
    assert (await repay(client, loan["loan_id"], 110_016 + 69))[0] == 201
    await send(core, gateway)
    assert [row[-1] for row in await cells.rows(STATES)] == ["needless", "needless"]
    assert gateway.delivered() == {}


async def test_a_notice_is_delivered_once_whatever_breaks_and_given_up_when_too_late(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    loan = await draw(client)
    gateway = FakeMessageGateway(tmp_path / "book", lose=True)
    (day,) = days(-2)
    await close(core, cells, loan, day)
    await asyncio.gather(*(send(core, gateway) for _ in range(3)))
    assert [row[-1] for row in await cells.rows(STATES)] == ["ordered", "ordered"]
    gateway.lose = False
    for database in cells.databases.values():
        cells.run_sql(database, "update core.notices set due_at = now()")
    await asyncio.gather(*(send(core, gateway) for _ in range(3)))
    assert [row[-1] for row in await cells.rows(STATES)] == ["delivered", "delivered"]
    assert len(gateway.delivered()) == 2
    gateway.down = True
    (day,) = days(0)
    await close(core, cells, loan, day)
    await send(core, gateway)
    for database in cells.databases.values():
        cells.run_sql(
            database,
            "update core.notices set due_at = now(), give_up_at = now() - interval '1 second'"
            " where state = 'ordered'",
        )
    await send(core, gateway)
    assert [row[-1] for row in await cells.rows(STATES)][-2:] == ["given_up", "given_up"]


async def test_in_quiet_hours_nobody_is_told_and_day_end_orders_once(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    loan = await draw(client)
    gateway = FakeMessageGateway(tmp_path / "book")
    (day,) = days(-2)
    await close(core, cells, loan, day, hours="0, 0")
    before = await cells.rows(STATES)
    await send(core, gateway)
    assert gateway.delivered() == {}
    cells.set_business_date(str(day))
    cell, chunk = core.cell_of_customer(loan["customer_id"]), core.chunk_of_customer(loan["customer_id"])
    await do_chunk(core, cell, (day, Step.CLOSE, chunk))
    assert await cells.rows(STATES) == before
    assert len(before) == 2


async def test_a_cell_that_is_not_migrated_yet_is_looked_at_again(
    client: Any, core: Any, cells: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand's payer starts before the migrations: the schema is there, a right in it is not."""
    monkeypatch.setattr(sending, "POLL_SECONDS", 0.02)
    loan = await draw(client)
    gateway = FakeMessageGateway(tmp_path / "book")
    for database in cells.databases.values():
        cells.run_sql(database, "revoke usage on schema core from biyi_notices")
    sender = Sender(replace(core, router=core.router.notices), gateway)
    try:
        running = asyncio.create_task(sender.run())
        (day,) = days(-2)
        await close(core, cells, loan, day)
        done, _ = await asyncio.wait({running}, timeout=0.3)
        assert (done, gateway.delivered()) == (set(), {})
    finally:
        for database in cells.databases.values():
            cells.run_sql(database, "grant usage on schema core to biyi_notices")
    async with asyncio.timeout(30):
        while len(gateway.delivered()) < 2:
            await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.wait({running})


async def test_a_changed_rate_is_told_once(client: Any, core: Any, cells: Any, tmp_path: Path) -> None:
    await publish(core, make_version(2, pricing=REWARD))
    loan = await draw(client)
    await pay_periods(client, core, cells, loan, range(1, 7))
    assert await grant_all(core) == [loan["loan_id"]]
    gateway = FakeMessageGateway(tmp_path / "book")
    granted = dt.date(2026, 7, 16)
    for later in range(3):
        await close(core, cells, loan, granted + dt.timedelta(days=later))
    await send(core, gateway)
    rows = [row for row in await cells.rows(STATES) if row[0] == "rate_change"]
    assert [(row[1], row[-1]) for row in rows] == [("app", "delivered"), ("sms", "delivered")]
    texts = [line["text"] for line in gateway.delivered().values()]
    assert sum("Your rate falls from 2026-07-15" in text for text in texts) == 2


async def test_what_became_of_a_notice_is_final(client: Any, core: Any, cells: Any, tmp_path: Path) -> None:
    loan = await draw(client)
    (day,) = days(-2)
    await close(core, cells, loan, day)
    await send(core, FakeMessageGateway(tmp_path / "book"))
    database = cells.databases[core.cell_of_customer(loan["customer_id"])]
    for statement in ("update core.notices set state = 'refused'", "delete from core.notices"):
        with pytest.raises(Exception, match="psql"):
            cells.run_sql(database, statement)


@pytest.mark.parametrize(("parts", "group"), [(10_000, "help"), (1, None)])
async def test_a_due_reminder_is_worded_by_the_borrowers_group_which_is_kept(
    client: Any, core: Any, cells: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    parts: int, group: str | None,
) -> None:  # fmt: skip
    shipped = experiments.read_experiments()[DUE_WORDING]
    share = shipped.shares[0].model_copy(update={"parts": parts})
    running = {shipped.id: shipped.model_copy(update={"shares": (share,)})}
    monkeypatch.setattr(experiments, "read_experiments", lambda: running)
    loan = await draw(client)
    assigned = experiments.assign_customer(core, DUE_WORDING, loan["customer_id"], days(0)[0])
    assert assigned is not None
    assert group in (assigned.group, None)
    gateway = FakeMessageGateway(tmp_path / "book")
    for day in days(-4, 0):
        await close(core, cells, loan, day)
        await send(core, gateway, 2)
    texts = [line["text"] for line in gateway.delivered().values()]
    offered = [text for text in texts if "service desk" in text]
    assert bool(offered) == (assigned.group == "help")
    assert all("fall due" in text for text in offered)
    kept = await cells.rows("select kind, note from core.notices where state = 'delivered'")
    assert {kind for kind, _ in kept} == {"due", "overdue"}
    assert {("due-reminder-help: " + assigned.group in note) == (kind == "due") for kind, note in kept} == {
        True
    }
