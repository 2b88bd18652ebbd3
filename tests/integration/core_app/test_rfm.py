"""Tiers by recency, frequency and amount, on rows made by hand: bounds of fifths, ties, days, changes."""

import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from core_app.day_end.service import DayEnd
from core_app.errors import DocumentInvalid
from core_app.insight.rfm import RfmRule, grade_customers, read_rule
from tests.integration.core_app.lending import draw
from tests.integration.core_app.test_metrics import Hand

DAY = dt.date(2026, 6, 30)
RULE = RfmRule.model_validate(
    {
        "version": 7,
        "window_days": 100,
        "tiers": [
            {"id": "top", "least": 15, "name": {"zh": "甲", "en": "top"}},
            {"id": "low", "least": 3, "name": {"zh": "丙", "en": "low"}},
        ],
    }
)


@pytest.fixture
async def hand(cells: Any) -> AsyncIterator[Hand]:
    """A cell in which rows may stand without what they refer to."""
    database = next(iter(cells.databases.values()))
    async with await psycopg.AsyncConnection.connect(
        cells.server.dsn(database, "biyi_admin"), autocommit=True
    ) as connection:
        await connection.execute("set session_replication_role = replica")
        yield Hand(connection)


async def lend(hand: Hand, customer: str, *draws: tuple[int, int]) -> None:
    """Write draws, each so many days before DAY and of so many fen."""
    for number, (days_ago, fen) in enumerate(draws):
        await hand.put(
            "loans", loan_id=f"L{customer}-{days_ago}-{number}", customer_id=customer, principal_fen=fen,
            drawn_on=DAY - dt.timedelta(days=days_ago), rate_annual="0.18", interest_fen=0,
        )  # fmt: skip


async def grade(core: Any, day: dt.date = DAY) -> int:
    return await grade_customers(core, core.router.cells[0], day, RULE)


async def tiers(hand: Hand, day: dt.date = DAY) -> dict[str, tuple[Any, ...]]:
    rows = await hand.connection.execute(
        "select customer_id, recency_fifth, frequency_fifth, amount_fifth, tier from core.rfm_tiers"
        " where on_date = %s",
        [day],
    )
    return {customer: tuple(found) for customer, *found in await rows.fetchall()}


async def test_five_customers_have_a_fifth_each_and_ten_have_two_in_each(hand: Hand, core: Any) -> None:
    for place in range(1, 6):
        # Customer 5 drew last, most often, most.
        await lend(hand, f"C{place}", *[(60 - 10 * place, 100 * place)] * place)
    assert await grade(core) == 5
    found = await tiers(hand)
    assert [found[f"C{place}"][:3] for place in range(1, 6)] == [(n, n, n) for n in range(1, 6)]
    assert [found[f"C{place}"][3] for place in range(1, 6)] == ["low"] * 4 + ["top"]
    for place in range(6, 11):
        await lend(hand, f"C{place}", *[(5 - (place - 5), 10_000 * place)] * place)
    day = DAY + dt.timedelta(days=1)
    await grade(core, day)
    rows = await hand.connection.execute(
        "select distinct on (customer_id) amount_fifth from core.rfm_tiers order by customer_id, on_date desc"
    )
    assert sorted(fifth for (fifth,) in await rows.fetchall()) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


async def test_equal_customers_share_the_higher_fifth_and_one_alone_is_the_best(
    hand: Hand, core: Any
) -> None:
    await lend(hand, "C1", (10, 500))
    await grade(core)
    assert await tiers(hand) == {"C1": (5, 5, 5, "top")}
    for place in (2, 3, 4):
        await lend(hand, f"C{place}", (10, 500))
    await lend(hand, "C5", (10, 501))
    day = DAY + dt.timedelta(days=1)
    await grade(core, day)
    found = await tiers(hand, day)
    # Four of five are not above C1: the fourth fifth. In recency and frequency all are equal.
    assert {found[f"C{place}"][:3] for place in (1, 2, 3, 4)} == {(5, 5, 4)}
    # C5 is the best in all three.
    assert found["C5"] == (5, 5, 5, "top")


async def test_the_window_ends_to_the_day_and_what_was_voided_or_comes_later_does_not_count(
    hand: Hand, core: Any
) -> None:
    await lend(hand, "C1", (99, 700), (100, 7_000))  # the last day within a window of 100, the first beyond
    await lend(hand, "C2", (-1, 900))  # tomorrow
    await lend(hand, "C3", (5, 900))
    await hand.put("draw_voids", loan_id="LC3-5-0")
    assert await grade(core) == 1
    rows = await hand.connection.execute(
        "select customer_id, recency_days, frequency, amount_fen from core.rfm_tiers"
    )
    assert await rows.fetchall() == [("C1", 99, 1, 700)]


async def test_a_row_is_kept_of_the_evenings_of_a_change_only_and_once(hand: Hand, core: Any) -> None:
    await lend(hand, "C1", (10, 500))
    await lend(hand, "C2", (20, 400))
    assert [await grade(core), await grade(core)] == [2, 2], "the second is answered from its record"
    next_day = DAY + dt.timedelta(days=1)
    assert await grade(core, next_day) == 0
    await lend(hand, "C2", (-2, 400))
    assert await grade(core, next_day + dt.timedelta(days=1)) == 2
    await hand.put("draw_voids", loan_id="LC1-10-0")
    last = next_day + dt.timedelta(days=2)
    assert await grade(core, last) == 1
    assert await tiers(hand, last) == {"C1": (None, None, None, "none")}


async def test_day_end_keeps_tiers_and_the_api_shows_them_by_evening(
    client: Any, core: Any, cells: Any
) -> None:
    loan = await draw(client)
    customer_id = loan["customer_id"]
    path = f"/v1/customers/{customer_id}/rfm"
    _, before, _ = await client.get(path)
    assert (before["tier"], before["since"], before["fifths"]["recency"]) == ("none", None, None)
    cell = core.cell_of_customer(customer_id)
    cells.set_business_date("2026-01-15")
    await DayEnd(core, cell, lambda *_: None).run()
    status, found, _ = await client.get(path)
    assert (status, found["tier"], found["since"], found["on"]) == (200, "core", "2026-01-15", "2026-01-16")
    assert (found["recency_days"], found["frequency"], found["amount_fen"]) == (1, 1, 1_200_000)
    assert found["fifths"] == {"recency": 5, "frequency": 5, "amount": 5}
    assert (await client.get(f"{path}?day=2026-01-14"))[1]["tier"] == "none"
    assert (await client.get(f"{path}?day=2026-01-15"))[1]["tier"] == "core"
    assert (await client.get("/v1/customers/C" + "0" * 24 + "/rfm"))[0] == 404


def test_tiers_leave_nobody_out() -> None:
    assert [tier.id for tier in read_rule().tiers] == ["core", "active", "ordinary", "dormant"]
    tier = RULE.tiers[0].model_dump()
    for leasts in ((15,), (3, 15), (15, 15, 3)):
        with pytest.raises((DocumentInvalid, ValueError), match="least"):
            RfmRule.model_validate(
                {"version": 1, "window_days": 1, "tiers": [tier | {"least": one} for one in leasts]}
            )
