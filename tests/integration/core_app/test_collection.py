"""Collections: ordered by day-end by days past due, within the limits, recorded whether made or refused."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core_app.day_end.service import Step, do_chunk
from core_app.notices.fake_gateway import FakeMessageGateway
from core_app.servicing.collector import Collector
from core_app.servicing.fake_voice import FakeVoiceRobot
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.lending import draw, repay
from tests.integration.core_app.people import WANG

CST = dt.timezone(dt.timedelta(hours=8))
NOON = dt.datetime(2026, 2, 19, 12, tzinfo=CST)
DUE = dt.date(2026, 2, 15)
TASKS = "select channel, script, days_past_due, state from core.collection_tasks order by on_date, channel"
CONTACTS = """
select c.channel, c.whom, c.refused_by, c.staff, o.outcome
from core.contacts c left join core.contact_outcomes o using (contact_id) order by c.at, c.contact_id
"""
ASK = "/v1/staff/collection/contacts"


class Clock:
    """The instant at which debtors are contacted, as the test sets it."""

    now = NOON


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(core: Any, clock: Clock) -> Any:
    return replace(core, read_now=lambda: clock.now)


@pytest.fixture
async def client(timed: Any) -> AsyncIterator[Any]:
    async with serve_api(timed, None) as made:
        yield made


async def close(core: Any, cells: Any, loan: Any, dpd: int) -> None:
    """Close the day before the loan is `dpd` days past due; the tasks of that day may be done at `NOON`."""
    day = DUE + dt.timedelta(days=dpd - 1)
    cells.set_business_date(str(day))
    cell, chunk = core.cell_of_customer(loan["customer_id"]), core.chunk_of_customer(loan["customer_id"])
    for step in Step:
        await do_chunk(core, cell, (day, step, chunk))
    cells.set_business_date(str(day + dt.timedelta(days=1)))
    set_due(cells, NOON, NOON + dt.timedelta(days=1))


def set_due(cells: Any, due_at: dt.datetime, give_up_at: dt.datetime) -> None:
    for database in cells.databases.values():
        cells.run_sql(
            database,
            f"update core.collection_tasks set due_at = '{due_at}', give_up_at = '{give_up_at}'"
            " where state = 'ordered'",
        )


class Machine:
    """The collector with its fakes, as the database's own role."""

    def __init__(self, core: Any, folder: Path) -> None:
        self.core = replace(core, router=core.router.notices)
        self.gateway = FakeMessageGateway(folder / "messages")
        self.robot = FakeVoiceRobot(folder / "calls")

    async def work(self, times: int = 1) -> None:
        for _ in range(times):
            for cell in self.core.router.cells:
                await asyncio.gather(
                    *(Collector(self.core, self.gateway, self.robot).look(cell) for _ in range(2))
                )


async def ask(client: Any, loan: Any, **more: Any) -> dict[str, Any]:
    body = {"loan_id": loan["loan_id"], "script": "person_opening"} | more
    status, answer, _ = await client.post(ASK, body)
    assert status == 201, answer
    return dict(answer)


async def end(client: Any, contact: Any, outcome: str, **more: Any) -> int:
    body = {"contact_id": contact["contact_id"], "outcome": outcome} | more
    return int((await client.post("/v1/staff/collection/outcomes", body))[0])


async def test_day_end_orders_what_the_strategy_has_for_the_day_once(
    client: Any, timed: Any, cells: Any
) -> None:
    loan = await draw(client)
    for dpd in (0, 1, 2, 4, 8):
        await close(timed, cells, loan, dpd)
    expected = [
        ("sms", "sms_due_passed", 1, "ordered"),
        ("voice_robot", "robot_reminder", 1, "ordered"),
        ("person", "person_opening", 4, "ordered"),
        ("letter", "letter_first", 8, "ordered"),
    ]
    assert await cells.rows(TASKS) == expected
    told = await cells.rows("select count(*) from core.outbox where topic = 'collection.ordered'")
    assert sum(count for (count,) in told) == 4


async def test_the_machine_makes_each_contact_once_and_records_it(
    client: Any, timed: Any, cells: Any, tmp_path: Path
) -> None:
    loan = await draw(client)
    await close(timed, cells, loan, 1)
    machine = Machine(timed, tmp_path)
    machine.robot.lose = machine.gateway.lose = True
    await machine.work()
    assert {state for *_, state in await cells.rows(TASKS)} == {"ordered"}, "nobody knows yet"
    machine.robot.lose = machine.gateway.lose = False
    set_due(cells, NOON, NOON + dt.timedelta(days=1))
    await machine.work(2)
    assert [row[-1] for row in await cells.rows(TASKS)] == ["done", "done"]
    assert sorted(await cells.rows(CONTACTS)) == [
        ("sms", "debtor", [], None, "delivered"),
        ("voice_robot", "debtor", [], None, "answered"),
    ]
    words = [line["words"] for line in machine.robot.placed().values()]
    words += [line["text"] for line in machine.gateway.delivered().values()]
    assert len(words) == 2
    assert all("1,100.85 yuan" in one for one in words), "with a day of penalty"
    told = await cells.rows("select topic from core.outbox where topic ~ '^(contact|collection)'")
    assert (
        sorted(topic for (topic,) in told)
        == ["collection.closed"] * 2 + ["collection.ordered"] * 2 + ["contact.asked"] * 2
    )


