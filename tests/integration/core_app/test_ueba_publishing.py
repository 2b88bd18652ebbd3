"""From a scored day to the portal, and from the portal's reviews and real looks back into an event store."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from compliance.access.roles import Role
from core_app.staff.portal import make_portal
from core_app.staff.pseudonyms import customer_namer, staff_namer
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.lending import make_person
from tests.integration.core_app.people import seat
from ueba.collect import read_portal_acts, read_staff, take_acts, take_events, take_staff
from ueba.daily import Wanted, keep, score_home
from ueba.errors import UebaError
from ueba.feedback import reviewed_of
from ueba.generator.write import Plan, write_organisation
from ueba.journal import read_acts
from ueba.portal import Pseudonyms, Row
from ueba.provisional import Profile
from ueba.publish import make_publication, publish
from ueba.settings import Baseline, QueueSettings, ScoreSettings, Settings
from ueba.store import Home

SMALL = Settings(
    baseline=Baseline(window=20, gap=3),
    score=ScoreSettings(fit_days=15, least_rows=60, least_periods=5, trees=20, seeds=(11,)),
    queue=QueueSettings(budget_share=0.05),
)
Scored = tuple[Home, dt.date]
SILENT = lambda _: None  # noqa: E731


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dt.date]:
    home = Home(tmp_path_factory.mktemp("ueba"))
    for _ in write_organisation(home, Plan(staff=80, days=40, cases=1, first=33, seed=3)):
        pass
    day = max(one for one in home.days() if one.weekday() < 5)
    keep(home, score_home(home, Wanted(day, day - dt.timedelta(days=7)), SMALL, SILENT))
    return home, day


async def test_a_published_day_is_what_the_reviewers_see(core: Any, scored: Scored) -> None:
    home, day = scored
    portal = make_portal(core, core.router.staff)
    made = make_publication(home, day, 1, SMALL, SILENT)
    assert made.cases
    assert await publish(portal, made)
    assert not await publish(portal, made)
    with pytest.raises(UebaError, match="published once"):
        await publish(portal, type(made)(day, "0" * 64, made.card, made.cases, made.profiles))
    async with serve_api(core, None, portal=portal) as client:
        deng = await seat(portal, "deng.li", Role.AUDIT_ADMIN)
        chen = await seat(portal, "chen.yu", Role.SECURITY_ADMIN)
        _, listed, _ = await client.send("GET", f"/v1/staff/cases?day={day}", headers=deng)
        assert [one["subject"] for one in listed["cases"]] == [one["subject"] for one in made.cases]
        first = listed["cases"][0]["case_id"]
        _, detail, _ = await client.send("GET", f"/v1/staff/cases/{first}", headers=deng)
        assert detail["document"]["scores"] == [{"day": str(day), "score": round(detail["score"], 1)}]
        _, watched, _ = await client.send("GET", "/v1/staff/watch-list", headers=chen)
        assert watched["day"] == str(day)
        assert {one["subject"]: one["since"] for one in watched["watched"]} == made.card["watched"]
        reasons = [*detail["document"]["today"], *detail["document"]["accumulated"]]
        assert reasons
        assert {"own_usual", "peers_usual", "value", "since"} <= set(reasons[0])
        assert detail["document"]["lines"][reasons[0]["family"]]
        path = f"/v1/staff/cases/{first}/timeline"
        _, timeline, _ = await client.send("GET", path, headers=deng)
        assert {one["event_id"] for one in timeline["events"]} >= set(
            detail["document"]["lines"][reasons[0]["family"]][:5]
        )
        for who, body in ((deng, {"kind": "open"}), (deng, {"kind": "propose", "disposition": "malicious"}),
                          (chen, {"kind": "confirm"})):  # fmt: skip
            headers = who | {"Idempotency-Key": f"key-{body['kind']}-1"}
            status, answer, _ = await client.send(
                "POST", f"/v1/staff/cases/{first}/acts", headers=headers, json=body
            )
            assert status == 200, answer
    # What was decided comes back to scoring, once.
    back = Home(home.root.parent / f"back-{day}")
    acts = await read_portal_acts(portal)
    assert (take_acts(back, acts), take_acts(back, acts)) == (3, 0)
    (reviewed,) = reviewed_of(read_acts(back.root / "reviews.jsonl")[0]).values()
    assert (reviewed.open, reviewed.fresh) == (False, made.cases[0]["fresh"])


def test_profiles_are_of_the_days_before_the_gap(scored: Scored) -> None:
    home, day = scored
    made = make_publication(home, day, 1, SMALL, SILENT)
    usual = [one for one in made.profiles.values() if one["days"] >= 10]
    assert len(usual) > 40
    assert all(set(one["mean"]) >= {"events", "looks", "bare"} for one in usual)
    Profile(usual[0]["mean"], usual[0]["sd"], usual[0]["days"])
    assert any(one["silenced"] for one in made.profiles.values())
    assert all(word.split(":")[0] in ("hour", "action", "terminal") for one in usual for word in one["words"])


async def test_real_looks_become_events_without_a_name(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    names = Pseudonyms(staff_namer(core.vault.request_digest), customer_namer(core.vault.request_digest))
    customer = (await client.post("/v1/customers", make_person()))[1]["customer_id"]
    looks = []
    for _ in range(3):
        path = f"/v1/staff/customers/{customer}/looks"
        status, look, _ = await client.send("POST", path, json={"purpose": "customer_request"})
        assert status == 201, look
        looks.append(look["look_id"])
    await client.send("POST", f"/v1/staff/looks/{looks[0]}/end", json={"dwell_ms": 4200})
    await client.send(
        "POST", "/v1/staff/searches", json={"purpose": "customer_request", "phone": "13800138000"}
    )
    rows = [
        Row(*row)
        for row in await cells.rows("select topic, key, at, payload from core.staff_events", "biyi_ueba")
    ]
    home, now = Home(tmp_path / "home"), dt.datetime.now(dt.UTC)
    taken = take_events(home, rows, names, now, SMALL)
    again = take_events(home, rows, names, now, SMALL)
    assert taken.rejected == 0, list((home.root / "rejects").glob("*"))
    assert taken.taken >= 3
    assert (again.taken, again.seen_before) == (0, taken.taken)
    portal = make_portal(core, core.router.staff)
    assert take_staff(home, await read_staff(portal, names, now.date()), now, SMALL).taken == 2
    stored = json.dumps([str(file.read_bytes()) for file in home.root.rglob("*.parquet")])
    assert "li.wei" not in stored
    assert customer not in stored


async def test_the_reading_role_walks_an_index_not_the_whole_outbox(cells: Any) -> None:
    """The view hides other topics behind a barrier; a window must still be found by its index."""
    async with await psycopg.AsyncConnection.connect(
        cells.server.dsn(cells.databases["a"], "biyi_ueba")
    ) as connection:
        await connection.execute("set enable_seqscan = off")
        plan = await (
            await connection.execute(
                "explain select outbox_id from core.staff_events where xid >= '9'::xid8 and xid < '99'::xid8"
            )
        ).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "outbox_by_xid" in text, text
    assert "Index Cond" in text, text
