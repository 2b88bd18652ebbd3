"""Coupons over HTTP: issued by two people, used once with a repayment, booked as our cost, given back."""

import asyncio
from typing import Any

import pytest

from tests.integration.core_app.lending import PRODUCT, confirm, register, repay
from tests.integration.core_app.lending import apply as apply_for
from tests.integration.core_app.test_fund_flows import ON_ITS_WAY, rules_of, trace_all
from tests.integration.core_app.test_strategies import counts_without_approvals
from tests.integration.core_app.versions import publish_change

KINDS = ["rate_coupon", "free_days", "fifty_off"]
ISSUE = {"kind": "fifty_off", "valid_to": "2026-03-31", "reason": "first loan", "staff": "li.wei"}
FIRST_FEN, DISCOUNT_FEN = 110_016, 5_000


@pytest.fixture(autouse=True)
async def taken(core: Any, cells: Any) -> None:
    await publish_change(core, servicing={"coupons": KINDS})


async def issue(client: Any, customer_id: str, **more: Any) -> str:
    status, body, _ = await client.post("/v1/coupons", ISSUE | {"customer_id": customer_id} | more)
    assert status == 201, body
    return str(body["coupon_id"])


async def lend(client: Any, customer_id: str) -> str:
    decided = await apply_for(client, customer_id)
    _, contract, _ = await client.post("/v1/contracts", confirm(decided))
    status, loan, _ = await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
    assert status == 201
    return str(loan["loan_id"])


async def use(client: Any, loan_id: str, coupon_id: str, key: str | None = None, **more: Any) -> Any:
    body = {"loan_id": loan_id, "amount_fen": FIRST_FEN, "coupon_id": coupon_id} | more
    return await client.post("/v1/repayments", body, key)


async def books(cells: Any) -> dict[str, int]:
    rows = await cells.rows(
        "select account, sum(amount_fen)::bigint from core.entries group by 1 having sum(amount_fen) <> 0"
    )
    return dict(rows)


async def coupons(client: Any, customer_id: str) -> list[Any]:
    _, body, _ = await client.get(f"/v1/customers/{customer_id}/coupons")
    return [(one["coupon_id"], one["used_by"]) for one in body["coupons"]]


async def test_a_coupon_is_used_once_booked_as_our_cost_and_given_back_with_its_repayment(
    client: Any, cells: Any
) -> None:
    customer_id = await register(client)
    coupon_id, loan_id = await issue(client, customer_id), await lend(client, customer_id)
    before = await books(cells)
    status, paid, _ = await use(client, loan_id, coupon_id, "coupon-use-0001")
    assert (status, paid["discount_fen"], paid["cash_fen"]) == (201, DISCOUNT_FEN, FIRST_FEN - DISCOUNT_FEN)
    # The loan is repaid by the whole amount; what we bear stands beside.
    assert (paid["interest_fen"], paid["balance_fen"]) == (18_000, 1_200_000 - 92_016)
    after = await books(cells)
    assert after["6601"] == DISCOUNT_FEN
    assert after["1002"] - before["1002"] == FIRST_FEN - DISCOUNT_FEN
    assert (after["6011"], sum(after.values())) == (-18_000, 0)
    assert await coupons(client, customer_id) == [(coupon_id, paid["repayment_id"])]
    assert rules_of(await trace_all(cells)) == {ON_ITS_WAY}
    # The same request again answers from its record; another one finds the coupon used.
    counts = await cells.counts()
    status, again, headers = await use(client, loan_id, coupon_id, "coupon-use-0001")
    assert (status, again, headers["Biyi-Replayed"]) == (201, paid, "true")
    status, problem, _ = await use(client, loan_id, coupon_id)
    assert (status, problem["errors"][0]["path"]) == (409, "body.coupon_id")
    assert await cells.counts() == counts
    back = {"repayment_id": paid["repayment_id"], "reason": "bounced_debit"}
    assert (await client.post("/v1/reversals", back))[0] == 201
    assert await books(cells) == before
    assert await coupons(client, customer_id) == [(coupon_id, None)]
    assert rules_of(await trace_all(cells)) == {ON_ITS_WAY}
    # And may be used again.
    status, third, _ = await use(client, loan_id, coupon_id)
    assert (status, third["discount_fen"]) == (201, DISCOUNT_FEN)
    told = await cells.rows("select what, discount_fen from core.coupon_events order by event_id")
    assert told == [("issued", None), ("used", 5_000), ("given_back", 5_000), ("used", 5_000)]


