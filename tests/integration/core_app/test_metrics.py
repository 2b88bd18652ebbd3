"""Every metric of the catalogue on rows made by hand, in both cells; alert rules open one task at a time."""

import asyncio
import datetime as dt
from typing import Any

import psycopg

from core_app.insight.read import find_fired, measure, read_metrics
from core_app.insight.tasks import close_task, list_tasks, open_tasks
from runbooks.metrics import show_fired, show_measured

DAY = dt.date(2026, 2, 19)
EVE = DAY - dt.timedelta(days=1)
AT = dt.datetime(2026, 2, 19, 4, tzinfo=dt.UTC)
COLUMNS = """
select a.attname, format_type(a.atttypid, null) from pg_attribute a
where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped and a.attnotnull
    and not a.atthasdef and a.attidentity = '' and a.attgenerated = ''
"""
FILLING = {
    "text": "x", "date": DAY, "timestamp with time zone": AT, "bytea": bytes(32), "jsonb": "[]",
    "text[]": ["x"], "boolean": False,
}  # fmt: skip


def routed(letter: str, number: int) -> str:
    return f"{letter}000-{number:032x}"


class Hand:
    """Writes rows of one cell; what a row leaves out and the table needs is filled in."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.connection = connection

    async def put(self, table: str, **row: Any) -> None:
        needed = await (await self.connection.execute(COLUMNS, [f"core.{table}"])).fetchall()
        whole = {name: FILLING.get(kind, 1) for name, kind in needed} | row
        names, places = ", ".join(whole), ", ".join(["%s"] * len(whole))
        statement = f"insert into core.{table} ({names}) values ({places})"
        await self.connection.execute(statement.encode(), list(whole.values()))

    async def close(self, chunk: int, product: str, region: str, *, day: dt.date = DAY, **sums: int) -> None:
        zero = dict.fromkeys(
            ("normal_fen", "special_mention_fen", "substandard_fen", "doubtful_fen", "loss_fen",
             "provision_general_fen", "provision_specific_fen", "interest_receivable_fen"), 0
        )  # fmt: skip
        place = {"on_date": day, "chunk": chunk, "product": product, "region": region}
        await self.put("closings", **place, **zero | sums)

    async def snapshot(self, loan: int, day: dt.date, dpd: int, balance_fen: int) -> None:
        await self.put(
            "loan_snapshots", on_date=day, loan_id=routed("L", loan), customer_id=f"C{loan // 10}",
            product="p", balance_fen=balance_fen, days_past_due=dpd, asset_class="normal",
        )  # fmt: skip

    async def contact(self, number: int, channel: str, outcome: str | None, **more: Any) -> None:
        row = {"whom": "debtor", "refused_by": [], "at": AT, "on_date": DAY} | more
        contact_id = routed("U", number)
        await self.put("contacts", contact_id=contact_id, task_id=None, channel=channel, **row)
        if outcome == "promised":
            promise = {"promised_on": DAY, "promised_fen": 500}
            await self.put("contact_outcomes", contact_id=contact_id, outcome=outcome, **promise)
        elif outcome:
            await self.put("contact_outcomes", contact_id=contact_id, outcome=outcome)

    async def complain(self, number: int, source: str, about: str, **more: Any) -> None:
        row = {"complaint_id": routed("G", number), "received_on": DAY, "first_answer_by": AT} | more
        words = {"reference": "site/1"} if source == "opinion" else {"words": "w", "customer_id": "C1"}
        await self.put("complaints", source=source, about=about, **words, **row)


async def tell_of_offers(hand: Hand) -> None:
    for customer, dwell_ms in (("C1", 400), ("C1", 200), ("C2", None)):
        seen = {"name": "quote_seen", "dwell_ms": dwell_ms, "keep_until": DAY}
        await hand.put("page_events", customer_id=customer, **seen)
    await hand.put("campaigns", campaign="winter", medium="app", first_day=EVE)
    await hand.put("campaigns", campaign="over", medium="app", first_day=EVE, last_day=EVE)
    loan_of = {"rate_annual": "0.18", "interest_fen": 0, "principal_fen": 1, "channel": "x"}
    # Told and drew since; told and drew on the evening of the choice; told and voided; not delivered.
    for number, (drawn_on, state, campaign) in enumerate(
        (
            *((DAY, "delivered", "winter"), (EVE, "delivered", "winter"), (DAY, "delivered", "winter")),
            *((DAY, "refused", "winter"), (DAY, "delivered", "over")),
        ),
        100,
    ):
        notice = {"notice_id": routed("N", number), "loan_id": None, "message": "m", "state": state}
        await hand.put("notices", kind="campaign", medium="app", on_date=DAY, **notice)
        target = {"notice_id": notice["notice_id"], "campaign": campaign, "customer_id": f"C{number}"}
        await hand.put("campaign_targets", chosen_on=EVE, **target)
        drawn = {"product": "m", "region": "99", "drawn_on": drawn_on, "customer_id": f"C{number}"}
        await hand.put("loans", loan_id=f"LM{number}", **drawn | loan_of)
    await hand.put("draw_voids", loan_id="LM102")


async def first_cell(hand: Hand) -> None:
    await hand.close(
        1, "p", "31", loans=10, normal_fen=900, special_mention_fen=60, substandard_fen=20, doubtful_fen=10,
        loss_fen=10, provision_general_fen=30, provision_specific_fen=20, interest_receivable_fen=7,
    )  # fmt: skip
    await hand.close(1, "p", "31", day=EVE, loans=99, normal_fen=9_999)
    for loan, day, dpd, balance_fen in (
        (11, DAY, 2, 100),
        (12, DAY, 0, 50),
        (11, EVE, 0, 100),
        (12, EVE, 0, 60),
    ):
        await hand.snapshot(loan, day, dpd, balance_fen)
    taken = {"product": "p", "channel": "app"}
    approved = taken | {"decision": "approved", "limit_fen": 1_000}
    await hand.put("applications", application_id="A1", decided_on=DAY, **approved)
    await hand.put("applications", application_id="A2", decided_on=EVE, **approved)
    refused = taken | {"decision": "refused", "limit_fen": 0, "reasons": '["age"]'}
    await hand.put("applications", application_id="A3", decided_on=DAY, **refused)
    step = {"application_id": "A1", "outcome": "passed", "facts": "{}"}
    await hand.put("decision_steps", ordinal=1, step="fraud", elapsed_us=2_000, **step)
    await hand.put("decision_steps", ordinal=2, step="score", elapsed_us=9, **step | {"outcome": "skipped"})
    loan = taken | {"region": "31", "drawn_on": DAY, "rate_annual": "0.18", "interest_fen": 0}
    await hand.put("loans", loan_id="L1", principal_fen=1_000, **loan)
    await hand.put("loans", loan_id="L2", principal_fen=500, **loan)
    await hand.put("draw_voids", loan_id="L2")
    for number in (1, 2):
        parts = {"penalty_fen": 0, "interest_fen": 0, "principal_fen": 50 * number, "amount_fen": 50 * number}
        await hand.put("repayments", repayment_id=f"R{number}", booked_on=DAY, kind="repayment", **parts)
    await hand.put("reversals", repayment_id="R1", reason="mistake")
    debit = {"on_date": DAY, "channel": "bank", "amount_fen": 5}
    await hand.put("debit_orders", order_id=routed("D", 1), loan_id="L1", state="paid", **debit)
    await hand.put("debit_orders", order_id=routed("D", 2), loan_id="L2", state="failed", **debit)
    notice = {"kind": "due", "on_date": DAY, "loan_id": "L1"}
    await hand.put("notices", notice_id=routed("N", 1), medium="sms", state="delivered", **notice)
    await hand.put("notices", notice_id=routed("N", 2), medium="app", state="ordered", **notice)
    await hand.contact(1, "voice_robot", "answered")
    await hand.contact(2, "person", "promised")
    await hand.contact(3, "person", None, refused_by=["collect.hours"])
    await tell_of_offers(hand)
    await hand.put("hardships", loan_id="L1", asked_on=DAY, rest_until=DAY, reason="income")
    waiting = {"channel": "bank", "kind": "debits", "on_date": DAY - dt.timedelta(days=8)}
    await hand.put("custody", order_id=routed("D", 5), standing="no_file", **waiting)
    agreed = waiting | {"standing": "agrees", "reported_on": DAY}
    await hand.put("custody", order_id=routed("D", 6), **agreed)
    await hand.complain(1, "web", "fees", level=1)
    await hand.complain(2, "opinion", "fees", received_on=EVE)
    await hand.put("opinion_checks", feed="public", posts=7, taken=1)


async def second_cell(hand: Hand) -> None:
    await hand.close(
        200, "p", "31", loans=5, normal_fen=100, provision_general_fen=1, interest_receivable_fen=3
    )
    await hand.close(200, "q", "44", loans=1, normal_fen=50, special_mention_fen=50, provision_general_fen=2)
    rows = ((31, DAY, 8, 70), (41, DAY, 95, 30), (51, DAY, 0, 0), (31, EVE, 7, 70), (41, EVE, 94, 30))
    # A borrower who owes a hundred thousand yuan over two loans, and one who owes a fen more.
    await hand.snapshot(71, DAY, 0, 9_999_999)
    await hand.snapshot(72, DAY, 0, 1)
    await hand.snapshot(81, DAY, 0, 10_000_001)
    await hand.put("page_events", customer_id="C9", name="quote_seen", dwell_ms=600, keep_until=DAY)
    await hand.put("page_events", customer_id="C9", name="offers_seen", on_date=EVE, keep_until=DAY)
    for loan, day, dpd, balance_fen in (*rows, (51, EVE, 5, 9), (61, EVE, 3, 9)):
        await hand.snapshot(loan, day, dpd, balance_fen)
    approved = {"product": "p", "channel": "web", "decision": "approved", "limit_fen": 3_000}
    await hand.put("applications", application_id="A4", decided_on=DAY, **approved)
    passed = {"application_id": "A4", "outcome": "passed", "facts": "{}", "elapsed_us": 4_000}
    await hand.put("decision_steps", ordinal=1, step="fraud", **passed)
    loan = {"product": "q", "channel": "web", "region": "44", "drawn_on": DAY, "interest_fen": 0}
    await hand.put("loans", loan_id="L3", principal_fen=2_000, rate_annual="0.1", **loan)
    parts = {"penalty_fen": 0, "interest_fen": 0, "principal_fen": 30, "amount_fen": 30}
    await hand.put("repayments", repayment_id="R3", booked_on=DAY, kind="prepayment", **parts)
    late = {"channel": "bank", "kind": "debits", "on_date": DAY - dt.timedelta(days=9)}
    await hand.put("custody", order_id=routed("D", 7), standing="amount", **late)
    recent = late | {"on_date": DAY - dt.timedelta(days=7)}
    await hand.put("custody", order_id=routed("D", 8), standing="amount", **recent)
    debit = {"on_date": DAY, "channel": "bank", "amount_fen": 5}
    await hand.put("debit_orders", order_id=routed("D", 3), loan_id="L3", state="paid", **debit)
    await hand.put("debit_orders", order_id=routed("D", 4), loan_id="L4", state="needless", **debit)
    notice = {"notice_id": routed("N", 3), "medium": "sms", "state": "given_up", "loan_id": "L3"}
    await hand.put("notices", kind="due", on_date=DAY, **notice)
    await hand.contact(4, "person", "no_answer")
    await hand.contact(5, "sms", "delivered")
    await hand.contact(6, "person", "third_party", whom="contact_person")
    await hand.contact(7, "person", "answered", on_date=EVE)
    for loan_id, reason in (("L3", "income"), ("L4", "illness")):
        await hand.put("hardships", loan_id=loan_id, asked_on=DAY, rest_until=DAY, reason=reason)
    answered = {"first_answered_at": AT, "replied_at": AT}
    await hand.complain(3, "hotline", "fees", state="closed", **answered)
    await hand.complain(4, "web", "collection", state="replied", **answered)


# Parts of sums; parts and wholes of ratios, both cells together.
EXPECTED: dict[str, dict[tuple[str, ...], Any]] = {
    "loans_outstanding": {("p", "31"): 1_100, ("q", "44"): 100},
    "loans_open": {("p", "31"): 15, ("q", "44"): 1},
    "active_borrowers": {(): 5},
    "overdue_share": {("p", "31"): (100, 1_100), ("q", "44"): (50, 100)},
    "npl_share": {("p", "31"): (40, 1_100), ("q", "44"): (0, 100)},
    "overdue_by_bucket": {("001-003", "p"): 100, ("008-030", "p"): 70, ("091+", "p"): 30},
    "newly_overdue_share": {("p",): (1, 2)},
    "cured_share": {("p",): (2, 4)},
    "provision": {("p",): 51, ("q",): 2},
    "provision_coverage": {(): (53, 40)},
    "interest_receivable": {("p",): 10, ("q",): 0},
    "applications": {("p", "app"): 2, ("p", "web"): 1},
    "approval_share": {("p", "app"): (1, 2), ("p", "web"): (1, 1)},
    "mean_limit": {("p",): (4_000, 2)},
    "decision_time": {("fraud",): (6_000, 2_000)},
    "drawn": {("p", "app"): 1_000, ("q", "web"): 2_000, ("m", "x"): 3},
    "draws": {("p", "31"): 1, ("q", "44"): 1, ("m", "99"): 3},
    "mean_rate": {("p",): (180, 1_000), ("q",): (200, 2_000), ("m",): (0, 3)},
    "repaid": {("repayment",): 100, ("prepayment",): 30},
    "repayments": {("repayment",): 2, ("prepayment",): 1},
    "debits_paid_share": {(): (2, 3)},
    "custody_stale": {("bank", "debits"): 2},
    "notices_delivered_share": {("due", "sms"): (1, 2), ("campaign", "app"): (4, 5)},
    # 40 yuan an approval by the app, 60 yuan a draw by the web; a merchant's code brought nobody.
    "approval_cost": {("app",): (4_000, 1), ("web",): (6_000, 1), ("merchant_code",): (0, 0)},
    "page_funnel": {("quote_seen",): 3},
    "page_dwell": {("quote_seen",): (1_200, 3)},
    "campaign_drawn_share": {("winter",): (1, 3)},
    "inclusive_share": {("p",): (10_000_250, 20_000_251)},
    "contacts": {("voice_robot",): 1, ("person",): 3, ("sms",): 1},
    "contacts_refused_share": {("voice_robot",): (0, 1), ("person",): (1, 4), ("sms",): (0, 1)},
    "debtors_reached_share": {("voice_robot",): (1, 1), ("person",): (1, 2)},
    "promised": {(): 500},
    "hardships": {("income",): 2, ("illness",): 1},
    "complaints_taken": {("web", "fees"): 1, ("hotline", "fees"): 1, ("web", "collection"): 1},
    "complaints_late_share": {("web",): (1, 2), ("hotline",): (0, 1)},
    "opinion_posts": {("public",): 7},
    "complaints_open": {("0",): 2, ("1",): 1},
}


async def write_by_hand(cells: Any) -> None:
    for database, write in zip(cells.databases.values(), (first_cell, second_cell), strict=True):
        async with await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_admin")) as admin:
            await admin.execute("set session_replication_role = replica")  # rows without those they refer to
            await write(Hand(admin))


async def test_every_metric_is_what_the_rows_of_both_cells_say(core: Any, cells: Any) -> None:
    await write_by_hand(cells)
    metrics = read_metrics()
    assert set(EXPECTED) == set(metrics), "a metric without rows made by hand is not tested"
    found = {one.metric.id: one for one in await measure(core, list(metrics.values()), DAY)}
    for name, expected in EXPECTED.items():
        plain = found[name].cube
        if metrics[name].kind == "sum":
            assert {key: part for key, (part, _) in plain.items()} == expected, name
        else:
            assert plain == expected, name
    shown = show_measured(found["overdue_share"])
    assert (shown["total"], shown["rows"][1]["value"]) == ("0.1250", "0.5000")
    assert show_measured(found["promised"])["total"] == "500"
    day_after = await measure(core, [metrics["cured_share"]], DAY + dt.timedelta(days=1))
    assert day_after[0].cube == {}, "a day that is not closed has no evening"


async def test_a_rule_opens_one_task_at_a_time_and_another_when_it_is_closed(core: Any, cells: Any) -> None:
    await write_by_hand(cells)
    fired = await find_fired(core, DAY)
    named = [(one.alert.id, one.dimensions) for one in fired]
    assert named == [
        ("region_overdue", ("31",)),
        ("region_overdue", ("44",)),
        ("coverage_low", ()),
        ("custody_stale", ("bank", "debits")),
        ("complaints_late", ()),
    ]
    assert show_fired(fired[0])["value"] == "0.0909"
    opened = await asyncio.gather(*(open_tasks(core, fired) for _ in range(3)))
    assert sum(opened) == 5
    tasks = await list_tasks(core)
    assert [(task["alert"], task["dimensions"]) for task in tasks][:2] == [
        ("region_overdue", '{"region": "31"}'),
        ("region_overdue", '{"region": "44"}'),
    ]
    told = await cells.rows("select count(*) from core.outbox where topic = 'alert.raised'")
    assert sum(count for (count,) in told) == 5
    first = tasks[0]["task_id"]
    assert [await close_task(core, first, "li.wei", "one branch, visited") for _ in range(2)] == [True, False]
    assert await open_tasks(core, fired) == 1, "it still holds after it was looked into"
    assert len(await list_tasks(core)) == 5
    assert len(await list_tasks(core, closed_too=True)) == 6
