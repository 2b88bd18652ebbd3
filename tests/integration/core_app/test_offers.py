"""Offers for a wish, with reasons; limits that rise by their own model; products with form and flow."""

from dataclasses import replace
from typing import Any

from core_app.customers.fake_identity_vendor import FakeIdentityVendor
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.lending import apply, confirm, register, repay
from tests.integration.core_app.versions import publish_change

RAISED = "instalment-12"


async def ask(client: Any, customer_id: str, **wish: Any) -> Any:
    body = {"customer_id": customer_id, "amount_fen": 600_000, "periods": 12} | wish
    status, found, _ = await client.post("/v1/offers", body)
    assert status == 200, found
    return found


async def test_offers_are_ranked_by_cost_and_the_others_say_why_not(
    client: Any, core: Any, cells: Any
) -> None:
    customer_id = await register(client)
    before = await cells.counts()
    found = await ask(client, customer_id)
    costs = [float(offer["annual_cost_simple"]) for offer in found["offers"]]
    assert costs == sorted(costs)
    assert [offer["rank"] for offer in found["offers"]] == list(range(1, len(costs) + 1))
    assert found["offers"][0]["why"][0] == {
        "by": "annual_cost_simple",
        "value": found["offers"][0]["annual_cost_simple"],
        "place": 1,
        "of": len(set(costs)),
    }
    everything = {one["product"] for one in (*found["offers"], *found["not_offered"])}
    assert everything == set(core.catalogue.ids_on_sale(core.read_today()))
    assert await cells.counts() == before
    await publish_change(core, "joint-instalment", pricing={"rate_annual": "0.10"})
    cheaper = (await ask(client, customer_id))["offers"][0]
    assert (cheaper["product"], cheaper["product_version"]) == ("joint-instalment", 2)


async def test_an_offer_that_is_made_is_one_that_an_application_gets(client: Any) -> None:
    customer_id = await register(client)
    for offer in (await ask(client, customer_id))["offers"]:
        decided = await apply(client, customer_id, 600_000, 12, product=offer["product"])
        assert decided["decision"] == "approved", decided


async def test_each_reason_against_a_product_is_named(client: Any) -> None:
    customer_id = await register(client)

    async def reasons(product: str, **wish: Any) -> set[str]:
        found = await ask(client, customer_id, **wish)
        by_product = {one["product"]: one["reasons"] for one in found["not_offered"]}
        return {reason["rule"] for reason in by_product.get(product, [])}

    assert await reasons("instalment-12") == set()
    assert await reasons("instalment-12", amount_fen=5_000_001) == {"product.amount"}
    assert await reasons("instalment-12", periods=7) == {"product.periods"}
    assert await reasons("instalment-12", purpose="business_stock") == {"product.purposes"}
    assert await reasons("scene-renovation", channel="web") == {"product.entrances"}
    young = await ask(client, await register(client, "20100101"))
    assert young["offers"] == []
    assert all("age" in {r["rule"] for r in one["reasons"]} for one in young["not_offered"])


async def test_an_offer_says_which_evidence_is_missing(core: Any) -> None:
    vendor = FakeIdentityVendor("vendor_a", down=True)
    async with serve_api(replace(core, vendors=(vendor,)), None) as client:
        offer = (await ask(client, await register(client)))["offers"][0]
        assert offer["missing"] == ["police_match", "face_liveness"]


async def test_the_first_gate_lets_in_whom_staff_put_on_the_products_list(
    client: Any, core: Any, cells: Any
) -> None:
    steps = ["pre_screen", "identity", "fraud", "score"]
    eligibility = {"cool_off_days": 30}
    await publish_change(core, risk={"steps": steps}, eligibility=eligibility)
    customer_id, other = await register(client), await register(client)
    put = {
        "customer_id": customer_id,
        "product": RAISED,
        "listed": True,
        "staff": "li.wei",
        "reason": "invited",
    }

    async def look(who: str) -> tuple[bool, str, list[str]]:
        offered = {one["product"] for one in (await ask(client, who))["offers"]}
        decided = await apply(client, who, 100_000)
        return RAISED in offered, decided["decision"], [reason["rule"] for reason in decided["reasons"]]

    refused = (False, "refused", ["pre_screen"])
    assert [await look(customer_id), await look(other)] == [refused, refused]
    before = await cells.counts()
    for wrong, path in (
        ({"staff": "wang.fang"}, "body.staff"),
        ({"product": "no-such-product"}, "body.product"),
        ({"valid_to": "2026-01-14"}, "body.valid_to"),
        ({"listed": False, "valid_to": "2026-01-20"}, "body.valid_to"),
    ):
        status, problem, _ = await client.post("/v1/pre-screens", put | wrong)
        assert (status, problem["errors"][0]["path"]) == (422, path)
    assert await cells.counts() == before
    status, kept, _ = await client.post("/v1/pre-screens", put | {"valid_to": "2026-01-20"})
    assert (status, kept["listed"], kept["valid_from"], kept["valid_to"]) == (
        201, True, "2026-01-15", "2026-01-20",
    )  # fmt: skip
    # Who was not let in was not judged: no cool-off follows from it.
    assert [await look(customer_id), await look(other)] == [(True, "approved", []), refused]
    cells.set_business_date("2026-01-20")
    assert (await look(customer_id))[1] == "approved"
    cells.set_business_date("2026-01-21")
    assert await look(customer_id) == refused
    assert (await client.post("/v1/pre-screens", put))[0] == 201
    assert (await look(customer_id))[1] == "approved"
    assert (await client.post("/v1/pre-screens", put | {"listed": False}))[0] == 201
    assert await look(customer_id) == refused


