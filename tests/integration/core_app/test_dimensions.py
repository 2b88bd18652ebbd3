"""Every line of the ledger has product, channel, region and funder, and balances by each of them."""

import datetime as dt
import itertools
from typing import Any

from core_app.day_end.service import Step, do_chunk
from core_app.ledger.balances import read_balances
from core_app.ledger.dimensions import Dimension
from tests.integration.core_app.lending import PRODUCT, apply, confirm, register, repay
from tests.integration.core_app.partners import JOINT, make_partner, publish

SUBSETS = [by for n in range(5) for by in itertools.combinations(Dimension, n)]


async def lend(client: Any, product: str, **where: str) -> dict[str, Any]:
    decided = await apply(client, await register(client), 1_200_000, 12, product=product, **where)
    _, contract, _ = await client.post("/v1/contracts", confirm(decided))
    _, loan, _ = await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
    return dict(loan)


async def test_lines_of_loans_and_of_day_end_have_every_dimension_and_balance_by_each(
    client: Any, core: Any, cells: Any
) -> None:
    await publish(core, make_partner("bank_east", {"total_fen": 100_000_000}))
    loans = [
        await lend(client, PRODUCT, channel="app", region="44"),
        await lend(client, PRODUCT, channel="web"),
        await lend(client, JOINT, channel="app", region="44"),
        await lend(client, JOINT),
    ]
    cells.set_business_date("2026-02-20")
    for loan in loans[:3]:
        assert (await repay(client, loan["loan_id"], 50_000))[0] == 201
    assert (await client.post("/v1/prepayments", await full(client, loans[0])))[0] == 201
    for step in Step:
        for cell, chunk in places(core, loans):
            await do_chunk(core, cell, (dt.date(2026, 2, 20), step, chunk))
    seen = set()
    for cell in core.router.cells:
        for by in SUBSETS:
            totals: dict[tuple[str, ...], int] = {}
            for one in await read_balances(core, cell, by):
                totals[one.values] = totals.get(one.values, 0) + one.balance_fen
            assert set(totals.values()) <= {0}, by
        seen |= {one.values for one in await read_balances(core, cell, SUBSETS[-1])}
    province = "11"  # of the ID numbers that tests make up
    assert seen == {
        (PRODUCT, "app", "own", "44"),
        (PRODUCT, "web", "own", province),
        *((JOINT, "app", funder, "44") for funder in ("own", "bank_east")),
        *((JOINT, "unknown", funder, province) for funder in ("own", "bank_east")),
    }
    lines = await cells.rows("select product, channel, region from core.ledger_lines where loan_id = ''")
    assert {(PRODUCT, "web", province), (JOINT, "app", "44")} <= set(lines)


def places(core: Any, loans: list[dict[str, Any]]) -> set[tuple[str, int]]:
    owners = [loan["customer_id"] for loan in loans]
    return {(core.cell_of_customer(owner), core.chunk_of_customer(owner)) for owner in owners}


async def full(client: Any, loan: dict[str, Any]) -> dict[str, Any]:
    _, payoff, _ = await client.get(f"/v1/loans/{loan['loan_id']}/payoff")
    return {"loan_id": loan["loan_id"], "mode": "full", "amount_fen": payoff["total_fen"]}


async def test_an_entrance_that_the_product_is_not_sold_at_is_named(client: Any) -> None:
    wish = {"customer_id": await register(client), "product": PRODUCT, "amount_fen": 100_000, "periods": 12}
    status, refused, _ = await client.post("/v1/applications", wish | {"channel": "branch"})
    assert (status, refused["errors"]) == (
        422,
        [{"path": "body.channel", "found": "branch", "needed": "one of: app, web"}],
    )