async def test_a_contact_of_yesterday_whose_end_nobody_knows_is_not_made_today(
    client: Any, timed: Any, cells: Any, clock: Clock, tmp_path: Path
) -> None:
    """It counted for yesterday's limits: made today, it would be one more than today's."""
    loan = await draw(client)
    await close(timed, cells, loan, 1)
    machine = Machine(timed, tmp_path)
    machine.robot.down = machine.gateway.down = True
    await machine.work()
    machine.robot.down = machine.gateway.down = False
    clock.now = NOON + dt.timedelta(days=1)
    set_due(cells, clock.now, clock.now + dt.timedelta(days=1))
    await machine.work()
    assert [row[-1] for row in await cells.rows(TASKS)] == ["given_up", "given_up"]
    assert machine.robot.placed() == machine.gateway.delivered() == {}


async def test_who_paid_is_not_contacted_and_what_is_too_late_is_given_up(
    client: Any, timed: Any, cells: Any, tmp_path: Path
) -> None:
    paid, late = await draw(client), await draw(client)
    for loan in (paid, late):
        await close(timed, cells, loan, 1)
    assert (await repay(client, paid["loan_id"], 110_016 + 69))[0] == 201
    machine = Machine(timed, tmp_path)
    for database in cells.databases.values():
        cells.run_sql(
            database,
            f"update core.collection_tasks set give_up_at = due_at - interval '1 second'"
            f" where loan_id = '{late['loan_id']}'",
        )
    await machine.work()
    states = await cells.rows("select loan_id, state from core.collection_tasks")
    assert set(states) == {(paid["loan_id"], "needless"), (late["loan_id"], "given_up")}
    refused = await cells.rows("select refused_by from core.contacts")
    assert refused == [(["collect.owed"],)] * 2
    assert machine.robot.placed() == machine.gateway.delivered() == {}


async def test_in_the_quiet_hours_nothing_is_done_and_who_asks_is_refused_on_record(
    client: Any, timed: Any, cells: Any, clock: Clock, tmp_path: Path
) -> None:
    loan = await draw(client)
    await close(timed, cells, loan, 1)
    clock.now = NOON.replace(hour=22)
    machine = Machine(timed, tmp_path)
    await machine.work()
    assert {state for *_, state in await cells.rows(TASKS)} == {"ordered"}
    answer = await ask(client, loan)
    assert (answer["allowed"], answer["words"]) == (False, None)
    assert [one["rule"] for one in answer["refused_by"]] == ["collect.hours"]
    assert "GB/T 45251-2025" in answer["refused_by"][0]["source"]
    assert await cells.rows(CONTACTS) == [("person", "debtor", ["collect.hours"], "li.wei", None)]
    assert await end(client, answer, "answered") == 409, "it was not let through"


async def test_of_five_calls_at_once_three_are_let_through_over_all_loans(
    client: Any, timed: Any, cells: Any, clock: Clock
) -> None:
    loan = await draw(client)
    cells.set_business_date("2026-02-19")
    answers = await asyncio.gather(*(ask(client, loan) for _ in range(5)))
    allowed = [one for one in answers if one["allowed"]]
    assert len(allowed) == 3
    assert {one["rule"] for answer in answers for one in answer["refused_by"]} == {
        "collect.own_voice_per_day",
        "collect.voice_per_day",
    }
    # Nobody answered one of them: it was no effective contact, so there is room for another.
    assert await end(client, allowed[0], "no_answer") == 201
    assert [(await ask(client, loan))["allowed"] for _ in range(2)] == [True, False]
    clock.now = NOON + dt.timedelta(days=1)
    assert (await ask(client, loan))["allowed"], "another day"


