"""Counts of device evidence: the decision's are exact whatever becomes of Valkey, and the view comes back."""

import datetime as dt
import json
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

from compliance.protection.fields import EVIDENCE_DEVICE
from core_app.decisions.evidence import Evidence, EvidenceKind
from core_app.read_models.read import Cache
from core_app.read_models.windows import count_window, window_key
from replication.postgres import conf, control
from replication.projection.valkey import open_valkey, read_value
from tests.integration.core_app.conftest import cells, core, serve_api, server
from tests.integration.core_app.lending import apply, register
from tests.integration.core_app.versions import publish_change
from tests.integration.postgres.places import Pair, admin, connect_as
from tests.integration.projection.scene import Server, make_projector, migrate, project_until_warm
from tests.integration.projection.test_failover import promote_cloud, return_idc, servers
from tests.integration.projection.test_summary import project

__all__ = ["cells", "core", "server", "servers"]  # fixtures of others

DEVICE = {"device": "A1B2-C3D4-E5F6"}
LOOK = {"evidence": DEVICE, "minutes": 60}
TRUTH = "select count(*) from core.evidence where kind = 'device'"


@pytest.fixture
async def valkey() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    made.kill()
    shutil.rmtree(made.folder, ignore_errors=True)


async def look(client: Any) -> tuple[int, set[str]]:
    status, shown, _ = await client.send("POST", "/v1/windows", json=LOOK)
    assert status == 200
    return sum(shown["counts"]["device"].values()), set(shown["source"].values())


async def test_a_lost_valkey_changes_no_decision_and_its_view_comes_back_exact(
    core: Any, cells: Any, valkey: Server
) -> None:
    await publish_change(core, risk={"night_from_hour": 0, "night_until_hour": 0})
    async with (
        open_valkey(valkey.port, valkey.password_file, 0.5) as cache,
        serve_api(core, Cache(cache, lambda: dt.datetime.now(dt.UTC))) as client,
    ):
        for _ in range(2):
            await apply(client, await register(client), evidence=DEVICE)
        assert await look(client) == (2, {"primary"})
        await project(cells, valkey)
        assert await look(client) == (2, {"cache"})
        valkey.kill()
        (valkey.folder / "appendonlydir").rename(valkey.folder / "lost")
        decided = [await apply(client, await register(client), evidence=DEVICE) for _ in range(2)]
        assert [one["decision"] for one in decided] == ["approved", "refused"]
        assert decided[1]["reasons"][0]["value"] == 4
        assert await look(client) == (4, {"primary"})
        await valkey.start()
        assert await look(client) == (4, {"primary"}), "an empty view is not taken for an empty window"
        await project(cells, valkey)
        assert await look(client) == (4, {"cache"})
    assert sum(row[0] for row in await cells.rows(TRUTH)) == 4


async def test_only_instants_within_the_window_count() -> None:
    value = {"ats": [1000.5, "940.0", 400]}
    assert [count_window(value, 1000.0, minutes) for minutes in (1, 2, 11)] == [1, 2, 3]
    assert count_window(None, 1000.0, 60) == 0


@pytest.mark.slow
async def test_the_view_of_a_lost_history_is_taken_back_after_a_failover(
    pair: Pair, servers: tuple[Server, Server]
) -> None:
    """idc shows an application that no later epoch has; after the failover its site counts what cloud has."""
    seen = Evidence(EvidenceKind.DEVICE, EVIDENCE_DEVICE.name.ljust(32).encode())

    async def tell(connection: Any, ats: list[float]) -> None:
        await connection.execute(
            "insert into core.outbox (topic, key, payload, idempotency_key)"
            " values ('window.seen', %s, %s, 'k')",
            [window_key(seen), json.dumps({"window": {"ats": ats}})],
        )

    await pair.make_sync()
    await migrate(pair.idc)
    valkey = servers[0].client()
    at_idc = make_projector(pair.idc, pair.idc.passfile, valkey)
    async with await connect_as(pair.idc, "biyi_app") as app:
        await tell(app, [10.0])
        await tell(app, [20.0, 10.0])
    await project_until_warm(at_idc, pair.idc, pair.idc.passfile)
    await control.kill_hard(pair.cloud)
    async with await admin(pair.idc) as conn:
        await conf.set_sync_names(pair.idc, conn, frozenset())
    async with await connect_as(pair.idc, "biyi_app") as app:
        await tell(app, [30.0, 20.0, 10.0])
    await project_until_warm(at_idc, pair.idc, pair.idc.passfile)

    async def count() -> int:
        found = await read_value(valkey, "a", window_key(seen))
        return count_window(found.body["value"] if found else None, 60.0, 1)

    assert await count() == 3
    await control.kill_hard(pair.idc)
    await control.start(pair.cloud)
    await promote_cloud(pair)
    async with await connect_as(pair.cloud, "biyi_app") as app:
        await tell(app, [40.0, 20.0, 10.0])
    await return_idc(pair)
    await project_until_warm(at_idc, pair.idc, pair.idc.passfile)
    assert await count() == 3
    found = await read_value(valkey, "a", window_key(seen))
    assert found is not None
    assert found.body["value"]["ats"] == [40.0, 20.0, 10.0], "the lost application is not counted"
    await valkey.aclose()
