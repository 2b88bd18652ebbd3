"""GET /v1/loans/{id}/summary: from the cache with version and age, else from the primary."""

import datetime as dt
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from compliance.access.bearer import Claims, make_bearer
from compliance.access.roles import Party
from core_app.read_models.read import Cache
from replication.model import Site
from replication.postgres.copy import Copy
from replication.projection.copy import LocalCopy
from replication.projection.projector import State
from replication.projection.valkey import open_valkey
from replication.settings import PlaceSettings
from tests.integration.core_app import lending
from tests.integration.core_app.conftest import Cells, Client, cells, core, serve_api, server
from tests.integration.projection.scene import Server, make_projector

__all__ = ["cells", "core", "server"]  # fixtures of the core's own tests


class Clock:
    """The API's clock: the time, and how far it is set forward."""

    def __init__(self) -> None:
        self.ahead = dt.timedelta()

    def __call__(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.ahead


@pytest.fixture
async def valkey() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    made.kill()
    shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def cached(core: Any, valkey: Server, clock: Clock) -> AsyncIterator[Client]:
    async with (
        open_valkey(valkey.port, valkey.password_file, 0.5) as client,
        serve_api(core, Cache(client, clock)) as made,
    ):
        yield made


async def project(cells: Cells, valkey: Server) -> None:
    """Bring the cache of both cells up to date."""
    client = valkey.client()
    for cell, database in cells.databases.items():
        place = PlaceSettings(f"{cell}-idc-0", cell, Site.IDC, 0, "127.0.0.1", cells.server.port)
        projector = make_projector_of(cell, place, client)
        dsn = cells.server.dsn(database, "biyi_read")
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            local = LocalCopy(connection, projector.outbox)
            while await projector.step(local) or projector.state is not State.WARM:
                pass
            projector._written_at = 0.0
            await projector.step(local)
    await client.aclose()


def make_projector_of(cell: str, place: PlaceSettings, client: Any) -> Any:
    projector = make_projector(Copy(place, Path(), None, Path()), Path(), client)
    projector.cell = cell
    return projector


def what_both_show(body: Any) -> Any:
    return {key: value for key, value in body.items() if key not in ("source", "age_ms")}


async def test_the_cache_shows_what_the_primary_shows(cached: Client, cells: Cells, valkey: Server) -> None:
    loan = await lending.draw(cached)
    await lending.repay(cached, loan["loan_id"], 150_000)
    path = f"/v1/loans/{loan['loan_id']}/summary"
    _, before, _ = await cached.get(path)
    await project(cells, valkey)
    status, after, headers = await cached.get(path)
    assert (status, before["source"], after["source"]) == (200, "primary", "cache")
    assert what_both_show(before) == what_both_show(after)
    _, truth, _ = await cached.get(f"/v1/loans/{loan['loan_id']}")
    assert truth.items() <= after.items()
    assert (headers["Biyi-Cell"] in "ab", headers["Biyi-Epoch"]) == (True, "7")


async def test_a_drawn_and_a_settled_loan_are_shown_alike(
    cached: Client, cells: Cells, valkey: Server
) -> None:
    loan = await lending.draw(cached)
    await project(cells, valkey)
    path = f"/v1/loans/{loan['loan_id']}"
    statuses = []
    for pay in (True, False):
        _, truth, _ = await cached.get(path)
        _, shown, _ = await cached.get(path + "/summary")
        assert truth.items() <= shown.items()
        statuses.append((shown["source"], shown["status"]))
        if pay:
            await lending.repay(cached, loan["loan_id"], shown["outstanding_fen"])
            await project(cells, valkey)
    assert statuses == [("cache", "active"), ("cache", "settled")]


async def test_each_change_raises_the_version(cached: Client, cells: Cells, valkey: Server) -> None:
    loan = await lending.draw(cached)
    versions = []
    for _ in range(3):
        await project(cells, valkey)
        versions.append((await cached.get(f"/v1/loans/{loan['loan_id']}/summary"))[1]["version"])
        await lending.repay(cached, loan["loan_id"], 1_000)
    assert versions == sorted(set(versions))


async def test_a_stale_value_carries_its_age_and_too_old_a_one_is_not_taken(
    cached: Client, cells: Cells, valkey: Server, clock: Clock
) -> None:
    loan = await lending.draw(cached)
    await project(cells, valkey)
    await lending.repay(cached, loan["loan_id"], 150_000)  # the cache does not know yet
    clock.ahead = dt.timedelta(seconds=90)
    path = f"/v1/loans/{loan['loan_id']}/summary"
    _, stale, headers = await cached.get(path)
    assert stale["source"] == "cache"
    assert stale["balance_fen"] == loan["balance_fen"]
    assert 90_000 <= stale["age_ms"] < 100_000
    assert headers["Age"] == str(stale["age_ms"] // 1000)
    _, fresh, _ = await cached.get(path + "?max_age_ms=5000")
    assert (fresh["source"], fresh["age_ms"]) == ("primary", 0)
    assert fresh["version"] > stale["version"]
    assert fresh["balance_fen"] < stale["balance_fen"]


async def test_a_repayment_is_decided_on_the_primary_whatever_the_cache_says(
    cached: Client, cells: Cells, valkey: Server
) -> None:
    loan = await lending.draw(cached)
    await project(cells, valkey)
    client = valkey.client()
    async for name in client.scan_iter("biyi:*:value:*"):
        await client.hset(name, "body", '{"value": {"outstanding_fen": 1}, "epoch": 7, "at": ""}')
    await client.aclose()
    status, _, _ = await lending.repay(cached, loan["loan_id"], 150_000)
    assert status == 201


def without_age(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in ("Age", "Date", "Content-Length")}


async def test_the_short_way_answers_as_the_route_does(cached: Client, cells: Cells, valkey: Server) -> None:
    loan = await lending.draw(cached)
    await project(cells, valkey)
    path = f"/v1/loans/{loan['loan_id']}/summary"
    short, long = await cached.get(path), await cached.get(path + "?max_age_ms=3600000")
    assert (short[0], short[1]["source"], long[1]["source"]) == (200, "cache", "cache")
    assert what_both_show(short[1]) == what_both_show(long[1])
    assert without_age(short[2]) == without_age(long[2])


async def test_the_short_way_admits_nobody_whom_the_route_refuses(
    core: Any, cached: Client, cells: Cells, valkey: Server
) -> None:
    loan = await lending.draw(cached)
    await project(cells, valkey)
    path, soon = f"/v1/loans/{loan['loan_id']}/summary", int(time.time()) + 600
    sign = core.vault.request_digest
    headers = {
        "nobody": "",
        "garbage": "Bearer b1.x.y",
        "changed": "Bearer " + make_bearer(lambda _: b"\0" * 32, Claims(Party.CHANNEL, "app", soon)),
        "over": "Bearer " + make_bearer(sign, Claims(Party.CHANNEL, "app", 1)),
        "another": "Bearer " + make_bearer(sign, Claims(Party.CUSTOMER, "C" + "0" * 24, soon)),
        "its own": "Bearer " + make_bearer(sign, Claims(Party.CUSTOMER, loan["customer_id"], soon)),
        "channel": "Bearer " + make_bearer(sign, Claims(Party.CHANNEL, "app", soon)),
    }
    # Twice: what was found out about a token once is kept.
    for _ in range(2):
        found = {
            who: (await cached.send("GET", path, headers={"Authorization": text}))[0]
            for who, text in headers.items()
        }
        assert found == {
            "nobody": 401, "garbage": 401, "changed": 401, "over": 401, "another": 404, "its own": 200,
            "channel": 200,
        }  # fmt: skip


async def test_without_valkey_the_primary_answers(cached: Client, valkey: Server) -> None:
    loan = await lending.draw(cached)
    valkey.kill()
    _, shown, _ = await cached.get(f"/v1/loans/{loan['loan_id']}/summary")
    assert shown["source"] == "primary"


@pytest.mark.parametrize("loan_id", ["L1", "L000-" + "0" * 32])
async def test_a_loan_that_is_not_there_is_not_found(cached: Client, loan_id: str) -> None:
    status, problem, _ = await cached.get(f"/v1/loans/{loan_id}/summary")
    assert (status, problem["status"]) == (404, 404)
