"""Limits on a real PostgreSQL: what contracts hold equals what is owed, and no race passes a limit."""

import asyncio
import random
from typing import Any

import pytest

from core_app.limits.hold import expire_next, release
from tests.integration.core_app.lending import apply, confirm, draw, register, repay, sign
from tests.integration.core_app.versions import publish_change

HELD = """
select customer_id, node, reserved_fen, used_fen from core.limits where reserved_fen + used_fen > 0
"""
OWED = """
select o.customer_id, n.node, sum(o.reserved_fen)::bigint, sum(o.used_fen)::bigint
from (select customer_id, product, amount_fen as reserved_fen, 0 as used_fen from core.contracts
      where status = 'signed'
      union all
      select customer_id, product, 0, balance_fen from core.loans where balance_fen > 0) as o,
     lateral (values ('customer'), ('product:' || o.product)) as n (node)
group by 1, 2
"""


async def assert_held_is_owed(cells: Any) -> None:
    held = [row for row in await cells.rows(HELD) if not row[1].startswith("group:")]
    assert sorted(held) == sorted(await cells.rows(OWED))
    holds = "select coalesce(sum(reserved_fen), 0), coalesce(sum(used_fen), 0) from core.limit_holds"
    tops = holds.replace("core.limit_holds", "core.limits") + " where node = 'customer'"
    assert await cells.rows(holds) == await cells.rows(tops)


def set_limit(customer_id: str, amount_fen: int | None, **more: Any) -> dict[str, Any]:
    body = {"customer_id": customer_id, "level": "product", "product": "instalment-12", "staff": "li.wei"}
    return body | {"amount_fen": amount_fen, "reason": "income fell"} | more


def node_of(tree: Any, name: str) -> Any:
    return next(node for node in tree["nodes"] if node["node"] == name)


async def show(client: Any, customer_id: str, name: str = "product:instalment-12") -> Any:
    status, tree, _ = await client.get(f"/v1/customers/{customer_id}/limits")
    assert status == 200
    return node_of(tree, name)


async def test_a_contract_reserves_a_draw_uses_and_a_repayment_gives_back(client: Any, cells: Any) -> None:
    contract = await sign(client)
    customer_id = contract["customer_id"]
    node = await show(client, customer_id)
    assert (node["reserved_fen"], node["used_fen"], node["room_fen"]) == (1_200_000, 0, 13_800_000)
    await assert_held_is_owed(cells)
    _, loan, _ = await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
    node = await show(client, customer_id, "customer")
    assert (node["reserved_fen"], node["used_fen"], node["document_fen"]) == (0, 1_200_000, 20_000_000)
    _, paid, _ = await repay(client, loan["loan_id"], 110_016)
    node = await show(client, customer_id)
    assert node["used_fen"] == 1_200_000 - paid["principal_fen"] == paid["balance_fen"]
    await repay(client, loan["loan_id"], loan["outstanding_fen"] - 110_016)
    assert (await show(client, customer_id))["used_fen"] == 0
    await assert_held_is_owed(cells)


async def test_a_void_contract_gives_back_once_and_cannot_be_drawn(client: Any, cells: Any) -> None:
    contract = await sign(client)
    wanted = {"contract_id": contract["contract_id"]}
    status, voided, _ = await client.post("/v1/voids", wanted, "void-once-1")
    assert (status, voided["released_fen"]) == (201, 1_200_000)
    assert (await client.post("/v1/voids", wanted, "void-once-1"))[2]["Biyi-Replayed"] == "true"
    status, problem, _ = await client.post("/v1/voids", wanted)
    assert (status, problem["errors"][0]["found"]) == (409, "a contract that is void")
    status, problem, _ = await client.post("/v1/draws", wanted)
    assert (status, problem["errors"][0]["found"]) == (409, "a contract that is void")
    assert (await show(client, contract["customer_id"]))["reserved_fen"] == 0
    await assert_held_is_owed(cells)


async def test_a_contract_past_its_validity_is_not_drawn_and_expires(
    client: Any, core: Any, cells: Any
) -> None:
    contract = await sign(client)
    drawn = await draw(client)
    wanted = {"contract_id": contract["contract_id"]}
    cells.set_business_date("2027-01-16")
    status, problem, _ = await client.post("/v1/draws", wanted)
    assert (status, problem["errors"][0]["found"].split(":")[0]) == (409, "limit.hold")

    async def expire(connection: Any, epoch: int) -> str | None:
        return await expire_next(connection, core.read_today())

    expired = []
    for cell in core.router.cells:
        while (contract_id := (await core.router.write(cell, expire)).value) is not None:
            expired.append(contract_id)
    assert expired == [contract["contract_id"]]
    assert (await show(client, drawn["customer_id"]))["used_fen"] == 1_200_000
    await assert_held_is_owed(cells)


