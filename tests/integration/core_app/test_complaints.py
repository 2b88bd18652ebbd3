"""Complaints: in by web, hotline and public posts; their clocks; raised when late; closed in a loop."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from core_app.servicing.complaint_watch import ComplaintWatch
from core_app.servicing.fake_opinions import FakeOpinionFeed
from core_app.servicing.opinions import Post
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.lending import draw, register
from tests.integration.core_app.people import WANG
from tests.integration.core_app.test_collection import Clock

MORNING = dt.datetime(2026, 3, 10, 9, tzinfo=dt.timezone(dt.timedelta(hours=8)))
DESK = "/v1/staff/complaints"
WHY = {"purpose": "complaint"}
LEVELS = "select level, state from core.complaints order by received_at, complaint_id"
ACTS = "select act, staff, level from core.complaint_acts order by complaint_id, number"


@pytest.fixture
def clock() -> Clock:
    made = Clock()
    made.now = MORNING
    return made


@pytest.fixture
def timed(core: Any, clock: Clock) -> Any:
    return replace(core, read_now=lambda: clock.now)


@pytest.fixture
async def client(timed: Any) -> AsyncIterator[Any]:
    async with serve_api(timed, None) as made:
        yield made


async def complain(client: Any, path: str = "/v1/complaints", **more: Any) -> dict[str, Any]:
    body = {"about": "fees", "words": "The fee was not shown to me."} | more
    if "customer_id" not in body:
        body["customer_id"] = await register(client)
    status, answer, _ = await client.post(path, body)
    assert status == 201, answer
    return dict(answer)


async def act(client: Any, complaint: Any, name: str, words: str | None = None, **more: Any) -> int:
    body = {"act": name} | ({} if words is None else {"words": words})
    headers = more.pop("headers", {}) | {"Idempotency-Key": f"{name}-act-{len(client.seen):04d}"}
    path = f"{DESK}/{complaint['complaint_id']}/acts"
    return int((await client.send("POST", path, headers=headers, json=body))[0])


async def watch(core: Any, feed: FakeOpinionFeed | None = None) -> list[int]:
    """Let two machines look at once, as the database's own role; returns how much each did."""
    own = replace(core, router=core.router.notices)
    found = await asyncio.gather(
        *(ComplaintWatch(own, feed).look(cell) for cell in core.router.cells for _ in range(2))
    )
    return [did for did in found if did]


async def test_web_and_hotline_take_a_complaint_and_say_by_when_it_is_answered(
    client: Any, cells: Any
) -> None:
    loan = await draw(client)
    about = {"customer_id": loan["customer_id"], "loan_id": loan["loan_id"]}
    web, hotline = await complain(client, **about), await complain(client, DESK, **about)
    for answer in (web, hotline):
        assert answer["first_answer_by"] == "2026-03-10T05:00:00+00:00"
        assert answer["decide_by"] == "2026-03-25"
    rows = await cells.rows(
        "select source, staff, complex_by, special_by from core.complaints order by staff"
    )
    last_days = (dt.date(2026, 4, 9), dt.date(2026, 5, 9))
    assert rows == [("hotline", "li.wei", *last_days), ("web", None, *last_days)]
    bad = {"about": "fees", "words": "Call me at 13800138000.", "customer_id": loan["customer_id"]}
    status, problem, _ = await client.post("/v1/complaints", bad)
    assert (status, problem["errors"][0]["path"]) == (422, "body.words")
    other = await register(client)
    bad |= {"words": "It is not mine.", "customer_id": other, "loan_id": loan["loan_id"]}
    status, problem, _ = await client.post("/v1/complaints", bad)
    assert (status, problem["errors"][0]["path"]) == (422, "body.loan_id")
    assert len(await cells.rows("select 1 from core.complaints")) == 2


async def test_what_runs_late_is_raised_once_a_level_and_told(
    client: Any, timed: Any, cells: Any, clock: Clock
) -> None:
    complaint = await complain(client)
    seen = []
    for when in (
        MORNING + dt.timedelta(hours=4, seconds=-1),
        MORNING + dt.timedelta(hours=4),
        MORNING + dt.timedelta(days=11),
        MORNING + dt.timedelta(days=12),
        MORNING + dt.timedelta(days=15, hours=14),
        MORNING + dt.timedelta(days=15, hours=15),
        MORNING + dt.timedelta(days=16),
    ):
        clock.now = when
        await watch(timed)
        seen += [level for level, _ in await cells.rows(LEVELS)]
    assert seen == [0, 1, 1, 2, 2, 3, 3]
    assert await cells.rows(ACTS) == [("escalate", None, level) for level in (1, 2, 3)]
    told = await cells.rows("select payload ->> 'level' from core.outbox where topic = 'complaint.escalated'")
    assert sorted(told) == [("1",), ("2",), ("3",)]
    _, listed, _ = await client.get(f"{DESK}?state=open")
    [row] = listed["complaints"]
    assert (row["complaint_id"], row["level"]) == (complaint["complaint_id"], 3)
    assert not {"words", "customer_id"} & set(row)
    # Another last day, 2026-04-09, begins anew: near it, it is raised again.
    assert await act(client, complaint, "first_answer", "We are sorry to be late.") == 201
    assert await act(client, complaint, "extend_complex", "Three banks have to be asked.") == 201
    levels = []
    for day in (26, 27):
        clock.now = MORNING + dt.timedelta(days=day)
        await watch(timed)
        levels += [level for level, _ in await cells.rows(LEVELS)]
    assert levels == [0, 2]


