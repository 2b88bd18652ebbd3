"""A key has one effect: repeated, concurrent, or re-run in a newer epoch."""

import asyncio
import datetime as dt
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_app.commands import is_key, make_command
from core_app.ids import Letter
from core_app.loans.repay import repay_loan
from tests.integration.core_app.lending import draw, make_person, repay, sign


async def test_the_same_key_and_body_get_the_stored_answer_and_one_booking(client: Any, cells: Any) -> None:
    loan = await draw(client)
    first = await repay(client, loan["loan_id"], 50_000, "repay-once-1")
    after_first = await cells.counts()
    again = await repay(client, loan["loan_id"], 50_000, "repay-once-1")
    assert (again[0], again[1]) == (first[0], first[1])
    assert client.seen[-1] == client.seen[-2]
    assert (first[2].get("Biyi-Replayed"), again[2]["Biyi-Replayed"]) == (None, "true")
    assert await cells.counts() == after_first


PERSONAL_KEYS = [
    "11010519491231002X", "order-11010519491231002x", "id11010519491231002X_1", "a1-11010519491231002X-b2",
    "13912345678", "tel13912345678", "order_13912345678-1", "8613912345678",
]  # fmt: skip


async def test_a_key_that_names_a_person_is_refused_and_stored_nowhere(client: Any, cells: Any) -> None:
    before = await cells.counts()
    body = {"loan_id": "L000-" + "0" * 32, "reason": "x"}
    approval = await client.approve("/v1/write-offs", body)
    for key in PERSONAL_KEYS:
        status, problem, _ = await client.post("/v1/customers", make_person(), key)
        assert (status, problem["errors"][0]["path"]) == (400, "header.Idempotency-Key")
        assert "no ID or mobile number" in problem["errors"][0]["needed"]
        # Approvals keep the key of their use: it is looked at before it is written.
        headers = {"Idempotency-Key": key, "Biyi-Approval": approval}
        status, problem, _ = await client.send("POST", "/v1/write-offs", json=body, headers=headers)
        assert status == 422
        assert key not in str(client.seen)
    assert await cells.rows("select used_key from access.approvals where used_key is not null") == []
    after = await cells.counts()
    assert {name for name in after if after[name] != before[name]} <= {"outbox"}, "told: asked and approved"


@given(st.uuids(version=4), st.integers(1_577_836_800, 2_051_222_400))
def test_keys_that_programs_make_are_taken(one: uuid.UUID, seconds: int) -> None:
    at, milliseconds = dt.datetime.fromtimestamp(seconds, dt.UTC), seconds * 1000
    for key in (str(one), one.hex, f"order-{at:%Y%m%d}-000001", f"{at:%Y%m%dT%H%M%S}-{one.hex[:8]}",
                f"ts-{milliseconds}", f"{milliseconds}"):  # fmt: skip
        assert is_key(key), key


async def test_the_same_key_in_two_cells_is_two_commands_each_done_once(
    client: Any, core: Any, cells: Any
) -> None:
    """A command's cell follows from its body: a repeat always meets its first run, a stranger never."""
    loans: dict[str, str] = {}
    while len(loans) < 2:
        loan_id = (await draw(client))["loan_id"]
        loans[core.cell_of_id(Letter.LOAN, loan_id)] = loan_id
    first = [await repay(client, loan_id, 1_000, "one-key-for-all") for loan_id in loans.values()]
    again = [await repay(client, loan_id, 1_000, "one-key-for-all") for loan_id in loans.values()]
    assert [answer[0] for answer in first + again] == [201] * 4
    assert [answer[1] for answer in again] == [answer[1] for answer in first]
    assert [answer[2].get("Biyi-Replayed") for answer in again] == ["true", "true"]
    booked = "select count(*) from core.repayments where idempotency_key = 'one-key-for-all'"
    assert await cells.rows(booked) == [(1,), (1,)]
    person = make_person()
    registered = [await client.post("/v1/customers", person, "one-person-once") for _ in range(3)]
    assert len({answer[1]["customer_id"] for answer in registered}) == 1
    cell = core.cell_of_customer(registered[0][1]["customer_id"])
    assert {answer[2]["Biyi-Cell"] for answer in registered} == {cell}


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
    contract = {"contract_id": (await sign(client))["contract_id"]}
    answers = await asyncio.gather(*(client.post("/v1/draws", contract) for _ in range(6)))
    assert sorted(answer[0] for answer in answers) == [201] + [409] * 5
    assert (await client.post("/v1/draws", contract))[0] == 409
    counts = await cells.counts()
    assert (counts["loans"], counts["payout_orders"]) == (1, 1)


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
