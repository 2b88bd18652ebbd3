"""A key has one effect: repeated, concurrent, or re-run in a newer epoch."""

import asyncio
from typing import Any

import pytest

from core_app.commands import make_command
from core_app.loans.repay import repay_loan
from tests.integration.core_app.lending import draw, make_person, repay


async def test_the_same_key_and_body_get_the_stored_answer_and_one_booking(client: Any, cells: Any) -> None:
    loan = await draw(client)
    first = await repay(client, loan["loan_id"], 50_000, "repay-once-1")
    after_first = await cells.counts()
    again = await repay(client, loan["loan_id"], 50_000, "repay-once-1")
    assert (again[0], again[1]) == (first[0], first[1])
    assert client.seen[-1] == client.seen[-2]
    assert (first[2].get("Biyi-Replayed"), again[2]["Biyi-Replayed"]) == (None, "true")
    assert await cells.counts() == after_first


async def test_the_spelling_of_a_body_does_not_matter_to_its_key(client: Any) -> None:
    loan = await draw(client)
    headers = {"Idempotency-Key": "spelling-1", "Content-Type": "application/json"}
    spellings = [
        f'{{"loan_id": "{loan["loan_id"]}", "amount_fen": 700}}',
        f'{{"amount_fen":700,\n"loan_id":"{loan["loan_id"]}"}}',
    ]
    answers = [await client.send("POST", "/v1/repayments", data=s, headers=headers) for s in spellings]
    assert answers[0][1] == answers[1][1]
    assert answers[1][2]["Biyi-Replayed"] == "true"


async def test_the_same_key_with_another_body_is_409_and_books_nothing(client: Any, cells: Any) -> None:
    loan = await draw(client)
    await repay(client, loan["loan_id"], 50_000, "repay-once-2")
    before = await cells.counts()
    status, problem, headers = await repay(client, loan["loan_id"], 50_001, "repay-once-2")
    assert (status, problem["errors"][0]["path"]) == (409, "header.Idempotency-Key")
    assert headers["Biyi-Epoch"] == "7"
    assert await cells.counts() == before


async def test_the_same_key_for_another_kind_of_command_is_409(client: Any) -> None:
    loan = await draw(client)
    await repay(client, loan["loan_id"], 1, "one-key-two-kinds")
    contract = {"contract_id": loan["contract_id"]}
    assert (await client.post("/v1/draws", contract, "one-key-two-kinds"))[0] == 409


async def test_concurrent_duplicates_of_a_key_have_one_effect_and_one_answer(client: Any, cells: Any) -> None:
    loan = await draw(client)
    answers = await asyncio.gather(
        *(repay(client, loan["loan_id"], 12_345, "duplicates-1") for _ in range(12))
    )
    assert {answer[0] for answer in answers} == {201}
    assert len({answer[1]["repayment_id"] for answer in answers}) == 1
    assert sum("Biyi-Replayed" not in answer[2] for answer in answers) == 1
    assert (await cells.counts())["repayments"] == 1


async def test_concurrent_registrations_of_one_person_make_one_customer(client: Any, cells: Any) -> None:
    person = make_person()
    answers = await asyncio.gather(*(client.post("/v1/customers", person) for _ in range(8)))
    assert sorted(answer[0] for answer in answers) == [200] * 7 + [201]
    assert (await cells.counts())["customers"] == 1


async def test_concurrent_repayments_never_pay_more_than_is_outstanding(client: Any, cells: Any) -> None:
    loan = await draw(client, 10_000, 3)
    half = loan["outstanding_fen"] // 2 + 1
    answers = await asyncio.gather(*(repay(client, loan["loan_id"], half) for _ in range(6)))
    assert sorted(answer[0] for answer in answers) == [201] + [422] * 5
    assert (await cells.counts())["repayments"] == 1


async def test_concurrent_draws_of_one_contract_pay_out_once(client: Any, cells: Any) -> None:
    loan = await draw(client)
    contract = {"contract_id": loan["contract_id"]}
    answers = await asyncio.gather(*(client.post("/v1/draws", contract) for _ in range(6)))
    assert {answer[0] for answer in answers} == {409}
    assert (await cells.counts())["loans"] == 1


async def test_a_command_that_is_run_again_after_its_commit_answers_from_its_record(
    client: Any, core: Any, cells: Any
) -> None:
    """What the router does when the answer to a COMMIT was lost: the same work, once more."""
    loan = await draw(client)
    body = {"loan_id": loan["loan_id"], "amount_fen": 900}
    command = make_command(core, "run-again-1", "repayment", body)
    first = await repay_loan(core, command, loan["loan_id"], 900)
    again = await repay_loan(core, command, loan["loan_id"], 900)
    assert (again.answer.body, again.answer.replayed) == (first.answer.body, True)
    assert (await cells.counts())["repayments"] == 1


@pytest.mark.parametrize("kind", ["customers", "applications", "contracts", "draws"])
async def test_every_kind_of_command_is_answered_again_from_its_record(client: Any, kind: str) -> None:
    loan = await draw(client)
    bodies: dict[str, Any] = {"customers": make_person()}
    bodies["applications"] = {
        "customer_id": loan["customer_id"],
        "product": "instalment-12",
        "amount_fen": 10_000,
        "periods": 3,
    }
    _, decided, _ = await client.post("/v1/applications", bodies["applications"])
    bodies["contracts"] = {"application_id": decided["application_id"]}
    if kind == "draws":
        _, contract, _ = await client.post("/v1/contracts", bodies["contracts"])
        bodies["draws"] = {"contract_id": contract["contract_id"]}
    first = await client.post(f"/v1/{kind}", bodies[kind], "each-kind-1")
    again = await client.post(f"/v1/{kind}", bodies[kind], "each-kind-1")
    assert (first[0], again[0]) == (201, 201)
    assert client.seen[-1] == client.seen[-2]
    assert again[2]["Biyi-Replayed"] == "true"