async def borrow(client: Any, customer_id: str, amount_fen: int) -> Any:
    decided = await apply(client, customer_id, amount_fen, 12, product=RAISED)
    _, contract, _ = await client.post("/v1/contracts", confirm(decided))
    return (decided, contract)


async def test_a_limit_rises_by_its_own_model_and_can_be_used(client: Any, core: Any, cells: Any) -> None:
    customer_id = await register(client)
    body = {"customer_id": customer_id, "product": RAISED}
    _, early, _ = await client.post("/v1/limit-increases", body)
    assert (early["granted_fen"], [r["rule"] for r in early["reasons"]]) == (0, ["increase.days_known"])
    decided = await apply(client, customer_id, 600_000, 3)
    _, contract, _ = await client.post("/v1/contracts", confirm(decided))
    _, loan, _ = await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
    cells.set_business_date("2026-05-10")
    _, late, _ = await client.post("/v1/limit-increases", body)
    assert "increase.arrears" in [r["rule"] for r in late["reasons"]]
    owed = (await client.get(f"/v1/loans/{loan['loan_id']}"))[1]["outstanding_fen"]
    assert (await repay(client, loan["loan_id"], owed))[0] == 201
    cells.set_business_date("2026-05-11")
    status, raised, _ = await client.post("/v1/limit-increases", body)
    assert (status, raised["granted_fen"], raised["valid_to"]) == (201, 250_000, "2026-08-08")
    assert raised["facts"]["model"] == "limit-increase"
    _, again, _ = await client.post("/v1/limit-increases", body)
    assert [r["rule"] for r in again["reasons"]] == ["increase.pause"]
    tree = (await client.get(f"/v1/customers/{customer_id}/limits"))[1]["nodes"]
    (node,) = (one for one in tree if one["node"] == f"product:{RAISED}")
    document_fen = node["document_fen"]
    assert node["limit_fen"] == document_fen + 250_000
    largest = core.catalogue.find_on_sale(RAISED, core.read_today()).amount.max_fen
    left = document_fen + 250_000
    while left:
        part = min(largest, left)
        decided, contract = await borrow(client, customer_id, part)
        assert "contract_id" in contract, decided["reasons"]
        left -= part
    decided, contract = await borrow(client, customer_id, 10_000)
    assert decided["decision"] == "refused"
    kept = await cells.rows("select granted_fen, reasons <> '[]' from core.limit_reviews order by review_id")
    assert kept == [(0, True), (0, True), (250_000, False), (0, True)]


async def test_products_show_form_and_flow_and_the_form_is_held_to(client: Any, cells: Any) -> None:
    _, shown, _ = await client.get("/v1/products")
    forms = {one["product"]: one["form"]["id"] for one in shown["products"]}
    assert forms["scene-renovation"] == "scene_order"
    steps = {one["product"]: [s["step"] for s in one["flow"]["steps"]] for one in shown["products"]}
    assert steps["scene-renovation"][-1] == "pay_merchant"
    wish = {
        "customer_id": await register(client),
        "product": "scene-renovation",
        "amount_fen": 3_000_000,
        "periods": 12,
    }
    before = await cells.counts()
    status, refused, _ = await client.post("/v1/applications", wish)
    assert (status, refused["errors"][0]["path"]) == (422, "body.purpose")
    assert await cells.counts() == before
    status, decided, _ = await client.post("/v1/applications", wish | {"purpose": "renovation"})
    assert (status, decided["decision"]) == (201, "approved")
