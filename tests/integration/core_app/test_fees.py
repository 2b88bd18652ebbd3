"""Loans with fees over HTTP: shown before signing, paid in order, taken back, settled, billed, booked."""

import datetime as dt
from typing import Any

from core_app.commands import make_command
from core_app.funding.service import Void, void_draw
from core_app.loans.replay import replay
from core_app.products.model import Product
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.lending import draw, register, repay, sign
from tests.integration.core_app.portfolio import (
    Drawn,
    close_chunks_of,
    lend,
    make_contract,
    read_journals,
    set_day,
)
from tests.integration.core_app.test_loan_life import books, show
from tests.integration.core_app.test_rules_at_the_api import publish
from tests.unit.core_app.product_documents import make_product

ONE_OFF_AND_GUARANTEE = {
    "pricing.fees.upfront_share": "0.002",
    "pricing.fees.upfront_when": "first_instalment",
    "pricing.fees.upfront_payee": "the lender",
    "pricing.fees.upfront_income": "own",
    "pricing.fees.monthly_share": "0.001",
    "pricing.fees.monthly_payee": "a guarantor",
}


def with_fees(shipped: str = "instalment-12", **more: Any) -> Product:
    return make_product({"identity.version": 2, **ONE_OFF_AND_GUARANTEE, **more}, shipped)


async def test_fees_are_shown_paid_and_booked_for_whom_they_are(client: Any, core: Any, cells: Any) -> None:
    await publish(core, with_fees())
    contract = await sign(client)
    schedule = contract["schedule"]
    assert [line["fee_fen"] for line in schedule] == [2_400 + 1_200] + [1_200] * 11
    assert [line["total_fen"] for line in schedule] == [113_616] + [111_216] * 10 + [111_219]
    wish = {"product": "instalment-12", "amount_fen": 1_200_000, "periods": 12}
    _, quote, _ = await client.post("/v1/quotes", wish)
    assert quote["schedule"] == schedule, "a quote shows the fees that will be signed"
    assert float(quote["annual_cost_simple"]) > 0.18, "and what they add to the cost of a year"
    _, loan, _ = await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
    assert loan["outstanding_fen"] == sum(line["total_fen"] for line in schedule)
    assert await books(cells) == {"1002": -1_200_000, "1303": 1_200_000}
    set_day(cells, dt.date(2026, 2, 15))
    shown = await show(client, loan["loan_id"])
    assert shown["next_due_fen"] == 113_616
    _, first, _ = await repay(client, loan["loan_id"], 3_000)  # the one-off fee first, then the guarantor's
    assert (first["fee_fen"], first["interest_fen"], first["principal_fen"]) == (3_000, 0, 0)
    assert await books(cells) == {
        "1002": -1_200_000 + 3_000, "1303": 1_200_000, "6021": -2_400, "224101": -600,
    }  # fmt: skip
    _, rest, _ = await repay(client, loan["loan_id"], 110_616)
    assert (rest["fee_fen"], rest["interest_fen"], rest["principal_fen"]) == (600, 18_000, 92_016)
    assert await books(cells) == {
        "1002": -1_200_000 + 113_616, "1303": 1_200_000 - 92_016, "6011": -18_000,
        "6021": -2_400, "224101": -1_200,
    }  # fmt: skip


async def test_a_reversal_takes_fees_back_and_settling_ends_them(client: Any, core: Any, cells: Any) -> None:
    product = with_fees()
    await publish(core, product)
    loan_id = (await draw(client))["loan_id"]
    loan = Drawn(loan_id, "", product.id, 2, 1_200_000, 12, TODAY)
    paid = []
    for day, amount_fen in ((15, 113_616), (20, 50_000), (27, 2_000)):
        set_day(cells, dt.date(2026, 2 if len(paid) == 0 else 3, day))
        paid.append((await repay(client, loan_id, amount_fen))[1])
    await client.post("/v1/reversals", {"repayment_id": paid[0]["repayment_id"], "reason": "bounced_debit"})
    right = replay(make_contract(product, loan), (await read_journals(cells))[loan_id], dt.date(2026, 3, 27))
    shown = await show(client, loan_id)
    assert (shown["outstanding_fen"], shown["balance_fen"]) == (right.outstanding_fen, right.principal_fen)
    fees_fen = sum(split.fee_fen for split in right.splits.values())
    stands = await books(cells)
    assert -stands["6021"] - stands["224101"] == fees_fen == 3_600
    set_day(cells, dt.date(2026, 4, 4))  # twenty days of thirty-one into the third period
    _, payoff, _ = await client.get(f"/v1/loans/{loan_id}/payoff")
    assert payoff["fee_fen"] == 1_200 + 774
    wish = {"loan_id": loan_id, "mode": "full", "amount_fen": payoff["total_fen"]}
    status, settled, _ = await client.post("/v1/prepayments", wish)
    assert (status, settled["fee_fen"], settled["prepayment_fee_fen"]) == (201, 1_974, 0)
    shown = await show(client, loan_id)
    assert (shown["status"], shown["outstanding_fen"]) == ("settled", 0)
    stands = await books(cells)
    assert (stands.get("1303", 0), stands["6021"], stands["224101"]) == (0, -2_400, -1_200 - 1_974)
    rows = await cells.rows("select fee_fen, fee_paid_fen from core.loans")
    assert rows == [(5_574, 5_574)]