async def test_the_loop_takes_a_reply_for_the_case_and_a_second_person_and_closes_by_itself(
    client: Any, timed: Any, cells: Any, clock: Clock
) -> None:
    customer_id = await register(client)  # one customer, one cell: replies are compared within it
    one, other = [await complain(client, customer_id=customer_id) for _ in range(2)]
    assert await act(client, one, "release") == 409
    assert await act(client, one, "first_answer") == 422, "without words"
    assert await act(client, one, "first_answer", "We called and heard the case.") == 201
    assert await act(client, one, "first_answer", "Again.") == 409
    assert await act(client, one, "draft", "The fee of your loan was shown on page 2; we pay it back.") == 201
    assert await act(client, one, "release") == 409, "by who drafted it"
    assert await act(client, one, "release", headers=WANG) == 201
    canned = "THE FEE of your loan was shown on page 2;  we pay it back."
    assert await act(client, other, "draft", canned) == 422
    clock.now = MORNING + dt.timedelta(days=10, seconds=-1)
    await watch(timed)
    assert {state for level, state in await cells.rows(LEVELS)} == {"replied", "open"}
    clock.now = MORNING + dt.timedelta(days=10)
    await watch(timed)
    assert await act(client, one, "reopen", "Not content.") == 409, "closed by silence"
    assert {state for level, state in await cells.rows(LEVELS)} == {"closed", "open"}
    # The other one: a decision in time is its first answer too; not content, reopened, closed by hand.
    assert await act(client, other, "draft", "Your case: nothing was charged after all.") == 201
    assert await act(client, other, "release", headers=WANG) == 201
    assert await act(client, other, "reopen", "They sent a receipt.") == 201
    assert await act(client, other, "release", headers=WANG) == 409, "of an older round"
    assert await act(client, other, "draft", "Your receipt shows 12 yuan; paid back today.") == 201
    assert await act(client, other, "release", headers=WANG) == 201
    assert await act(client, other, "close") == 201
    answered = await cells.rows("select count(*) from core.complaints where first_answered_at is null")
    assert sum(count for (count,) in answered) == 0


async def test_extensions_move_the_last_day_and_the_special_one_takes_two_people(
    client: Any, cells: Any
) -> None:
    complaint = await complain(client)
    path, body = f"{DESK}/{complaint['complaint_id']}/special-extensions", {"words": "Waiting for the court."}

    async def extend() -> int:
        approval = await client.approve(path, body)
        headers = {"Biyi-Approval": approval, "Idempotency-Key": f"special-{approval}"}
        return int((await client.send("POST", path, json=body, headers=headers))[0])

    assert (await client.post(path, body))[0] == 403, "without a second person"
    assert await extend() == 409, "not complex yet"
    assert await act(client, complaint, "extend_complex", "Three banks have to be asked.") == 201
    assert await cells.rows("select decide_by from core.complaints") == [(dt.date(2026, 4, 9),)]
    assert await extend() == 201
    assert await cells.rows("select decide_by from core.complaints") == [(dt.date(2026, 5, 9),)]
    assert await extend() == 409
    [(approval,)] = await cells.rows("select approval from core.complaint_acts where act = 'extend_special'")
    assert approval


async def test_public_posts_come_in_once_as_complaints_of_nobody(client: Any, timed: Any, cells: Any) -> None:
    posts = [Post(n, "heimao", f"17{n:09d}", "collection", MORNING) for n in (1, 2, 3)]
    feed = FakeOpinionFeed(posts[:2])
    own = replace(timed, router=timed.router.notices)
    assert [await ComplaintWatch(own, feed).read_feed() for _ in range(2)] == [2, 0]
    feed.posts = [*posts, replace(posts[0], place=4)]
    assert await ComplaintWatch(own, feed).read_feed() == 1, "one is known under another place"
    feed.down = True
    with pytest.raises(OSError, match="down"):
        await ComplaintWatch(own, feed).read_feed()
    rows = await cells.rows("select reference, customer_id, words from core.complaints order by reference")
    assert rows == [(f"heimao/17{n:09d}", None, None) for n in (1, 2, 3)]
    _, listed, _ = await client.get(DESK)
    path = f"{DESK}/{listed['complaints'][0]['complaint_id']}/looks"
    status, shown, _ = await client.send("POST", path, json=WHY)
    assert (status, shown["look_id"], shown["person"]) == (201, None, {})
    assert await cells.rows("select 1 from core.staff_looks") == []


async def test_who_reads_a_complaint_has_looked_at_its_customer(client: Any, cells: Any) -> None:
    customer_id = await register(client)
    complaint = await complain(client, customer_id=customer_id)
    assert await act(client, complaint, "first_answer", "We heard the case.") == 201
    status, shown, _ = await client.send("POST", f"{DESK}/{complaint['complaint_id']}/looks", json=WHY)
    assert (status, shown["complaint"]["words"]) == (201, "The fee was not shown to me.")
    assert shown["person"]["name"] == "张**"
    assert [one["act"] for one in shown["complaint"]["acts"]] == ["first_answer"]
    looks = await cells.rows("select staff, customer_id, purpose, clear from core.staff_looks")
    assert looks == [("li.wei", customer_id, "complaint", False)]
    unknown = complaint["complaint_id"][:-1] + ("0" if complaint["complaint_id"][-1] != "0" else "1")
    assert (await client.send("POST", f"{DESK}/{unknown}/looks", json=WHY))[0] == 404


async def test_what_was_done_stays_done(client: Any, timed: Any, cells: Any) -> None:
    customer_id = await register(client)
    complaint = await complain(client, customer_id=customer_id)
    assert await act(client, complaint, "first_answer", "We heard the case.") == 201
    database = cells.databases[timed.cell_of_customer(customer_id)]
    for statement in (
        "update core.complaint_acts set words = ''",
        "delete from core.complaint_acts",
        "delete from core.complaints",
        "update core.complaints set first_answered_at = now()",
    ):
        with pytest.raises(Exception, match="psql"):
            cells.run_sql(database, statement)