async def test_of_many_repayments_at_once_one_uses_the_coupon(client: Any, cells: Any) -> None:
    customer_id = await register(client)
    coupon_id = await issue(client, customer_id)
    loans = [await lend(client, customer_id) for _ in range(3)]
    found = await asyncio.gather(*(use(client, loan_id, coupon_id) for loan_id in loans * 3))
    assert sorted(status for status, *_ in found) == [201] + [409] * 8
    assert (await books(cells))["6601"] == DISCOUNT_FEN
    assert await cells.rows("select count(*) from core.repayments") in ([(1,)], [(0,), (1,)], [(1,), (0,)])


@pytest.mark.parametrize(
    ("kind", "fen"), [("rate_coupon", 2_000), ("free_days", 4_200), ("fifty_off", 5_000)]
)
async def test_each_kind_is_worth_at_the_repayment_what_was_quoted(client: Any, kind: str, fen: int) -> None:
    customer_id = await register(client)
    coupon_id = await issue(client, customer_id, kind=kind)
    wish = {"product": PRODUCT, "amount_fen": 1_200_000, "periods": 12, "customer_id": customer_id}
    _, plain, _ = await client.send("POST", "/v1/quotes", json=wish)
    status, quoted, _ = await client.send("POST", "/v1/quotes", json=wish | {"coupon_id": coupon_id})
    assert (status, quoted["coupon"]["discount_fen"]) == (200, fen)
    assert float(quoted["coupon"]["annual_cost_simple"]) < float(quoted["annual_cost_simple"])
    assert float(quoted["coupon"]["annual_cost_compound"]) < float(quoted["annual_cost_compound"])
    # What is disclosed and signed does not count it.
    assert {name: quoted[name] for name in plain if name != "coupon"} == plain
    status, paid, _ = await use(client, await lend(client, customer_id), coupon_id)
    assert (status, paid["discount_fen"]) == (201, fen)


async def test_a_coupon_that_may_not_be_used_is_refused_and_nothing_is_booked(
    client: Any, core: Any, cells: Any
) -> None:
    customer_id, other = await register(client), await register(client)
    loan_id = await lend(client, customer_id)
    others, later = await issue(client, other), await issue(client, customer_id, valid_from="2026-02-01")
    good = await issue(client, customer_id)
    before = await cells.counts()
    wish = {"product": PRODUCT, "amount_fen": 1_200_000, "periods": 12, "customer_id": customer_id}
    for coupon_id in (others, later, "V000-" + "0" * 32, "nonsense"):
        status, problem, _ = await use(client, loan_id, coupon_id)
        assert (status, problem["errors"][0]["path"]) == (422, "body.coupon_id")
        status, problem, _ = await client.send("POST", "/v1/quotes", json=wish | {"coupon_id": coupon_id})
        assert (status, problem["errors"][0]["path"]) == (422, "body.coupon_id")
    too_much = {"amount_fen": 9_000_000}
    assert (await use(client, loan_id, good, **too_much))[1]["errors"][0]["path"] == "body.amount_fen"
    assert await cells.counts() == before
    cells.set_business_date("2026-04-01")
    assert (await use(client, loan_id, good))[0] == 422
    assert (await repay(client, loan_id, FIRST_FEN))[0] == 201


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"kind": "gold"}, "body.kind"),
        ({"valid_to": "2026-01-14"}, "body.valid_to"),
        ({"valid_from": "2026-01-14"}, "body.valid_from"),
        ({"customer_id": "C" + "0" * 24}, "body.customer_id"),
        ({"staff": "wang.fang"}, "body.staff"),
    ],
)
async def test_a_coupon_that_cannot_be_issued_names_its_field(
    client: Any, cells: Any, wrong: dict[str, str], path: str
) -> None:
    customer_id = await register(client)
    before = await counts_without_approvals(cells)
    status, problem, _ = await client.post("/v1/coupons", ISSUE | {"customer_id": customer_id} | wrong)
    assert (status, problem["errors"][0]["path"]) == (422, path)
    assert await counts_without_approvals(cells) == before
