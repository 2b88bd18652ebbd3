"""Penalties, prepayment, lines, bills, reversals and write-offs over HTTP: the known answers, booked."""

import datetime as dt
import random
from typing import Any

import pytest

from core_app.ids import Letter, slot_of_id
from core_app.loans.replay import replay
from tests.integration.core_app.conftest import TODAY
from tests.integration.core_app.lending import apply, confirm, draw, register, repay
from tests.integration.core_app.portfolio import (
    Drawn,
    close_chunks_of,
    lend,
    make_contract,
    read_journals,
    set_day,
)

SUMS = "select account, sum(amount_fen)::bigint from core.entries group by account"


async def show(client: Any, loan_id: str) -> Any:
    return (await client.get(f"/v1/loans/{loan_id}"))[1]


async def books(cells: Any) -> dict[str, int]:
    """Return the balance of each account, over both cells; each must sum to zero by itself."""
    totals: dict[str, int] = {}
    for account, fen in await cells.rows(SUMS):
        totals[account] = totals.get(account, 0) + int(fen)
    assert sum(totals.values()) == 0
    return {account: fen for account, fen in totals.items() if fen}


async def test_penalties_are_due_and_paid_first_as_known_answer_nine_has_them(
    client: Any, cells: Any
) -> None:
    loan = await draw(client)
    set_day(cells, dt.date(2026, 3, 25))
    shown = await show(client, loan["loan_id"])
    assert (shown["penalty_fen"], shown["days_past_due"]) == (2_622 + 700, 38)
    _, paid, _ = await repay(client, loan["loan_id"], 80_000)
    parts = (paid["penalty_fen"], paid["interest_fen"], paid["principal_fen"])
    assert parts == (2_622, 18_000, 59_378)
    # The second fallen instalment still bears its own; what is left of the first goes on from here.
    set_day(cells, dt.date(2026, 3, 26))
    shown = await show(client, loan["loan_id"])
    # 38 days of 920.16 and one of 326.38 make 26.47, of which 26.22 are paid; eleven of 933.96 make 7.71.
    assert shown["penalty_fen"] == 25 + 771
    assert await books(cells) == {
        "1002": -1_200_000 + 80_000,
        "1303": 1_200_000 - 59_378,
        "6011": -18_000,
        "6012": -2_622,
    }


async def test_a_loan_far_past_due_is_paid_to_the_last_fen(client: Any, cells: Any) -> None:
    loan = await draw(client, 1_200_000, 12)
    set_day(cells, dt.date(2026, 11, 20))  # ten instalments fallen: more lines than are read at once
    shown = await show(client, loan["loan_id"])
    status, refused, _ = await repay(client, loan["loan_id"], shown["outstanding_fen"] + 1)
    assert (status, refused["errors"][0]["path"]) == (422, "body.amount_fen")
    _, paid, _ = await repay(client, loan["loan_id"], shown["outstanding_fen"])
    assert paid["penalty_fen"] == shown["penalty_fen"] > 0
    shown = await show(client, loan["loan_id"])
    assert (shown["status"], shown["outstanding_fen"], shown["days_past_due"]) == ("settled", 0, 0)


async def test_prepaying_in_full_costs_what_known_answer_ten_says(client: Any, cells: Any) -> None:
    loan = await draw(client)
    for day in ("2026-02-15", "2026-03-15", "2026-04-15"):
        set_day(cells, dt.date.fromisoformat(day))
        await repay(client, loan["loan_id"], 110_016)
    set_day(cells, dt.date(2026, 4, 25))
    _, payoff, _ = await client.get(f"/v1/loans/{loan['loan_id']}/payoff")
    assert (payoff["principal_fen"], payoff["interest_fen"], payoff["total_fen"]) == (919_791, 4_599, 924_390)
    body = {"loan_id": loan["loan_id"], "mode": "full", "amount_fen": 924_389}
    status, refused, _ = await client.post("/v1/prepayments", body)
    assert (status, refused["errors"][0]["path"]) == (422, "body.amount_fen")
    status, paid, _ = await client.post("/v1/prepayments", body | {"amount_fen": 924_390})
    assert (status, paid["balance_fen"], paid["schedule"]) == (201, 0, [])
    shown = await show(client, loan["loan_id"])
    assert (shown["status"], shown["outstanding_fen"]) == ("settled", 0)
    assert (await client.get(f"/v1/loans/{loan['loan_id']}/payoff"))[0] == 409
    assert (await books(cells))["6011"] == -(18_000 + 16_620 + 15_219 + 4_599)


