"""Partners over HTTP: the standard is published, records are checked, scores become features."""

import datetime as dt
from typing import Any

import psycopg
import pytest

from core_app.decisions.risk import read_risk
from tests.integration.core_app.lending import register
from tests.integration.core_app.test_variables import ask_offline, ask_online
from tests.unit.core_app.test_data_standard import GOOD, changed

FEATURE = "partner_score_east_base_3"


async def send(client: Any, customer_id: str, data: Any = GOOD, key: str | None = None) -> Any:
    return await client.post("/v1/partner-scores", {"customer_id": customer_id, "data": data}, key)


async def test_the_standard_is_published_and_records_are_checked_without_a_trace(
    client: Any, cells: Any
) -> None:
    before = await cells.counts()
    status, standard, _ = await client.get("/v1/data-standard")
    assert (status, standard["standard"]) == (200, 1)
    rows = {row["path"]: row for record in standard["records"] for row in record["fields"]}
    assert rows["model.score"]["name"] == {"zh": "评分", "en": "Score"}
    assert (rows["monthly_income_fen"]["unit"], rows["monthly_income_fen"]["mandatory"]) == ("fen", False)
    wish = {"record": "partner_score", "data": changed("model.score", 1001)}
    status, found, _ = await client.send("POST", "/v1/data-checks", json=wish)
    assert (status, found["keeps"]) == (200, False)
    assert [one["path"] for one in found["faults"]] == ["body.data.model.score"]
    status, problem, _ = await client.send("POST", "/v1/data-checks", json=wish | {"record": "nothing"})
    assert (status, problem["errors"][0]["path"]) == (422, "body.record")
    assert await cells.counts() == before


@pytest.mark.parametrize(
    ("path", "value"),
    [("model.score", "655"), ("model.scored_on", "2026-01-16"), ("partner", "bank_north"), ("phone", "138")],
)
async def test_a_score_that_breaks_the_standard_names_its_field_and_leaves_no_row(
    client: Any, cells: Any, path: str, value: Any
) -> None:
    customer_id = await register(client)
    before = await cells.counts()
    status, problem, _ = await send(client, customer_id, changed(path, value))
    assert (status, problem["errors"][0]["path"]) == (422, f"body.data.{path}")
    assert await cells.counts() == before


async def test_a_score_is_kept_once_with_its_version_and_taken_by_the_variable_that_names_it(
    client: Any, core: Any, cells: Any
) -> None:
    customer_id = await register(client)
    status, kept, _ = await send(client, customer_id, key="score-0001")
    assert (status, kept["version"], kept["received_on"]) == (201, "base-3.1", "2026-01-15")
    assert (await send(client, customer_id, key="score-0001"))[1] == kept
    # Of the same day the later one, of another version none.
    for path, value in (("model.score", 640), ("model.version", "base-4"), ("partner", "bank_west")):
        assert (await send(client, customer_id, changed(path, value)))[0] == 201
    registry, names = read_risk().registry, [FEATURE]
    assert registry.find(FEATURE).version == 1
    days = [dt.date(2026, 1, 15), dt.date(2026, 1, 16), dt.date(2026, 4, 15), dt.date(2026, 4, 16)]
    database = cells.databases[core.cell_of_customer(customer_id)]
    online = []
    for day in days:
        cells.set_business_date(str(day))
        async with await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_app")) as app:
            online.append(await ask_online(app, registry, names, (customer_id, day)))
    # From the day after on, for 90 days.
    assert [one[FEATURE] for one in online] == [None, 640, 640, None]
    async with await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_owner")) as owner:
        offline = await ask_offline(owner, registry, names, [(customer_id, day) for day in days])
    assert offline == online