async def test_a_call_is_ended_once_by_who_made_it_and_closes_its_task(
    client: Any, timed: Any, cells: Any
) -> None:
    loan = await draw(client)
    await close(timed, cells, loan, 4)
    [(task_id,)] = await cells.rows("select task_id from core.collection_tasks where channel = 'person'")
    contact = await ask(client, loan, task_id=task_id)
    assert "yuan are 4 days overdue" in contact["words"]
    body = {"contact_id": contact["contact_id"], "outcome": "answered"}
    other = {"headers": WANG | {"Idempotency-Key": "another-one"}, "json": body}
    assert (await client.send("POST", "/v1/staff/collection/outcomes", **other))[0] == 404
    promise = {"promised_on": "2026-02-20", "promised_fen": 110_016}
    assert await end(client, contact, "promised") == 422, "a promise of nothing"
    assert await end(client, contact, "answered", **promise) == 422
    assert await end(client, contact, "promised", **promise | {"promised_on": "2026-02-18"}) == 422
    assert await end(client, contact, "promised", **promise) == 201
    assert await end(client, contact, "answered") == 409
    assert [row[-1] for row in await cells.rows(TASKS)] == ["done"]
    status, problem, _ = await client.post(
        ASK, {"loan_id": loan["loan_id"], "script": "person_opening", "task_id": task_id}
    )
    assert (status, problem["errors"][0]["path"]) == (422, "body.task_id")
    for script in ("sms_how_to_pay", "nothing_like_it"):
        assert (await client.post(ASK, {"loan_id": loan["loan_id"], "script": script}))[0] == 422
    assert len(await cells.rows(CONTACTS)) == 1, "a refused request leaves no row"


async def test_a_contact_person_is_asked_only_when_the_debtor_is_not_reached_and_never_told(
    client: Any, cells: Any, clock: Clock
) -> None:
    loan = await draw(client)
    cells.set_business_date("2026-02-19")
    person = {"whom": "contact_person", "script": "contact_person_ask"}
    assert [one["rule"] for one in (await ask(client, loan, **person))["refused_by"]] == [
        "collect.contact_person"
    ]
    for _ in range(3):
        assert await end(client, await ask(client, loan), "no_answer") == 201
    telling = {"loan_id": loan["loan_id"], "whom": "contact_person", "script": "person_opening"}
    assert (await client.post(ASK, telling))[0] == 422, "a script that tells of the debt"
    asked = await ask(client, loan, **person)
    assert asked["allowed"]
    assert await end(client, asked, "wants_no_contact") == 201
    assert not (await ask(client, loan, **person))["allowed"]
    clock.now = NOON + dt.timedelta(hours=1)
    assert [
        one["rule"]
        for one in (await ask(client, loan, whom="employer", script="person_closing"))["refused_by"]
    ] == ["collect.contact_person", "collect.whom"]


async def test_a_loan_that_rests_is_left_alone_and_ordered_nothing(
    client: Any, timed: Any, cells: Any, tmp_path: Path
) -> None:
    loan = await draw(client)
    await close(timed, cells, loan, 1)
    wish = {"loan_id": loan["loan_id"], "reason": "income"}
    status, answer, _ = await client.post("/v1/staff/collection/hardships", wish)
    assert (status, answer["rest_until"]) == (201, "2026-03-18")
    assert (await client.post("/v1/staff/collection/hardships", wish))[0] == 409
    assert {state for *_, state in await cells.rows(TASKS)} == {"needless"}
    await close(timed, cells, loan, 4)
    assert len(await cells.rows(TASKS)) == 2, "none of that day"
    assert [one["rule"] for one in (await ask(client, loan))["refused_by"]] == ["collect.hardship"]


async def test_a_work_list_shows_ones_own_open_calls_and_records_each_row_as_a_look(
    client: Any, timed: Any, cells: Any
) -> None:
    mine, others = await draw(client), await draw(client)
    for loan in (mine, others):
        await close(timed, cells, loan, 4)
    wish = {"staff": "li.wei", "customer_ids": [mine["customer_id"]], "days": 7}
    assert (await client.send("POST", "/v1/staff/assignments", json=wish, headers=WANG))[0] == 200
    before = len(await cells.rows("select 1 from core.staff_looks"))
    status, shown, _ = await client.send("POST", "/v1/staff/collection/worklists", json={})
    assert status == 201, shown
    [row] = shown["rows"]
    assert (row["loan_id"], row["days_past_due"], row["script"]) == (mine["loan_id"], 4, "person_opening")
    assert row["facts"]["balance_fen"] == 1_200_000
    looks = await cells.rows(
        "select look_id, kind, staff, subject_id, purpose, assigned from core.staff_looks"
    )
    assert looks[before:] == [(row["look_id"], "list_row", "li.wei", mine["loan_id"], "collection", True)]
    # Asking for a call shows the overdue amount: a look of its own.
    await ask(client, mine)
    assert len(await cells.rows("select 1 from core.staff_looks")) == before + 2


async def test_what_was_asked_and_what_came_of_it_stays(client: Any, timed: Any, cells: Any) -> None:
    loan = await draw(client)
    cells.set_business_date("2026-02-19")
    assert await end(client, await ask(client, loan), "answered") == 201
    database = cells.databases[timed.cell_of_customer(loan["customer_id"])]
    for table in ("contacts", "contact_outcomes"):
        for statement in (f"update core.{table} set customer_id = 'C'", f"delete from core.{table}"):
            with pytest.raises(Exception, match="psql"):
                cells.run_sql(database, statement)
