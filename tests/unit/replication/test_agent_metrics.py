"""What an agent tells Prometheus, and how Kubernetes tells a fenced copy from a dead agent."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from replication import metrics
from replication.exposure import Exposure
from replication.failover.states import CopyState, FollowerSeen, OwnCopy, Seen, Stream
from replication.gate import admit_only
from replication.grants import World
from replication.leave import leave
from replication.metrics import (
    AgentSnapshot,
    agent_figures,
    health_routes,
    is_serving,
    metrics_registry,
    metrics_routes,
)
from replication.model import CopyId, Grant, GrantSeen, Mode, Site
from replication.settings import CellSettings, PlaceSettings, SiteSettings
from replication.tls import OPERATOR, Identity
from runbooks.stand.certificates import tls_dir
from tests.unit.replication.test_tls import made as made

IDC, CLOUD = CopyId.parse("a-idc-0-aaaa"), CopyId.parse("a-cloud-0-bbbb")
PLACE = PlaceSettings("a-idc-0", "a", Site.IDC, 0, "127.0.0.1", 1, Path("copy"))
OTHER = PlaceSettings("b-idc-0", "b", Site.IDC, 0, "127.0.0.1", 2)
SETTINGS = SiteSettings(
    site=Site.IDC, home_dir=Path(), etcd_urls=(), cells=(CellSettings("a", Site.IDC),), places=(PLACE, OTHER),
    agent_urls={}, agent_port=0, api_port=0, valkey_port=0, pg_bin=Path(), passfile=Path(), key_file=Path(),
)  # fmt: skip
GRANT = Grant("a", 7, IDC, frozenset({CLOUD}), Mode.SYNC)
EXPOSURE = Exposure(IDC, 7, 1000, 400, None, 3, 12_345, None, "2026-11-22T00:00:00+00:00")
PRIMARY = OwnCopy(
    "a-idc-0", Site.IDC, CopyState.PRIMARY, IDC, open=True, wal_flush_lsn=1000,
    followers=(FollowerSeen(CLOUD, True, 700),),
)  # fmt: skip


def seen(own: OwnCopy) -> Seen:
    return Seen("a", Site.IDC, own, read_ok=True, grant=GrantSeen(GRANT, 1))


def snapshot(own: OwnCopy = PRIMARY, exposure: Exposure | None = EXPOSURE) -> AgentSnapshot:
    exposures = {Site.IDC: {"a": exposure}} if exposure else {}
    world = World({"a": GrantSeen(GRANT, 1)}, {}, False, exposures)
    return AgentSnapshot(Site.IDC, world, True, 1, {Site.CLOUD: 1500}, {"a-idc-0": (seen(own), None)})


def figures(now: AgentSnapshot) -> dict[tuple[str, ...], float]:
    """The figures as Prometheus reads them: name, and label values by the order of the labels' names."""
    text = generate_latest(metrics_registry(lambda: agent_figures(now))).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_figures_are_those_of_the_last_look() -> None:
    found = figures(snapshot())
    assert found["biyi_cell_epoch", "a"] == 7
    assert found["biyi_cell_mode", "a", "SYNC"] == 1
    assert found["biyi_cell_mode", "a", "ALONE"] == 0
    assert found["biyi_cell_primary", "idc", "a", "a-idc-0"] == 1
    assert found["biyi_cell_sync_copies", "a"] == 1
    assert found["biyi_cell_exposed_bytes", "a"] == 600
    assert found["biyi_cell_exposed_yuan", "a"] == pytest.approx(123.45)
    assert found["biyi_copy_lag_bytes", "a-cloud-0", "a-idc-0"] == 300
    assert found["biyi_site_silent_seconds", "cloud"] == 1.5
    assert found["biyi_etcd_members_silent",] == 1
    assert found["process_resident_memory_bytes",] > 0