@pytest.mark.parametrize(
    ("mode", "left", "total_fen", "last_fen", "interest_fen"),
    [("keep_term", 9, 74_133, None, 47_406), ("keep_instalment", 6, 110_016, 102_372, 32_661)],
)
async def test_prepaying_a_part_keeps_the_term_or_the_instalment(
    client: Any, cells: Any, mode: str, left: int, total_fen: int, last_fen: int | None, interest_fen: int
) -> None:
    loan = await draw(client)
    for day in ("2026-02-15", "2026-03-15", "2026-04-15"):
        set_day(cells, dt.date.fromisoformat(day))
        await repay(client, loan["loan_id"], 110_016)
    body = {"loan_id": loan["loan_id"], "mode": mode, "amount_fen": 300_000}
    _, paid, _ = await client.post("/v1/prepayments", body)
    assert (paid["balance_fen"], len(paid["schedule"])) == (619_791, left)
    assert paid["schedule"][0]["total_fen"] == total_fen
    assert sum(line["interest_fen"] for line in paid["schedule"]) == interest_fen
    assert last_fen is None or paid["schedule"][-1]["total_fen"] == last_fen
    shown = await show(client, loan["loan_id"])
    assert (shown["next_due"], shown["next_due_fen"]) == ("2026-05-15", total_fen)
    status, settled, _ = await repay(client, loan["loan_id"], shown["outstanding_fen"])
    assert (status, settled["balance_fen"]) == (201, 0)
    assert "1303" not in await books(cells)


async def test_a_part_is_not_prepaid_while_something_is_due(client: Any, cells: Any) -> None:
    loan = await draw(client)
    set_day(cells, dt.date(2026, 2, 20))
    body = {"loan_id": loan["loan_id"], "mode": "keep_term", "amount_fen": 300_000}
    status, refused, _ = await client.post("/v1/prepayments", body)
    assert (status, refused["errors"][0]["found"]) == (409, "a loan with payments due")


async def test_a_line_is_drawn_and_repaid_anytime_as_known_answer_eight_has_it(
    client: Any, cells: Any
) -> None:
    set_day(cells, dt.date(2026, 1, 1))
    wish = {"customer_id": await register(client), "product": "revolving-anytime", "periods": 12}
    _, decided, _ = await client.post("/v1/applications", wish | {"amount_fen": 600_000})
    _, contract, _ = await client.post("/v1/contracts", confirm(decided))
    line = {"contract_id": contract["contract_id"]}
    assert (await client.post("/v1/draws", line))[0] == 422
    _, first, _ = await client.post("/v1/draws", line | {"amount_fen": 500_000})
    status, refused, _ = await client.post("/v1/draws", line | {"amount_fen": 100_001})
    assert (status, refused["errors"][0]["needed"]) == (409, "at most 100000, left of the line")
    set_day(cells, dt.date(2026, 1, 11))
    _, paid, _ = await repay(client, first["loan_id"], 2_500 + 200_000)
    assert (paid["interest_fen"], paid["balance_fen"]) == (2_500, 300_000)
    set_day(cells, dt.date(2026, 1, 21))
    status, second, _ = await client.post("/v1/draws", line | {"amount_fen": 100_000})
    assert status == 201
    set_day(cells, dt.date(2026, 2, 1))
    interest_fen = paid["interest_fen"]
    for loan in (first, second):
        shown = await show(client, loan["loan_id"])
        _, settled, _ = await repay(client, loan["loan_id"], shown["outstanding_fen"])
        interest_fen += settled["interest_fen"]
        assert (await show(client, loan["loan_id"]))["status"] == "settled"
    assert interest_fen == 6_200


