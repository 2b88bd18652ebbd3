"""Campaigns and events of pages: by two people, with a consent of their own kind, once, and no longer."""

import asyncio
import datetime as dt
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from core_app.decisions.consents import HOLD_CONSENT_SHARED, forget_answers
from core_app.marketing.choosing import choose_customers
from core_app.notices.fake_gateway import FakeMessageGateway
from core_app.notices.send import Sender
from tests.integration.core_app.lending import draw, register
from tests.integration.core_app.test_metrics import Hand

FIRST = dt.date(2026, 1, 16)
EVENING = FIRST - dt.timedelta(days=1)
CAMPAIGN = {
    "campaign": "winter-2026", "segment": "returning", "message": "coupon_waiting", "medium": "app",
    "coupon": "fifty_off", "first_day": str(FIRST), "last_day": "2026-01-31", "reason": "winter",
    "staff": "li.wei",
}  # fmt: skip
TOLD = "select customer_id, chosen_on, coupon_id, points from core.campaign_targets order by customer_id"


async def consent(client: Any, customer_id: str, source: str, granted: bool = True) -> None:
    body = {"customer_id": customer_id, "source": source, "granted": granted, "reference": "paper-0001"}
    assert (await client.post("/v1/consents", body))[0] == 201


async def place(client: Any, customer_id: str, segment: str = "returning") -> str:
    body = {"customer_id": customer_id, "segment": segment, "reason": "settled", "staff": "li.wei"}
    assert (await client.post("/v1/segments", body))[0] == 201
    return customer_id


async def likely(client: Any) -> str:
    """A customer of the segment who agrees to be told of offers."""
    customer_id = await place(client, await register(client))
    await consent(client, customer_id, "marketing")
    return customer_id


async def campaign(client: Any, **more: Any) -> Any:
    status, body, _ = await client.post("/v1/campaigns", CAMPAIGN | more)
    assert status == 201, body
    return body


async def choose(core: Any, evening: dt.date = EVENING, at_once: int = 200) -> int:
    return sum([await choose_customers(core, cell, evening, at_once) for cell in core.router.cells])


async def send(core: Any, cells: Any, gateway: FakeMessageGateway) -> None:
    due = "update core.notices set due_at = now(), quiet_from = 24, quiet_until = 0 where state = 'ordered'"
    for database in cells.databases.values():
        cells.run_sql(
            database,
            "alter table core.notices disable trigger user;"
            f"{due}; alter table core.notices enable trigger user",
        )
    own = replace(core, router=core.router.notices)  # its own rights, none of the core's
    for cell in core.router.cells:
        await Sender(own, gateway).look(cell)


async def test_a_campaign_tells_whom_it_may_once_with_a_coupon_each(
    client: Any, core: Any, cells: Any, tmp_path: Path
) -> None:
    told = sorted([await likely(client) for _ in range(5)])
    other_segment, without_consent, withdrawn = [await register(client) for _ in range(3)]
    await place(client, other_segment, "saver")
    await consent(client, other_segment, "marketing")
    await place(client, without_consent)
    await place(client, withdrawn)
    await consent(client, withdrawn, "marketing")
    await consent(client, withdrawn, "marketing", granted=False)
    kept = await campaign(client)
    assert await cells.rows("select campaign from core.campaigns") == [(kept["campaign"],)] * 2, (
        "in each cell"
    )
    assert await choose(core, EVENING - dt.timedelta(days=1)) == 0, "it has not begun"
    assert await choose(core, at_once=2) == 5
    rows = sorted(await cells.rows(TOLD))
    assert [(customer, on, points) for customer, on, _, points in rows] == [
        (customer, EVENING, None) for customer in told
    ]
    counts = await cells.counts()
    assert await choose(core, at_once=2) == 5, "answered from its record"
    assert await cells.counts() == counts
    assert await choose(core, FIRST) == 0, "each customer once"
    for customer_id, _, coupon_id, _ in rows:
        _, body, _ = await client.get(f"/v1/customers/{customer_id}/coupons")
        [coupon] = body["coupons"]
        shown = (
            coupon["coupon_id"],
            coupon["valid_from"],
            coupon["valid_to"],
            coupon["benefit"]["amount_fen"],
        )
        assert shown == (coupon_id, str(FIRST), "2026-01-31", 5_000)
    assert await choose(core, dt.date(2026, 1, 31)) == 0, "it is over"
    await consent(client, told[0], "marketing", granted=False)
    gateway = FakeMessageGateway(tmp_path / "book")
    for _ in range(2):
        await send(core, cells, gateway)
    texts = [line["text"] for line in gateway.delivered().values()]
    assert len(texts) == 4, "who withdrew in the meantime is not told"
    assert all("【广告】" in text and "withdraw the marketing consent" in text for text in texts)
    states = await cells.rows("select customer_id, state from core.notices where state <> 'delivered'")
    assert states == [(told[0], "needless")]


