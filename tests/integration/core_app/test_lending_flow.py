"""From a person to a settled loan, over HTTP, on a real PostgreSQL."""

from typing import Any

import pytest

from tests.integration.core_app.lending import apply, draw, make_person, register, repay, sign

BALANCES = """
select l.balance_fen, coalesce(sum(e.amount_fen), 0)
from core.loans l left join core.entries e on e.loan_id = l.loan_id and e.account = '1303'
group by l.loan_id, l.balance_fen
"""


async def test_contract_shows_the_schedule_of_known_answer_one(client: Any) -> None:
    contract = await sign(client)
    totals = [line["total_fen"] for line in contract["schedule"]]
    assert totals == [110_016] * 11 + [110_019]
    assert contract["schedule"][0] == {
        "period": 1,
        "due": "2026-02-15",
        "principal_fen": 92_016,
        "interest_fen": 18_000,
        "fee_fen": 0,
        "total_fen": 110_016,
    }


async def test_a_repayment_pays_interest_before_principal_of_the_first_open_instalment(client: Any) -> None:
    loan = await draw(client)
    _, first, _ = await repay(client, loan["loan_id"], 20_000)
    assert (first["interest_fen"], first["principal_fen"], first["balance_fen"]) == (18_000, 2_000, 1_198_000)
    _, second, _ = await repay(client, loan["loan_id"], 90_016 + 16_621)
    assert (second["interest_fen"], second["principal_fen"]) == (16_620, 90_017)
    _, shown, _ = await client.get(f"/v1/loans/{loan['loan_id']}")
    assert (shown["next_due"], shown["next_due_fen"]) == ("2026-03-15", 93_396 - 1)


async def test_paying_all_that_is_outstanding_settles_the_loan_and_not_a_fen_more(client: Any) -> None:
    loan = await draw(client)
    status, refused, _ = await repay(client, loan["loan_id"], loan["outstanding_fen"] + 1)
    assert (status, refused["errors"][0]["path"]) == (422, "body.amount_fen")
    status, paid, _ = await repay(client, loan["loan_id"], loan["outstanding_fen"])
    assert (status, paid["interest_fen"], paid["balance_fen"]) == (201, 120_195, 0)
    _, shown, _ = await client.get(f"/v1/loans/{loan['loan_id']}")
    assert (shown["status"], shown["next_due"], shown["outstanding_fen"]) == ("settled", None, 0)


async def test_balances_equal_their_entries_and_the_ledger_sums_to_zero(client: Any, cells: Any) -> None:
    for amount_fen, periods, paid in ((10_000, 3, 3_333), (1_234_567, 6, 400_001), (5_000_000, 12, 1)):
        loan = await draw(client, amount_fen, periods)
        await repay(client, loan["loan_id"], paid)
    balances = await cells.rows(BALANCES)
    assert len(balances) == 3
    assert all(balance == booked for balance, booked in balances)
    assert {row[0] for row in await cells.rows("select coalesce(sum(amount_fen), 0) from core.entries")} == {
        0
    }


@pytest.mark.parametrize(("born", "rule"), [("20100101", "age"), ("19400101", "age")])
async def test_an_applicant_of_the_wrong_age_is_refused_with_the_rule_and_recorded(
    client: Any, cells: Any, born: str, rule: str
) -> None:
    decided = await apply(client, await register(client, born))
    assert (decided["decision"], decided["limit_fen"]) == ("refused", 0)
    assert decided["reasons"][0]["rule"] == rule
    assert [row[0] for row in await cells.rows("select decision from core.applications")] == ["refused"]
    status, problem, _ = await client.post("/v1/contracts", {"application_id": decided["application_id"]})
    assert (status, problem["errors"][0]["path"]) == (409, "body.application_id")


async def test_limits_hold_again_at_the_contract_when_two_approved_applications_exceed_them(
    client: Any,
) -> None:
    customer_id = await register(client)
    applications = [await apply(client, customer_id, 5_000_000) for _ in range(4)]
    assert {decided["decision"] for decided in applications} == {"approved"}
    answers = [
        await client.post("/v1/contracts", {"application_id": decided["application_id"]})
        for decided in applications
    ]
    assert [answer[0] for answer in answers] == [201, 201, 201, 409]
    assert "product.limit_per_customer" in answers[3][1]["errors"][0]["found"]
    fifth = await apply(client, customer_id, 10_000)
    assert fifth["decision"] == "refused"
    assert fifth["reasons"] == [
        {"rule": "product.limit_per_customer", "value": 15_010_000, "limit": "<= 15000000"}
    ]


async def test_a_contract_is_signed_once_and_drawn_once_whatever_the_keys(client: Any) -> None:
    decided = await apply(client, await register(client))
    wanted = {"application_id": decided["application_id"]}
    _, contract, _ = await client.post("/v1/contracts", wanted)
    status, problem, _ = await client.post("/v1/contracts", wanted)
    assert (status, problem["errors"][0]["path"]) == (409, "body.application_id")
    draw_it = {"contract_id": contract["contract_id"]}
    assert (await client.post("/v1/draws", draw_it))[0] == 201
    status, problem, _ = await client.post("/v1/draws", draw_it)
    assert (status, problem["errors"][0]["path"]) == (409, "body.contract_id")


async def test_the_same_person_has_the_same_id_whatever_the_key_or_spelling(client: Any) -> None:
    person = make_person()
    status, first, headers = await client.post("/v1/customers", person)
    assert (status, headers["Biyi-Cell"], headers["Biyi-Epoch"]) == (201, first["cell"], "7")
    spelled = person | {"id_number": f" {person['id_number'].lower()} ", "phone": "+86 " + person["phone"]}
    status, again, _ = await client.post("/v1/customers", spelled)
    assert (status, again) == (200, first)


async def test_a_customer_is_shown_masked_only(client: Any) -> None:
    person = make_person()
    _, made, _ = await client.post("/v1/customers", person)
    _, shown, _ = await client.get(f"/v1/customers/{made['customer_id']}")
    number = person["id_number"]
    assert shown["name"] == "张**"
    assert shown["id_number"] == f"{number[:3]}{'*' * 11}{number[-4:]}"
    assert shown["phone"] == f"{person['phone'][:3]}****{person['phone'][-4:]}"


async def test_the_business_date_table_overrides_the_calendar_day(client: Any, cells: Any) -> None:
    for database in cells.databases.values():
        cells.server.run(
            "psql",
            "-U",
            "biyi_owner",
            "-d",
            database,
            "-qc",
            "update core.business_date set on_date = '2027-01-31'",
        )
    loan = await draw(client)
    assert loan["next_due"] == "2027-02-28"
    assert {str(row[0]) for row in await cells.rows("select booked_on from core.entries")} == {"2027-01-31"}


async def test_readiness_names_every_cell(client: Any) -> None:
    assert (await client.get("/readyz"))[1] == {"epochs": {"a": 7, "b": 7}, "unreachable": []}
    assert (await client.get("/healthz"))[0] == 200
