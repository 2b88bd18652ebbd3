"""Applications beyond what can be decided are refused before anything is asked or written."""

import asyncio
from dataclasses import replace
from typing import Any

import psycopg

from core_app.decisions.fake_bureau import FakeBureau
from core_app.settings import ApiSettings
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.lending import register

# Of two cells each has one turn and one place.
SETTINGS = ApiSettings(decisions_at_once=2, decisions_waiting=2)


async def register_in(client: Any, core: Any, cell: str, count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        customer_id = await register(client)
        if core.cell_of_customer(customer_id) == cell:
            found.append(customer_id)
    return found


async def test_what_is_admitted_is_decided_and_the_rest_is_told_to_come_back(core: Any, cells: Any) -> None:
    bureau = FakeBureau()
    async with serve_api(replace(core, bureau=bureau), None, settings=SETTINGS) as client:
        people = await register_in(client, core, "a", 5)
        (neighbour,) = await register_in(client, core, "b", 1)

        async def apply(customer_id: str) -> tuple[int, Any, Any]:
            wish = {"customer_id": customer_id, "product": "instalment-12", "amount_fen": 1_000_000}
            wish |= {"periods": 12, "bureau_authorisation": "auth-0001"}
            found: tuple[int, Any, Any] = await client.post("/v1/applications", wish, f"shed-{customer_id}")
            return found

        # Whoever decides in this cell waits here until it is let go.
        dsn = cells.server.dsn(cells.databases["a"], "biyi_owner")
        async with await psycopg.AsyncConnection.connect(dsn) as holding:
            await holding.execute("lock table core.applications in share mode")
            tasks = {customer: asyncio.create_task(apply(customer)) for customer in people}
            waiting = set(tasks.values())
            refused: list[tuple[int, Any, Any]] = []
            while len(refused) < 3:
                done, waiting = await asyncio.wait(waiting, timeout=30, return_when=asyncio.FIRST_COMPLETED)
                assert done, "nobody was refused"
                refused += [task.result() for task in done]
            assert (await apply(neighbour))[0] == 201, "the other cell has turns of its own"
            await holding.rollback()
        for status, problem, headers in refused:
            assert (status, problem["type"]) == (503, "urn:biyi:problem:overloaded")
            assert (problem["outcome"], headers["Retry-After"]) == ("not_done", "1")
        admitted = await asyncio.gather(*waiting)
        assert [(status, body["decision"]) for status, body, _ in admitted] == [(201, "approved")] * 2
        assert bureau.inquiries == 3
        assert len(await cells.rows("select from core.commands where kind = 'application'")) == 3
        shed = next(customer for customer, task in tasks.items() if task.result()[0] == 503)
        assert (await apply(shed))[0] == 201, "with the same key, later"