async def test_a_part_prepaid_leaves_fees_of_what_is_left(client: Any, core: Any, cells: Any) -> None:
    await publish(core, with_fees(**{"pricing.fees.monthly_base": "opening"}))
    loan_id = (await draw(client))["loan_id"]
    set_day(cells, dt.date(2026, 2, 15))
    await repay(client, loan_id, 113_616)
    wish = {"loan_id": loan_id, "mode": "keep_term", "amount_fen": 300_000}
    status, prepaid, _ = await client.post("/v1/prepayments", wish)
    assert (status, prepaid["fee_fen"]) == (201, 0)
    assert prepaid["schedule"][0]["fee_fen"] == 808  # 0.1 % of 8,079.84 yuan
    shown = await show(client, loan_id)
    assert shown["outstanding_fen"] == sum(line["total_fen"] for line in prepaid["schedule"])
    _, paid, _ = await repay(client, loan_id, shown["outstanding_fen"])
    assert paid["fee_fen"] == sum(line["fee_fen"] for line in prepaid["schedule"])
    assert (await show(client, loan_id))["status"] == "settled"
    assert (await books(cells)).get("1303", 0) == 0


async def test_a_bill_has_the_fees_of_its_tickets(client: Any, core: Any, cells: Any) -> None:
    product = with_fees("bill-small-ticket")
    await publish(core, product)
    customer_id = await register(client)
    loan = await lend(client, customer_id, product.id, 99_999, 3)
    ticket = Drawn(loan["loan_id"], customer_id, product.id, 2, 99_999, 3, TODAY)
    set_day(cells, dt.date(2026, 2, 3))
    await close_chunks_of(core, [ticket], dt.date(2026, 2, 3))
    first = make_contract(product, ticket).plan[0]
    assert first.fee_fen == 200 + 100
    _, bill, _ = await client.get(f"/v1/customers/{customer_id}/bills/{product.id}")
    assert (bill["amount_fen"], bill["open_fen"]) == (first.total_fen, first.total_fen)
    assert await cells.rows("select fee_fen from core.statement_lines") == [(300,)]
    # Of the one-off fee nineteen days of twenty-six are earned; the guarantor's is no income of ours.
    assert (await books(cells))["112201"] == 146
    wish = {"customer_id": customer_id, "product": product.id, "amount_fen": first.total_fen}
    status, paid, _ = await client.post("/v1/bill-repayments", wish)
    assert (status, paid["repayments"][0]["fee_fen"], paid["open_fen"]) == (201, 300, 0)


async def test_a_draw_that_is_taken_back_owes_no_fee(client: Any, core: Any, cells: Any) -> None:
    await publish(core, with_fees())
    loan_id = (await draw(client))["loan_id"]
    ((seen_at,),) = await cells.rows("select changed_at from core.payout_orders")
    command = make_command(core, "void-with-fees", "void", {"loan_id": loan_id})
    await void_draw(core, command, Void(loan_id, "refused", seen_at))
    assert (await show(client, loan_id))["outstanding_fen"] == 0
    assert await books(cells) == {}


async def test_a_product_that_keeps_fees_back_is_refused_at_the_quote(client: Any, core: Any) -> None:
    await publish(core, with_fees(**{"pricing.fees.upfront_when": "draw"}))
    wish = {"product": "instalment-12", "amount_fen": 1_200_000, "periods": 12}
    status, problem, _ = await client.send("POST", "/v1/quotes", json=wish)
    assert (status, [broken["rule"] for broken in problem["rules"]]) == (422, ["fee.kept_back"])