@pytest.mark.parametrize("trouble", ["past due", "written off", "resting"])
async def test_nobody_in_trouble_is_told_of_an_offer(
    client: Any, core: Any, cells: Any, trouble: str
) -> None:
    loan = await draw(client)
    customer_id = await place(client, loan["customer_id"])
    await consent(client, customer_id, "marketing")
    await campaign(client)
    cell = core.cell_of_customer(customer_id)
    dsn = cells.server.dsn(cells.databases[cell], "biyi_admin")
    async with await psycopg.AsyncConnection.connect(dsn) as admin:
        await admin.execute("set session_replication_role = replica")
        hand = Hand(admin)
        of = {"loan_id": loan["loan_id"], "customer_id": customer_id}
        if trouble == "past due":
            await hand.put("loan_snapshots", on_date=EVENING, days_past_due=1, asset_class="normal", **of)
        elif trouble == "written off":
            await admin.execute("update core.loans set written_off_on = %s", [EVENING])
        else:
            await hand.put("hardships", asked_on=EVENING, rest_until=FIRST, reason="income", **of)
    assert await choose(core) == 0


async def test_a_score_chooses_whom_to_tell_and_refuses_nobody(client: Any, core: Any, cells: Any) -> None:
    never = await likely(client)
    loan = await draw(client)
    likely_one = await place(client, loan["customer_id"])
    await consent(client, likely_one, "marketing")
    for campaign_id, least in (("all-of-them", 300), ("likely-ones", 400)):
        await campaign(client, campaign=campaign_id, least_points=least, coupon=None)
    await choose(core)
    rows = await cells.rows("select campaign, customer_id, points, model_sm3 from core.campaign_targets")
    points = {customer_id: found for name, customer_id, found, _ in rows if name == "all-of-them"}
    # Without a loan nothing is known of the days since one; a draw of yesterday makes an answer likelier.
    assert points[likely_one] >= 400 > points[never] >= 300
    assert [customer_id for name, customer_id, *_ in rows if name == "likely-ones"] == [likely_one]
    assert all(len(sm3) == 32 for *_, sm3 in rows)
    assert await cells.rows("select 1 from core.coupons") == []
    # Both are offered and decided the same as before: no step of a decision knows the score.
    for customer_id in (never, likely_one):
        wish = {"customer_id": customer_id, "amount_fen": 100_000, "periods": 12}
        status, shown, _ = await client.send("POST", "/v1/offers", json=wish)
        assert status == 200
        assert "marketing" not in str(shown)


@pytest.mark.parametrize(
    ("change", "status", "path"),
    [
        ({"segment": "nobody"}, 422, "body.segment"),
        ({"message": "you_won"}, 422, "body.message"),
        ({"coupon": "gold"}, 422, "body.coupon"),
        ({"first_day": "2026-01-14"}, 422, "body.first_day"),
        ({"last_day": "2026-01-15"}, 422, "body.last_day"),
        ({"staff": "wang.fang"}, 422, "body.staff"),
        ({"reason": "again"}, 409, "body.campaign"),
    ],
)
async def test_a_campaign_that_cannot_be_is_refused_by_its_field(
    client: Any, cells: Any, change: dict[str, Any], status: int, path: str
) -> None:
    if status == 409:
        await campaign(client)
    found, problem, _ = await client.post("/v1/campaigns", CAMPAIGN | change)
    assert (found, problem["errors"][0]["path"]) == (status, path)
    assert len(await cells.rows("select 1 from core.campaigns")) == (2 if status == 409 else 0)


def now(shift_s: float = 0.0) -> str:
    return dt.datetime.fromtimestamp(time.time() + shift_s, dt.UTC).isoformat()


def batch(customer_id: str, *events: dict[str, Any]) -> dict[str, Any]:
    return {"customer_id": customer_id, "events": list(events) or [{"name": "quote_seen", "at": now()}]}


KEPT = "select name, dwell_ms, keep_until - on_date from core.page_events order by event_id"


