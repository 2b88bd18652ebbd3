"""Gangs over both cells: who shares devices and phones hangs together, and the fraud step knows."""

from typing import Any

from core_app.decisions.gang_search import search_gangs
from tests.integration.core_app.lending import apply, make_person, register
from tests.integration.core_app.versions import publish_change

DAY = {"night_from_hour": 0, "night_until_hour": 0, "window_applications": 100}


async def test_five_customers_of_one_device_in_two_cells_are_refused_as_a_gang(
    client: Any, core: Any, cells: Any
) -> None:
    await publish_change(core, risk=DAY)
    device = {"device": "A1B2-C3D4-E5F6"}
    gang = [await register(client) for _ in range(5)]
    while len({core.cell_of_customer(one) for one in gang}) < 2:  # one time in sixteen all are of one cell
        gang[-1] = await register(client)
    for customer_id in gang:
        assert (await apply(client, customer_id, evidence=device))["decision"] == "approved"
    alone = await register(client)
    found = await search_gangs(core, "run-1")
    assert [(set(one.customers), one.density) for one in found.components] == [(set(gang), 1.0)]
    for customer_id in gang:
        decided = await apply(client, customer_id)
        assert [(r["rule"], r["value"]) for r in decided["reasons"]] == [("gang", 5)]
    assert (await apply(client, alone))["decision"] == "approved"
    before = await cells.counts()
    await search_gangs(core, "run-1")
    assert await cells.counts() == before, "a run that is repeated keeps what is there"


async def test_four_customers_of_one_phone_hang_together_and_are_no_gang(client: Any, core: Any) -> None:
    people = [make_person() | {"phone": "13912345678"} for _ in range(4)]
    ids = [(await client.post("/v1/customers", person))[1]["customer_id"] for person in people]
    (one,) = (await search_gangs(core, "run-2")).components
    assert set(one.customers) == set(ids)
    decided = await apply(client, ids[0])
    assert decided["decision"] == "approved"
    _, shown, _ = await client.get(f"/v1/applications/{decided['application_id']}")
    assert shown["steps"][1]["facts"]["gang"]["customers"] == 4


async def test_the_newest_run_counts_also_when_it_finds_nobody(client: Any, core: Any, cells: Any) -> None:
    people = [make_person() | {"phone": "13912345678"} for _ in range(5)]
    ids = [(await client.post("/v1/customers", person))[1]["customer_id"] for person in people]
    await search_gangs(core, "run-3")
    assert (await apply(client, ids[0]))["decision"] == "refused"
    for database in cells.databases.values():
        cells.run_sql(
            database, "insert into core.gang_runs (run_id, found_on) values ('run-4', '2026-01-15')"
        )
    assert (await apply(client, ids[0]))["decision"] == "approved"