async def test_a_line_counts_once_for_the_legal_line(client: Any, cells: Any) -> None:
    customer_id = await register(client)
    decided = await apply(client, customer_id, 10_000_000, product="revolving-anytime")
    _, contract, _ = await client.post("/v1/contracts", confirm(decided))
    body = {"contract_id": contract["contract_id"], "amount_fen": 5_000_000}
    assert (await client.post("/v1/draws", body))[0] == 201
    decided = await apply(client, customer_id, 10_000)
    assert decided["limit_fen"] == 5_000_000  # of 20 million, 10 are promised; the product's own largest


async def test_a_scenes_loan_is_paid_to_the_merchant_of_one_order_once(client: Any, cells: Any) -> None:
    wish = {
        "customer_id": await register(client),
        "product": "scene-renovation",
        "amount_fen": 3_000_000,
        "periods": 12,
        "purpose": "renovation",
    }
    contracts = []
    for _ in range(2):
        _, decided, _ = await client.post("/v1/applications", wish)
        contracts.append((await client.post("/v1/contracts", confirm(decided)))[1]["contract_id"])
    shop = {"merchant_id": "M77", "kind": "furniture", "order_id": "O-1"}
    for merchant, path in ((None, "body.merchant"), (shop | {"kind": "casino"}, "body.merchant.kind")):
        body = {"contract_id": contracts[0]} | ({"merchant": merchant} if merchant else {})
        status, refused, _ = await client.post("/v1/draws", body)
        assert (status, refused["errors"][0]["path"]) == (422, path)
    status, _, _ = await client.post("/v1/draws", {"contract_id": contracts[0], "merchant": shop})
    assert status == 201
    status, refused, _ = await client.post("/v1/draws", {"contract_id": contracts[1], "merchant": shop})
    assert (status, refused["errors"][0]["path"]) == (409, "body.merchant.order_id")
    columns = "merchant_id, merchant_kind, order_id, amount_fen"
    rows = await cells.rows(f"select {columns} from core.entrusted_payments")
    assert rows == [("M77", "furniture", "O-1", 3_000_000)]


async def test_tickets_are_merged_on_one_bill_that_is_paid_with_one_amount(
    client: Any, core: Any, cells: Any
) -> None:
    customer_id = await register(client)
    tickets = []
    for amount_fen, periods in ((30_000, 3), (12_345, 1), (99_999, 6)):
        loan = await lend(client, customer_id, "bill-small-ticket", amount_fen, periods)
        tickets.append(
            Drawn(loan["loan_id"], customer_id, "bill-small-ticket", 1, amount_fen, periods, TODAY)
        )
    path = f"/v1/customers/{customer_id}/bills/bill-small-ticket"
    assert (await client.get(path))[0] == 404
    set_day(cells, dt.date(2026, 2, 3))
    await close_chunks_of(core, tickets, dt.date(2026, 2, 3))
    first = [
        make_contract(core.catalogue.find_version("bill-small-ticket", 1), one).plan[0] for one in tickets
    ]
    owed_fen = sum(line.total_fen for line in first)
    _, bill, _ = await client.get(path)
    assert (bill["due"], bill["amount_fen"], bill["tickets"]) == ("2026-02-10", owed_fen, 3)
    pay = {"customer_id": customer_id, "product": "bill-small-ticket"}
    status, refused, _ = await client.post("/v1/bill-repayments", pay | {"amount_fen": owed_fen + 1})
    assert (status, refused["errors"][0]["path"]) == (422, "body.amount_fen")
    _, part, _ = await client.post("/v1/bill-repayments", pay | {"amount_fen": 5_000}, "bill-part-1")
    assert part["open_fen"] == owed_fen - 5_000
    _, again, headers = await client.post("/v1/bill-repayments", pay | {"amount_fen": 5_000}, "bill-part-1")
    assert (again, headers["Biyi-Replayed"]) == (part, "true")
    _, rest, _ = await client.post("/v1/bill-repayments", pay | {"amount_fen": owed_fen - 5_000})
    assert (rest["open_fen"], (await client.get(path))[1]["open_fen"]) == (0, 0)
    assert {(await show(client, one.loan_id))["next_due"] for one in tickets} == {"2026-03-10", None}