async def test_events_of_pages_are_kept_by_consent_and_gone_with_it(
    client: Any, core: Any, cells: Any
) -> None:
    customer_id, other = await register(client), await register(client)
    status, problem, _ = await client.post("/v1/page-events", batch(customer_id))
    assert (status, problem["errors"][0]["path"]) == (409, "body.customer_id")
    for who in (customer_id, other):
        await consent(client, who, "page_events")
    stayed = {"name": "offers_seen", "at": now(-60), "dwell_ms": 5200}
    body = batch(customer_id, stayed, {"name": "quote_seen", "at": now()})
    status, kept, _ = await client.post("/v1/page-events", body, "page-events-0001")
    assert (status, kept["kept"]) == (201, 2)
    status, again, headers = await client.post("/v1/page-events", body, "page-events-0001")
    assert (status, again, headers["Biyi-Replayed"]) == (201, kept, "true")
    assert await cells.rows(KEPT) == [("offers_seen", 5200, 90), ("quote_seen", None, 90)]
    assert (await client.post("/v1/page-events", batch(other)))[0] == 201
    await consent(client, customer_id, "page_events", granted=False)
    assert await cells.rows("select customer_id from core.page_events") == [(other,)]
    assert (await client.post("/v1/page-events", batch(customer_id)))[0] == 409
    # Another consent's end leaves them; the end of their time does not.
    await consent(client, other, "utilities", granted=False)
    cell, last = core.cell_of_customer(other), dt.date(2026, 1, 15) + dt.timedelta(days=90)
    for day, left in ((last, 1), (last + dt.timedelta(days=1), 0)):
        cells.set_business_date(str(day))
        await forget_answers(core, cell)
        assert len(await cells.rows(KEPT)) == left


@pytest.mark.parametrize(
    ("event", "status", "path"),
    [
        ({"name": "password_typed"}, 422, "body.events.0.name"),
        ({"at": now(-8 * 86_400)}, 422, "body.events.0.at"),
        ({"at": now(3600)}, 422, "body.events.0.at"),
        ({"at": "2026-01-15T08:00:00"}, 422, "body.events.0.at"),
        ({"at": 1}, 422, "body.events.0.at"),
        ({"dwell_ms": -1}, 422, "body.events.0.dwell_ms"),
        ({"text": "what was typed"}, 422, "body.events.0.text"),
    ],
)
async def test_an_event_that_is_not_in_the_dictionary_or_its_bounds_leaves_nothing(
    client: Any, cells: Any, event: dict[str, Any], status: int, path: str
) -> None:
    customer_id = await register(client)
    await consent(client, customer_id, "page_events")
    good = {"name": "quote_seen", "at": now()}
    found, problem, _ = await client.post("/v1/page-events", batch(customer_id, good | event, good))
    assert (found, problem["errors"][0]["path"]) == (status, path)
    assert await cells.rows(KEPT) == []


async def test_a_batch_is_bounded(client: Any) -> None:
    customer_id = await register(client)
    events = [{"name": "quote_seen", "at": now()}] * 101
    status, problem, _ = await client.post("/v1/page-events", batch(customer_id, *events))
    assert (status, problem["errors"][0]["path"]) == (422, "body.events")


async def test_the_end_of_a_consent_waits_for_a_batch_under_way(client: Any, core: Any, cells: Any) -> None:
    customer_id = await register(client)
    await consent(client, customer_id, "page_events")
    dsn = cells.server.dsn(cells.databases[core.cell_of_customer(customer_id)], "biyi_app")
    async with await psycopg.AsyncConnection.connect(dsn) as under_way:
        await under_way.execute(HOLD_CONSENT_SHARED, [f"page_events|{customer_id}"])
        ending = asyncio.create_task(consent(client, customer_id, "page_events", granted=False))
        waits = "select 1 from pg_locks where locktype = 'advisory' and not granted"
        async with asyncio.timeout(10):
            while not await cells.rows(waits, "biyi_admin"):
                await asyncio.sleep(0.02)
        assert (await client.post("/v1/consents", {}))[0] == 422, "others go on"
        await under_way.execute(
            "insert into core.page_events (customer_id, name, happened_at, on_date, keep_until,"
            " idempotency_key) values (%s, 'quote_seen', now(), '2026-01-15', '2026-02-15', 'k')",
            [customer_id],
        )
        await under_way.commit()
        await ending
    assert await cells.rows(KEPT) == [], "what came in before the end is gone with it"
