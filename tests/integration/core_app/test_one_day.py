"""While day-end runs, a customer's day is that of the chunk, for everything that is decided about them."""

import asyncio
import datetime as dt
from collections import Counter
from typing import Any

import psycopg
import pytest

from core_app.products.published import publish_version
from core_app.slots import CHUNK_SLOTS, cell_of_slot
from tests.integration.core_app.lending import apply, confirm, register, sign
from tests.integration.core_app.partners import draw_contract, make_partner, publish, sign_joint
from tests.unit.core_app.product_documents import make_product

ENDING, NEXT = dt.date(2026, 5, 3), dt.date(2026, 5, 4)


def move_chunk(core: Any, cells: Any, customer_id: str) -> None:
    """Close the day that ends for this customer's chunk alone, as day-end does on its way."""
    database = cells.databases[core.cell_of_customer(customer_id)]
    chunk = core.chunk_of_customer(customer_id)
    cells.run_sql(database, f"update core.day_end_chunks set on_date = '{NEXT}' where chunk = {chunk}")


async def test_application_contract_and_draw_bear_the_day_of_the_chunk(
    client: Any, core: Any, cells: Any
) -> None:
    customer_id = await register(client)
    cells.set_business_date(str(ENDING))
    move_chunk(core, cells, customer_id)
    contract = await sign(client, customer_id=customer_id)
    assert (await client.post("/v1/draws", {"contract_id": contract["contract_id"]}))[0] == 201
    days = await cells.rows(
        """select a.decided_on, k.signed_on, l.drawn_on, t.decided_on, i.asked_on, h.valid_to
           from core.applications a join core.contracts k using (application_id)
           join core.loans l using (contract_id) join core.customer_tiers t using (application_id)
           join core.bureau_inquiries i using (application_id) join core.limit_holds h using (contract_id)"""
    )
    assert days == [(NEXT, NEXT, NEXT, NEXT, NEXT, dt.date(2027, 5, 4))]


async def test_an_increase_that_ended_with_the_day_holds_no_more_for_a_chunk_that_is_ahead(
    client: Any, core: Any, cells: Any
) -> None:
    customer_id = await register(client)
    database = cells.databases[core.cell_of_customer(customer_id)]
    cells.set_business_date(str(ENDING))
    first = await sign(client, 100_000, customer_id=customer_id)
    later = await sign(client, 100_000, customer_id=customer_id)
    cells.run_sql(
        database,
        "update core.limits set limit_fen = 100000, temporary_fen = 100000, temporary_from = '2026-05-01',"
        f" temporary_to = '{ENDING}' where node = 'product:instalment-12'",
    )
    assert (await client.post("/v1/draws", {"contract_id": first["contract_id"]}))[0] == 201
    move_chunk(core, cells, customer_id)
    status, refused, _ = await client.post("/v1/draws", {"contract_id": later["contract_id"]})
    assert (status, refused["errors"][0]["needed"]) == (409, "<= 100000")
    _, shown, _ = await client.get(f"/v1/customers/{customer_id}/limits")
    nodes = {node["node"]: node["temporary_fen"] for node in shown["nodes"]}
    assert (shown["on"], nodes["product:instalment-12"]) == (str(NEXT), 0)


async def test_a_version_is_sold_from_its_first_day_chunk_by_chunk(
    client: Any, core: Any, cells: Any
) -> None:
    product = make_product({"identity.version": 2, "identity.valid_from": str(NEXT)})
    for cell in core.router.cells:
        await publish_version(core, cell, "publish-two", product)
    ahead, behind = await register(client), await register(client)
    while core.chunk_of_customer(behind) == core.chunk_of_customer(ahead):
        behind = await register(client)
    cells.set_business_date(str(ENDING))
    move_chunk(core, cells, ahead)
    for customer_id in (ahead, behind):
        await client.post("/v1/contracts", confirm(await apply(client, customer_id)))
    sold = dict(await cells.rows("select customer_id, product_version from core.contracts"))
    assert sold == {ahead: 2, behind: 1}


async def test_an_application_waits_for_a_day_end_of_its_chunk_and_is_dated_after_it(
    client: Any, core: Any, cells: Any
) -> None:
    customer_id = await register(client)
    cells.set_business_date(str(ENDING))
    dsn = cells.server.dsn(cells.databases[core.cell_of_customer(customer_id)], "biyi_app")
    chunk = core.chunk_of_customer(customer_id)
    async with await psycopg.AsyncConnection.connect(dsn) as closing:
        await closing.execute(f"select pg_advisory_xact_lock(1684371817, {chunk})")
        late = asyncio.create_task(apply(client, customer_id, bureau_authorisation=None))
        await asyncio.sleep(0.3)
        assert not late.done()
        await closing.execute(f"update core.day_end_chunks set on_date = '{NEXT}' where chunk = {chunk}")
        await closing.commit()
        await late
    assert await cells.rows("select decided_on from core.applications") == [(NEXT,)]


@pytest.mark.parametrize("first", [0, 1], ids=["the ending day first", "the next day first"])
async def test_a_funders_quota_of_a_day_holds_while_chunks_are_on_two_days(
    client: Any, core: Any, cells: Any, first: int
) -> None:
    await publish(core, make_partner("bank_east", {"day_fen": 2_800_000}))
    cells.set_business_date(str(ENDING))
    contracts: list[list[str]] = [[], []]  # by day: those of the day that ends, those of the next
    while min(map(len, contracts)) < 4:
        contract_id = await sign_joint(client, 500_000)
        slot = int(contract_id[1:4], 16)
        if cell_of_slot(slot, core.router.cells) == "a":
            contracts[slot // CHUNK_SLOTS >= 64].append(contract_id)
    cells.run_sql("cell_a", f"update core.day_end_chunks set on_date = '{NEXT}' where chunk >= 64")
    # By turns, so that each draw is of another day than the one before it: a part of 1,400,000 fen a day.
    answers = []
    for number in range(4):
        for day in (first, 1 - first):
            answers.append((day, (await draw_contract(client, contracts[day][number]))[0]))
    drawn = Counter(day for day, status in answers if status == 201)
    assert drawn == {0: 4, 1: 4}, "1,400,000 fen a day and cell: four times 350,000"
    spare = [await sign_joint(client, 10_000) for _ in range(12)]
    for contract_id in spare:
        if cell_of_slot(int(contract_id[1:4], 16), core.router.cells) == "a":
            assert (await draw_contract(client, contract_id))[0] == 409
    sums = await cells.rows(
        """select l.drawn_on, sum(f.principal_fen)::bigint
           from core.loan_funders f join core.loans l using (loan_id)
           where f.funder = 'bank_east' and l.principal_fen = 500000 group by 1 order by 1"""
    )
    assert sums == [(ENDING, 1_400_000), (NEXT, 1_400_000)]