async def test_a_reversal_leaves_the_loan_as_the_replay_of_its_journal(
    client: Any, core: Any, cells: Any
) -> None:
    dice = random.Random(5)
    product = core.catalogue.find_version("instalment-12", 1)
    loan_id, paid, day = (await draw(client, 1_200_000, 12))["loan_id"], [], TODAY
    loan = Drawn(loan_id, "", "instalment-12", 1, 1_200_000, 12, TODAY)
    for days in (35, 3, 20, 40, 60, 31):
        day += dt.timedelta(days=days)
        set_day(cells, day)
        _, body, _ = await repay(client, loan_id, dice.randrange(10_000, 150_000))
        paid.append(body["repayment_id"])
    for repayment_id in (paid[1], paid[4], paid[0]):
        wish = {"repayment_id": repayment_id, "reason": "bounced_debit"}
        status, body, _ = await client.post("/v1/reversals", wish)
        assert status == 201, body
        contract = make_contract(product, loan)
        right = replay(contract, (await read_journals(cells))[loan_id], day)
        shown = await show(client, loan_id)
        assert shown["outstanding_fen"] == right.outstanding_fen
        assert shown["penalty_fen"] == sum(due.penalty_fen for due in right.dues)
        assert (shown["balance_fen"], shown["days_past_due"]) == (right.principal_fen, right.days_past_due)
        splits = right.splits.values()
        assert await books(cells) == {
            "1002": -1_200_000 + sum(split.total_fen for split in splits),
            "1303": right.principal_fen,
            "6011": -sum(split.interest_fen for split in splits),
            **({"6012": -fen} if (fen := sum(split.penalty_fen for split in splits)) else {}),
        }
    status, refused, _ = await client.post("/v1/reversals", {"repayment_id": paid[0], "reason": "mistake"})
    assert (status, refused["errors"][0]["found"]) == (409, "one that was reversed")


async def test_a_written_off_loan_leaves_the_books_and_can_be_recovered(
    client: Any, core: Any, cells: Any
) -> None:
    loan_id = (await draw(client, 1_200_000, 12))["loan_id"]
    drawn = [Drawn(loan_id, "", "instalment-12", 1, 1_200_000, 12, TODAY)]
    wish = {"loan_id": loan_id, "reason": "uncollectable"}
    assert (await client.post("/v1/write-offs", wish))[0] == 409
    evening = dt.date(2027, 2, 11)  # 361 days past due: a loss, all of it provided for
    set_day(cells, evening)
    await close_chunks_of(core, drawn, evening)
    assert (await books(cells))["1304"] == -(1_200_000 + 12_000)
    status, written, _ = await client.post("/v1/write-offs", wish)
    assert (status, written["principal_fen"], written["days_past_due"]) == (201, 1_200_000, 362)
    assert (await client.post("/v1/write-offs", wish))[0] == 409
    assert "1303" not in await books(cells)
    _, paid, _ = await repay(client, loan_id, 50_000)
    assert paid["principal_fen"] == 50_000  # principal comes first by now
    slot = slot_of_id(Letter.LOAN, loan_id)
    assert slot is not None
    await close_chunks_of(core, drawn, dt.date(2027, 2, 12))
    final = await books(cells)
    assert final == {"1002": -1_150_000, "6701": 1_150_000}
    assert (await show(client, loan_id))["status"] == "written_off"
