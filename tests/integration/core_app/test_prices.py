"""Prices by segment over HTTP: a customer is put into a segment, quoted, lent to, and billed at that rate."""

from typing import Any

import pytest

from tests.integration.core_app.lending import PRODUCT, apply, confirm, register, repay
from tests.integration.core_app.test_strategies import counts_without_approvals
from tests.integration.core_app.versions import publish_change

GRID = [
    {"segment": "returning", "periods": 12, "rate_annual": "0.12"},
    {"segment": "saver", "periods": 6, "rate_annual": "0.15"},
]
WISH = {"product": PRODUCT, "amount_fen": 1_200_000, "periods": 12}
PLACE = {"segment": "returning", "reason": "settled two loans", "staff": "li.wei"}


async def place(client: Any, customer_id: str, **more: Any) -> Any:
    status, body, _ = await client.post("/v1/segments", PLACE | {"customer_id": customer_id} | more)
    assert status == 201, body
    return body


async def quote(client: Any, **more: Any) -> Any:
    status, body, _ = await client.send("POST", "/v1/quotes", json=WISH | more)
    assert status == 200, body
    return body


async def test_a_segments_price_is_quoted_explained_signed_drawn_and_paid(
    client: Any, core: Any, cells: Any
) -> None:
    await publish_change(core, pricing={"grid": GRID})
    customer_id, other = await register(client), await register(client)
    kept = await place(client, customer_id)
    assert (kept["segment"], kept["first_day"], kept["last_day"]) == ("returning", "2026-01-15", None)
    before = await cells.counts()
    mine = await quote(client, customer_id=customer_id)
    assert mine["price"] | {"why": None} == {
        "rate_annual": "0.12",
        "segment": "returning",
        "grid": "instalment-12 v2",
        "path": "pricing.grid.0.rate_annual",
        "why": None,
    }
    assert "segment" in mine["price"]["why"]["en"]
    assert (mine["annual_cost_simple"], mine["annual_cost_compound"]) == ("0.1200", "0.1268")
    assert mine["cost_table"]["items"][0]["annual"] == "12.00%"
    everybodys = await quote(client)
    assert (everybodys["price"]["rate_annual"], everybodys["price"]["segment"]) == ("0.18", None)
    assert (await quote(client, customer_id=other))["price"] == everybodys["price"]
    assert (await quote(client, customer_id=customer_id, periods=6))["price"]["segment"] is None
    assert await cells.counts() == before
    shown = (await client.get("/v1/products"))[1]["products"]
    assert [one["prices"] for one in shown if one["product"] == PRODUCT] == [GRID]
    decided = await apply(client, customer_id)
    assert decided["price"] == mine["price"]
    assert decided["cost_table_sm3"] == mine["cost_table_sm3"]
    # What was applied for keeps its price, whatever becomes of the segment.
    await place(client, customer_id, segment=None)
    status, contract, _ = await client.post("/v1/contracts", confirm(decided))
    assert (status, contract["rate_annual"]) == (201, "0.12")
    assert contract["schedule"] == mine["schedule"]
    _, loan, _ = await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
    assert loan["outstanding_fen"] == sum(line["total_fen"] for line in mine["schedule"])
    status, paid, _ = await repay(client, loan["loan_id"], mine["schedule"][0]["total_fen"])
    assert (status, paid["interest_fen"]) == (201, 12_000)
    _, how, _ = await client.get(f"/v1/applications/{decided['application_id']}")
    assert how["segment"] == "returning"
    assert (await quote(client, customer_id=customer_id))["price"] == everybodys["price"]


async def test_a_segment_holds_on_its_days_only_and_the_later_row_counts(
    client: Any, core: Any, cells: Any
) -> None:
    await publish_change(core, pricing={"grid": GRID})
    customer_id = await register(client)
    await place(client, customer_id, first_day="2026-01-16", last_day="2026-01-18")

    async def rates(*days: str) -> list[str]:
        found = []
        for day in days:
            cells.set_business_date(day)
            found.append((await quote(client, customer_id=customer_id))["price"]["rate_annual"])
        return found

    days = ("2026-01-15", "2026-01-16", "2026-01-18", "2026-01-19")
    assert await rates(*days) == ["0.18", "0.12", "0.12", "0.18"]
    cells.set_business_date("2026-01-15")
    await place(client, customer_id, segment=None, first_day="2026-01-17", last_day="2026-01-17")
    assert await rates("2026-01-16", "2026-01-17", "2026-01-18") == ["0.12", "0.18", "0.12"]


async def test_a_product_for_a_segment_is_offered_to_its_customers_only(client: Any, core: Any) -> None:
    eligibility = {"segments": ["saver"], "cool_off_days": 30}
    await publish_change(core, eligibility=eligibility, pricing={"grid": GRID[1:]})
    saver, other = await register(client), await register(client)
    await place(client, saver, segment="saver")

    async def offered(customer_id: str, periods: int) -> dict[str, Any]:
        body = {"customer_id": customer_id, "amount_fen": 600_000, "periods": periods}
        found = (await client.post("/v1/offers", body))[1]
        return {one["product"]: one for one in (*found["offers"], *found["not_offered"])}[PRODUCT]

    assert (await offered(saver, 6))["annual_cost_simple"] == "0.1500"
    assert [one["rule"] for one in (await offered(other, 6))["reasons"]] == ["segment"]
    for whose, path in ({"customer_id": other}, "body.product"), ({}, "body.customer_id"):
        status, problem, _ = await client.send("POST", "/v1/quotes", json=WISH | {"periods": 6} | whose)
        assert (status, problem["errors"][0]["path"]) == (422, path)
    refused = await apply(client, other, 600_000, 6)
    assert [one["rule"] for one in refused["reasons"]] == ["segment"]
    assert (await apply(client, saver, 600_000, 6))["decision"] == "approved"
    # Whom it is not for was not judged: no cool-off follows from it.
    await place(client, other, segment="saver")
    assert (await apply(client, other, 600_000, 6))["decision"] == "approved"


async def test_an_income_is_asked_for_by_the_products_that_name_one_and_not_kept(
    client: Any, core: Any, cells: Any
) -> None:
    await publish_change(core, eligibility={"income_min_fen": 500_000, "cool_off_days": 0})
    customer_id = await register(client)
    found = []
    for more in ({}, {"monthly_income_fen": 499_987}, {"monthly_income_fen": 500_013}):
        decided = await apply(client, customer_id, 600_000, **more)
        found.append([(one["rule"], one["value"]) for one in decided["reasons"]])
    assert found == [[("income", "not said")], [("income", "lower")], []]
    kept = await cells.rows(
        "select count(*) from core.decision_steps s join core.applications a using (application_id)"
        " where (s::text || a::text) ~ '499987|500013'"
    )
    assert kept == [(0,), (0,)]


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"segment": "vip"}, "body.segment"),
        ({"first_day": "2026-01-14"}, "body.first_day"),
        ({"last_day": "2026-01-14"}, "body.last_day"),
        ({"customer_id": "C" + "0" * 24}, "body.customer_id"),
        ({"staff": "wang.fang"}, "body.staff"),
    ],
)
async def test_a_place_that_cannot_be_names_its_field_and_leaves_no_row(
    client: Any, cells: Any, wrong: dict[str, str], path: str
) -> None:
    customer_id = await register(client)
    before = await counts_without_approvals(cells)
    status, problem, _ = await client.post("/v1/segments", PLACE | {"customer_id": customer_id} | wrong)
    assert (status, problem["errors"][0]["path"]) == (422, path)
    assert await counts_without_approvals(cells) == before
