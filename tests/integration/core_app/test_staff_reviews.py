"""Reviews of staff behaviour over HTTP: two people for each decision and name, all in the audit chain."""

import datetime as dt
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from compliance.access.roles import Role
from core_app.staff.portal import Portal, make_portal
from core_app.staff.pseudonyms import staff_namer
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.people import seat

DAY = dt.date(2026, 4, 30)
DOCUMENT = {
    "role": "clerk", "branch": "b001", "rules": [], "accumulated": [],
    "today": [{"family": "volume", "text": "how much was looked at", "value": 400.0, "own_usual": 35.0}],
    "events": [{"at": "2026-04-30T01:02:03Z", "action": "view", "event_id": "v1"}], "events_left_out": 3,
}  # fmt: skip
_PUBLISH = "insert into watch.publications (day, scores, card) values (%s, %s, %s)"
_CASE = """
insert into watch.cases (case_id, day, subject, place, why, score, level, fresh, slow, document)
values (%s, %s, %s, %s, 'fresh', 91.4, 'critical', 4.2, 0.3, %s)
"""


@dataclass
class Reviews:
    """Three reviewers, one member of staff under review, and the API."""

    client: Any
    portal: Portal
    cells: Any
    headers: dict[str, dict[str, str]]
    case: str

    async def call(
        self, who: str, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        sent = self.headers[who] | headers
        status, answer, _ = await self.client.send(method, f"/v1/staff{path}", headers=sent, json=body)
        return status, answer

    async def act(self, who: str, kind: str, key: str | None = None, **more: Any) -> tuple[int, Any]:
        path = f"/cases/{self.case}/acts"
        return await self.call(
            who, "POST", path, {"kind": kind, **more}, **{"Idempotency-Key": key or uuid.uuid4().hex}
        )

    async def unmask(self, who: str, approval: str, key: str) -> tuple[int, Any]:
        headers = {"Idempotency-Key": key, "Biyi-Approval": approval}
        return await self.call(who, "POST", f"/cases/{self.case}/unmaskings", **headers)

    async def approve(self, asking: str, granting: str) -> str:
        wish = {"method": "POST", "path": f"/v1/staff/cases/{self.case}/unmaskings", "body": {}}
        status, asked = await self.call(asking, "POST", "/approvals", wish)
        assert status == 201, asked
        status, decided = await self.call(
            granting, "POST", f"/approvals/{asked['approval_id']}/decision", {"granted": True}
        )
        assert status == 200, decided
        return str(asked["approval_id"])

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = await self.cells.rows(query)
        return found


@pytest.fixture
async def reviews(core: Any, cells: Any) -> AsyncIterator[Reviews]:
    portal = make_portal(core, core.router.staff)
    async with serve_api(core, None, portal=portal) as client:
        headers = {
            "deng": await seat(portal, "deng.li", Role.AUDIT_ADMIN),
            "chen": await seat(portal, "chen.yu", Role.SECURITY_ADMIN),
            "song": await seat(portal, "song.an", Role.SECURITY_ADMIN),
            "li": {},
        }
        headers["li"] = await seat(portal, "li.wei", Role.SERVICE)
        case = f"W-{uuid.uuid4().hex}"
        await publish(cells, case, staff_namer(portal.desk.digest)("li.wei"))
        yield Reviews(client, portal, cells, headers, case)


async def publish(cells: Any, case: str, subject: str, day: dt.date = DAY) -> None:
    async with await psycopg.AsyncConnection.connect(
        cells.server.dsn(cells.databases["a"], "biyi_staff")
    ) as connection:
        await connection.execute(_PUBLISH, [day, uuid.uuid4().hex * 2, Jsonb({})])
        await connection.execute(_CASE, [case, day, subject, 1, Jsonb(DOCUMENT)])


async def test_a_case_is_listed_with_its_reasons_and_without_a_name(reviews: Reviews) -> None:
    status, listed = await reviews.call("deng", "GET", "/cases?day=2026-04-30")
    assert status == 200
    (case,) = listed["cases"]
    assert (case["case_id"], case["state"], case["score"]) == (reviews.case, "waiting", 91.4)
    _, detail = await reviews.call("chen", "GET", f"/cases/{reviews.case}")
    assert detail["document"]["today"][0]["own_usual"] == 35.0
    assert "li.wei" not in json.dumps([listed, detail])


async def test_the_watch_list_is_that_of_the_newest_published_day(reviews: Reviews) -> None:
    assert await reviews.call("deng", "GET", "/watch-list") == (200, {"day": "2026-04-30", "watched": []})
    card = Jsonb({"watched": {"e0123456789abcdef0123": "2026-04-28"}})
    async with await psycopg.AsyncConnection.connect(
        reviews.cells.server.dsn(reviews.cells.databases["a"], "biyi_staff")
    ) as connection:
        await connection.execute(_PUBLISH, [DAY + dt.timedelta(days=1), uuid.uuid4().hex * 2, card])
    watched = [{"subject": "e0123456789abcdef0123", "since": "2026-04-28"}]
    assert await reviews.call("chen", "GET", "/watch-list") == (
        200,
        {"day": "2026-05-01", "watched": watched},
    )
    assert (await reviews.call("li", "GET", "/watch-list"))[0] == 403


async def test_a_comment_is_kept_told_and_holds_no_number_of_a_person(reviews: Reviews) -> None:
    said = "A campaign of the branch; the manager showed its plan."
    status, _ = await reviews.act("deng", "open", "ab" * 16, comment=said)
    assert status == 200
    _, detail = await reviews.call("chen", "GET", f"/cases/{reviews.case}")
    assert [one["comment"] for one in detail["acts"]] == [said]
    told = await reviews.rows("select payload ->> 'comment' from core.outbox where topic = 'staff.reviewed'")
    assert told == [(said,)]
    assert (await reviews.act("deng", "open", "ab" * 16, comment="another"))[0] == 409
    for wrong in ("call 138 0013 8000", "", "x" * 501):
        assert (await reviews.act("deng", "propose", disposition="data_fault", comment=wrong))[0] == 422


async def test_a_disposition_takes_two_people(reviews: Reviews) -> None:
    assert (await reviews.act("deng", "open"))[0] == 200
    proposal = {"disposition": "explained", "family": "volume", "until": "2026-05-31"}
    status, case = await reviews.act("deng", "propose", **proposal)
    assert (status, case["state"], case["disposition"]) == (200, "open", "explained")
    status, refused = await reviews.act("deng", "confirm")
    assert status == 403
    assert "two people" in refused["detail"]
    status, case = await reviews.act("chen", "confirm")
    assert (status, case["state"], case["proposed_by"], case["confirmed_by"]) == (
        200, "closed", "deng.li", "chen.yu",
    )  # fmt: skip
    assert (await reviews.act("song", "propose", disposition="malicious"))[0] == 409
    assert [one["kind"] for one in case["acts"]] == ["open", "propose", "confirm"]


async def test_the_database_too_refuses_a_confirmation_by_the_proposer(reviews: Reviews) -> None:
    await reviews.act("deng", "open")
    await reviews.act("deng", "propose", disposition="malicious")
    with pytest.raises(psycopg.Error, match="confirm takes two people"):
        async with await psycopg.AsyncConnection.connect(
            reviews.cells.server.dsn(reviews.cells.databases["a"], "biyi_staff")
        ) as connection:
            await connection.execute(
                "insert into watch.acts (act_id, case_id, number, kind, done_by, idempotency_key,"
                " request_digest) values (%s, %s, 3, 'confirm', 'deng.li', 'some-key-1', %s)",
                [uuid.uuid4().hex, reviews.case, b"\x00" * 32],
            )


async def test_each_act_is_in_the_audit_chain_and_is_told_to_scoring(reviews: Reviews) -> None:
    await reviews.act("deng", "open")
    await reviews.act("deng", "propose", disposition="policy_breach")
    await reviews.act("chen", "confirm")
    acts = await reviews.rows("select act_id, kind, done_by from watch.acts order by number")
    lines = [json.loads(line) for (line,) in await reviews.rows("select line from audit.entries")]
    audited = {
        one["of"]: (one["body"]["action"], one["actor"]) for one in lines if one["what"] == "staff.reviewed"
    }
    assert audited == {act_id: (f"review_{kind}", by) for act_id, kind, by in acts}
    assert len(acts) == 3
    told = await reviews.rows("select key from core.staff_events where topic = 'staff.reviewed'")
    assert {key for (key,) in told} == set(audited)


async def test_a_name_is_learnt_by_two_people(reviews: Reviews) -> None:
    await reviews.act("deng", "open")
    assert (await reviews.unmask("deng", "0" * 32, "unmask-key-0"))[0] == 403
    wish = {"method": "POST", "path": f"/v1/staff/cases/{reviews.case}/unmaskings", "body": {}}
    _, asked = await reviews.call("chen", "POST", "/approvals", wish)
    own = f"/approvals/{asked['approval_id']}/decision"
    assert (await reviews.call("chen", "POST", own, {"granted": True}))[0] == 403
    approval = await reviews.approve("deng", "song")
    assert (await reviews.unmask("chen", approval, "unmask-key-1"))[0] == 403
    status, named = await reviews.unmask("deng", approval, "unmask-key-2")
    assert (status, named["staff"], named["approved_by"]) == (200, "li.wei", "song.an")
    assert await reviews.unmask("deng", approval, "unmask-key-2") == (200, named)
    assert (await reviews.unmask("deng", approval, "unmask-key-3"))[0] == 403
    _, detail = await reviews.call("chen", "GET", f"/cases/{reviews.case}")
    assert detail["unmasked_by"] == ["deng.li", "song.an"]


async def test_nobody_reviews_himself_nor_grants_the_sight_of_his_own_name(reviews: Reviews) -> None:
    namer = staff_namer(reviews.portal.desk.digest)
    for name, who in (("chen.yu", "chen"), ("song.an", "song")):
        reviews.case = f"W-{uuid.uuid4().hex}"
        await publish(reviews.cells, reviews.case, namer(name), DAY + dt.timedelta(len(name) + ord(who[0])))
        assert (await reviews.act(who, "open"))[0] == 403
    await reviews.act("deng", "open")
    approval = await reviews.approve("deng", "song")
    assert (await reviews.unmask("deng", approval, "unmask-key-4"))[0] == 403


async def test_a_repeated_act_is_one_act_and_a_refused_one_leaves_no_row(reviews: Reviews) -> None:
    key = "review-key-0001"
    assert (await reviews.act("deng", "open", key))[0] == 200
    assert (await reviews.act("deng", "open", key))[0] == 200
    assert (await reviews.act("deng", "propose", key, disposition="malicious"))[0] == 409
    count = "select count(*) from watch.acts"
    before = await reviews.rows(count)
    for who, kind, more, status in (
        ("deng", "open", {}, 409),
        ("deng", "confirm", {}, 409),
        ("deng", "propose", {}, 422),
        ("deng", "propose", {"disposition": "explained"}, 422),
        ("deng", "propose", {"disposition": "explained", "family": "volume", "until": "2027-05-31"}, 422),
        ("chen", "confirm", {"disposition": "malicious"}, 422),
        ("li", "propose", {"disposition": "malicious"}, 403),
    ):
        answered = await reviews.act(who, kind, **more)
        assert answered[0] == status, (kind, more, answered)
    assert await reviews.rows(count) == before
    assert before[0][0] + before[1][0] == 1


async def test_the_timeline_and_the_burden(reviews: Reviews) -> None:
    await reviews.act("deng", "open")
    await reviews.act("deng", "propose", disposition="data_fault")
    await reviews.act("chen", "confirm")
    _, told = await reviews.call("deng", "GET", f"/cases/{reviews.case}/timeline")
    assert (told["events"][0]["event_id"], told["events_left_out"]) == ("v1", 3)
    assert [one["state"] for one in told["cases"]] == ["closed"]
    _, found = await reviews.call("chen", "GET", "/case-burden")
    (row,) = found["burden"]
    assert (row["role"], row["cases"], row["closed"], row["without_finding"]) == ("clerk", 1, 1, 1)
