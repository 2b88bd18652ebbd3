"""Every shipped product, and products that are new by their documents alone, lent and repaid over HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest

from runbooks.product import publish_to_cell
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.lending import apply, confirm, register, repay
from tests.integration.core_app.partners import make_partner, publish
from tests.unit.core_app.product_documents import make_product

VECTORS = Path(__file__).parents[2] / "vectors"
SHOP = {"merchant_id": "M77", "kind": "furniture", "order_id": "O-1"}
SHIPPED = (
    "instalment-12",
    "revolving-anytime",
    "scene-renovation",
    "joint-instalment",
    "bill-small-ticket",
)


async def repay_all(client: Any, loan_id: str) -> Any:
    """Pay what is outstanding; returns the loan as it is shown then."""
    _, loan, _ = await client.get(f"/v1/loans/{loan_id}")
    status, paid, _ = await repay(client, loan_id, loan["outstanding_fen"])
    assert status == 201, paid
    return (await client.get(f"/v1/loans/{loan_id}"))[1]


@pytest.mark.parametrize("product_id", SHIPPED)
async def test_a_shipped_product_is_lent_from_its_least_amount_on(
    client: Any, core: Any, product_id: str
) -> None:
    await publish(core, make_partner("bank_east", {"total_fen": 10_000_000}))
    product = core.catalogue.find_on_sale(product_id, TODAY)
    least_fen, periods = product.amount.min_fen, product.tenor.periods[0]
    customer_id = await register(client)
    wish = {"customer_id": customer_id, "product": product_id, "periods": periods}
    less_fen = least_fen - product.amount.step_fen
    status, refused, _ = await client.post("/v1/applications", wish | {"amount_fen": less_fen})
    assert (status, refused["errors"][0]["path"]) == (422, "body.amount_fen")
    decided = await apply(client, customer_id, least_fen, periods, product=product_id)
    status, contract, _ = await client.post("/v1/contracts", confirm(decided))
    assert status == 201, contract
    body: dict[str, Any] = {"contract_id": contract["contract_id"]}
    body |= {"amount_fen": least_fen} if product.limits.revolving else {}
    body |= {"merchant": SHOP} if product_id == "scene-renovation" else {}
    status, loan, _ = await client.post("/v1/draws", body)
    assert (status, loan["balance_fen"]) == (201, least_fen), loan
    shown = await repay_all(client, loan["loan_id"])
    assert (shown["status"], shown["balance_fen"]) == ("settled", 0)


@pytest.mark.parametrize("method", ["equal_principal", "interest_only"])
async def test_a_product_that_is_new_by_its_document_alone_has_the_schedule_of_known_answer_three(
    client: Any, core: Any, method: str
) -> None:
    answer = json.loads((VECTORS / "other_schedules.json").read_text(encoding="utf-8"))
    expected = answer[method]
    named = {"identity.id": "small-town", "identity.purposes": ["travel"], "schedule.method": method}
    product = make_product(named | {"pricing.rate_annual": answer["rate_annual"]})
    wish = {"product": "small-town", "amount_fen": answer["principal_fen"], "periods": answer["periods"]}
    status, refused, _ = await client.send("POST", "/v1/quotes", json=wish)
    assert (status, refused["errors"][0]["path"]) == (422, "body.product")
    for cell in core.router.cells:
        assert (await publish_to_cell(core, cell, product))["outcome"] == "published"
    _, quoted, _ = await client.send("POST", "/v1/quotes", json=wish)
    customer_id = await register(client)
    decided = await apply(client, customer_id, wish["amount_fen"], wish["periods"], product="small-town")
    _, contract, _ = await client.post("/v1/contracts", confirm(decided))
    plan = contract["schedule"]
    assert plan == quoted["schedule"]
    assert sum(line["interest_fen"] for line in plan) == expected["interest_fen"]
    if method == "equal_principal":
        assert [line["total_fen"] for line in plan[:2]] == expected["first_totals_fen"]
        assert plan[-1]["total_fen"] == expected["last_total_fen"]
    else:
        assert [line["principal_fen"] for line in plan] == [0] * 11 + [expected["principal_at_end_fen"]]
    status, loan, _ = await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
    assert status == 201, loan
    assert (await repay_all(client, loan["loan_id"]))["status"] == "settled"