async def test_under_a_line_what_is_repaid_is_reserved_again(client: Any, core: Any, cells: Any) -> None:
    loan = await draw(client)
    for database in cells.databases.values():
        cells.run_sql(database, "update core.limit_holds set line = true")

    async def give_back(connection: Any, epoch: int) -> None:
        await release(connection, loan["loan_id"], 200_000)

    await core.router.write(core.cell_of_customer(loan["customer_id"]), give_back)
    node = await show(client, loan["customer_id"])
    assert (node["reserved_fen"], node["used_fen"]) == (200_000, 1_000_000)


async def test_a_limit_that_staff_set_holds_at_application_contract_and_draw(client: Any) -> None:
    customer_id = await register(client)
    signed = await sign(client, 1_000_000, customer_id=customer_id)
    decided = await apply(client, customer_id, 1_000_000)
    body = set_limit(customer_id, 999_999)
    first = await client.post("/v1/limits", body, "cut-limit-1")
    assert (first[0], first[1]["node"]) == (201, "product:instalment-12")
    assert (await client.post("/v1/limits", body, "cut-limit-1"))[2]["Biyi-Replayed"] == "true"
    refused = await apply(client, customer_id, 10_000)
    assert [(r["rule"], r["limit"]) for r in refused["reasons"]] == [
        ("product.limit_per_customer", "<= 999999")
    ]
    status, problem, _ = await client.post("/v1/contracts", confirm(decided))
    assert (status, problem["errors"][0]["needed"]) == (409, "<= 999999")
    status, problem, _ = await client.post("/v1/draws", {"contract_id": signed["contract_id"]})
    assert (status, problem["errors"][0]["found"]) == (
        409,
        "product.limit_per_customer: 1000000 fen with this draw",
    )
    assert (await client.post("/v1/limits", set_limit(customer_id, None)))[0] == 201
    assert (await client.post("/v1/draws", {"contract_id": signed["contract_id"]}))[0] == 201


async def test_the_customers_own_limit_counts_over_all_products(client: Any) -> None:
    customer_id = await register(client)
    cut = set_limit(customer_id, 1_000_000, level="customer", product=None)
    assert (await client.post("/v1/limits", cut))[0] == 201
    refused = await apply(client, customer_id, 1_000_001)
    assert ([r["rule"] for r in refused["reasons"]], refused["limit_fen"]) == (["limit.customer"], 1_000_000)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"amount_fen": 15_000_001}, "body.amount_fen"),
        ({"level": "scene"}, "body.level"),
        ({"level": "moon"}, "body.level"),
        ({"product": "no-such"}, "body.product"),
        ({"level": "customer", "amount_fen": 20_000_001}, "body.amount_fen"),
        ({"temporary_from": "2026-01-15", "temporary_to": "2026-01-20"}, "body.amount_fen"),
        ({"temporary_to": "2026-01-20"}, "body.temporary_to"),
        ({"staff": "Li Wei"}, "body.staff"),
        ({"customer_id": "C" + "0" * 24}, "body.customer_id"),
    ],
)
async def test_a_limit_beyond_law_or_document_is_refused_and_leaves_no_row(
    client: Any, cells: Any, change: dict[str, Any], path: str
) -> None:
    body = set_limit(await register(client), 1_000_000) | change
    before = await cells.counts()
    status, problem, _ = await client.post("/v1/limits", body)
    assert (status, problem["errors"][0]["path"]) == (422, path)
    assert await cells.counts() == before


async def test_a_temporary_increase_holds_on_its_days_and_the_newest_counts(
    client: Any, core: Any, cells: Any
) -> None:
    await publish_change(
        core, limits={"temporary_fen": 1_000_000, "temporary_days": 10, "customer_fen": 5_000_000}
    )
    customer_id = await register(client)
    days = {"temporary_from": "2026-01-20", "temporary_to": "2026-01-29"}
    assert (await client.post("/v1/limits", set_limit(customer_id, 1_000_000, **days)))[0] == 201
    for day, limit_fen in (("2026-01-19", 5_000_000), ("2026-01-20", 6_000_000), ("2026-01-29", 6_000_000)):
        cells.set_business_date(day)
        assert (await show(client, customer_id))["limit_fen"] == limit_fen
    assert (await client.post("/v1/limits", set_limit(customer_id, 0, **days)))[0] == 201
    assert (await show(client, customer_id))["limit_fen"] == 5_000_000
    too_long = {"temporary_from": "2026-01-20", "temporary_to": "2026-01-30"}
    status, problem, _ = await client.post("/v1/limits", set_limit(customer_id, 1, **too_long))
    assert (status, problem["errors"][0]["path"]) == (422, "body.temporary_to")
    assert len(await cells.rows("select from core.limit_changes")) == 2