def test_what_is_not_known_is_no_zero() -> None:
    unknown = replace(EXPOSURE, base_lsn=None, moved_fen=None)
    found = figures(snapshot(exposure=unknown))
    assert not any(name[0].startswith("biyi_cell_exposed") for name in found)
    assert figures(snapshot(exposure=None))["biyi_cell_exposed_bytes", "a"] == 0
    without = replace(snapshot(), world=None)
    assert not any(name[0].startswith("biyi_cell") for name in figures(without))


@pytest.mark.parametrize(
    ("own", "serves"),
    [
        (PRIMARY, True),
        (replace(PRIMARY, open=False), False),
        (replace(PRIMARY, state=CopyState.STANDBY, stream=Stream.ALIVE), True),
        (replace(PRIMARY, state=CopyState.STANDBY, stream=Stream.GONE), False),
        *(
            (replace(PRIMARY, state=state), False)
            for state in (CopyState.STOPPED, CopyState.MUTE, CopyState.BROKEN)
        ),
    ],
)
def test_a_copy_serves_as_open_primary_or_following_standby(own: OwnCopy, serves: bool) -> None:
    assert is_serving(seen(own)) == serves


def face(now: AgentSnapshot, *, looks: bool) -> web.Application:
    async def next_look() -> int:
        if not looks:
            await asyncio.Event().wait()
        return 1

    application = web.Application()
    application.add_routes(health_routes(SETTINGS, lambda: now, next_look))
    application.add_routes(metrics_routes(lambda: agent_figures(now)))
    return application


async def test_a_fenced_copy_is_alive_and_not_ready() -> None:
    fenced = replace(PRIMARY, state=CopyState.STOPPED, open=False)
    async with TestClient(TestServer(face(snapshot(fenced), looks=True))) as client:
        assert (await client.get("/livez")).status == 200
        ready = await client.get("/readyz")
        assert ready.status == 503
        assert (await ready.json())["waits"] == {"a-idc-0": {"state": "stopped", "why": "not looked at yet"}}
        shown = await client.get("/metrics")
        assert shown.headers["Content-Type"].startswith("text/plain")
        assert 'biyi_copy_serves{place="a-idc-0"} 0.0' in await shown.text()


async def test_an_agent_that_looks_no_more_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "LIVE_SECONDS", 0.05)
    async with TestClient(TestServer(face(snapshot(), looks=False))) as client:
        assert (await client.get("/livez")).status == 503
        assert (await client.get("/readyz")).status == 200


@pytest.mark.parametrize("plain", [True, False])
async def test_leaving_moves_own_primaries_only_and_says_whether_all_went(made: Path, plain: bool) -> None:
    own = None if plain else tls_dir(made, "idc")
    identity = Identity(own, "agent")
    asked: list[tuple[str, str]] = []
    outcomes = {"a": "done"}
    grants = {
        "a": {"primary": "a-idc-0-aaaa"},
        "b": {"primary": "b-idc-0-cccc"},
        "c": {"primary": "c-cloud-0-d"},
    }
    table = web.RouteTableDef()

    @table.get("/v1/status")
    async def status(_: web.Request) -> web.Response:
        return web.json_response({"grants": grants})

    @table.post("/v1/cells/{cell}/move")
    async def move(request: web.Request) -> web.Response:
        asked.append((request.match_info["cell"], (await request.json())["to"]))
        return web.json_response({"outcome": outcomes["a"], "why": "said the test"}, status=409)

    application = web.Application(middlewares=admit_only(identity, asking={OPERATOR}))
    application.add_routes(table)
    server = TestServer(application)
    await server.start_server(ssl=identity.serving())
    async with server:
        assert server.port is not None
        settings = replace(SETTINGS, agent_port=server.port, tls_dir=own)
        assert await leave(settings) == 0
        assert asked == [("a", "cloud")]  # b stands beside, but is another agent's
        outcomes["a"] = "refused"
        assert await leave(settings) == 1
    assert await leave(settings) == 1  # nobody answers