async def test_draws_in_a_day_are_counted_under_the_lock(client: Any, core: Any, cells: Any) -> None:
    await publish_change(core, limits={"draws_per_day": 2, "open_draws": 3})
    customer_id = await register(client)
    contracts = [await sign(client, 100_000, customer_id=customer_id) for _ in range(5)]

    async def try_all() -> list[Any]:
        return list(
            await asyncio.gather(
                *(client.post("/v1/draws", {"contract_id": one["contract_id"]}) for one in contracts)
            )
        )

    answers = await try_all()
    assert sorted(answer[0] for answer in answers) == [201, 201, 409, 409, 409]
    cells.set_business_date("2026-01-16")
    answers = await try_all()
    assert sorted(answer[0] for answer in answers) == [201, 409, 409, 409, 409]
    found = {answer[1]["errors"][0]["found"].split(":")[0] for answer in answers if answer[0] == 409}
    assert found == {"a contract that is drawn", "limit.open_draws"}
    await assert_held_is_owed(cells)


async def test_contracts_at_once_never_pass_the_limit_together(client: Any, cells: Any) -> None:
    customer_id = await register(client)
    decided = [await apply(client, customer_id, 4_000_000) for _ in range(8)]
    answers = await asyncio.gather(*(client.post("/v1/contracts", confirm(one)) for one in decided))
    assert sorted(answer[0] for answer in answers) == [201] * 3 + [409] * 5
    await assert_held_is_owed(cells)


@pytest.mark.parametrize("seed", range(6))
async def test_draw_against_cut_after_the_cut_is_answered_nothing_is_used_above_it(
    client: Any, cells: Any, seed: int
) -> None:
    """Draws and cuts race; a draw that came first stands, one that came after the cut is refused."""
    chance = random.Random(seed)
    customer_id = await register(client)
    contracts = [await sign(client, 100_000, customer_id=customer_id) for _ in range(5)]
    cut_fen = 100_000 * chance.randrange(0, 5)
    drawn_before_cut = 0
    answers: list[int] = []

    async def draw_one(contract_id: str) -> None:
        await asyncio.sleep(chance.random() * 0.02)
        answers.append((await client.post("/v1/draws", {"contract_id": contract_id}))[0])

    async def cut() -> None:
        nonlocal drawn_before_cut
        await asyncio.sleep(chance.random() * 0.02)
        level = chance.choice([{"level": "customer", "product": None}, {}])
        assert (await client.post("/v1/limits", set_limit(customer_id, cut_fen, **level)))[0] == 201
        drawn_before_cut = (await show(client, customer_id))["used_fen"]

    await asyncio.gather(cut(), *(draw_one(one["contract_id"]) for one in contracts))
    used_fen = (await show(client, customer_id))["used_fen"]
    assert used_fen == 100_000 * answers.count(201)
    assert used_fen <= max(cut_fen, drawn_before_cut)
    await assert_held_is_owed(cells)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_at_once_held_is_owed(client: Any, cells: Any, seed: int) -> None:
    """Random contracts, draws, voids, repayments and cuts of three customers, many at a time."""
    chance = random.Random(seed)
    customers = [await register(client) for _ in range(3)]
    open_contracts: list[str] = []
    loans: list[tuple[str, int]] = []
    refused: set[int] = set()

    async def step() -> None:
        what = chance.choice(["sign", "sign", "draw", "draw", "void", "repay", "repay", "cut"])
        if what == "sign":
            decided = await apply(client, chance.choice(customers), 10_000 * chance.randrange(1, 300))
            if decided["decision"] == "approved":
                status, contract, _ = await client.post("/v1/contracts", confirm(decided))
                if status == 201:
                    open_contracts.append(contract["contract_id"])
                refused.add(status)
        elif what in {"draw", "void"} and open_contracts:
            wanted = {"contract_id": chance.choice(open_contracts)}
            status, answer, _ = await client.post("/v1/draws" if what == "draw" else "/v1/voids", wanted)
            if status == 201 and what == "draw":
                loans.append((answer["loan_id"], answer["outstanding_fen"]))
            refused.add(status)
        elif what == "repay" and loans:
            loan_id, outstanding_fen = chance.choice(loans)
            refused.add((await repay(client, loan_id, chance.randrange(1, outstanding_fen)))[0])
        elif what == "cut":
            body = set_limit(chance.choice(customers), 10_000 * chance.randrange(0, 1_500))
            refused.add((await client.post("/v1/limits", body))[0])

    for _ in range(12):
        await asyncio.gather(*(step() for _ in range(6)))
        await assert_held_is_owed(cells)
    assert refused <= {201, 409, 422}
    assert 201 in refused
