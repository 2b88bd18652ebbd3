"""What a `Drill` does: taken on by one steward, asked of the agent, ended with what the agent says."""

import asyncio
import datetime as dt
import urllib.error
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from replication.agent import routes
from replication.grants import read_world
from replication.platform.cluster import DRILLS, Conflict
from replication.platform.drills import FORGOTTEN, DrillRunner
from tests.cluster.api_server import ApiServer
from tests.cluster.scene import DRILL, Scene

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    "spec",
    [
        {"runbook": "format-all-disks", "cell": "a", "to": "cloud"},
        {"runbook": "planned-move", "cell": "a", "to": "witness"},
        {"runbook": "planned-move", "cell": "a"},
    ],
    ids=["unknown runbook", "no such site", "no site"],
)
def test_a_drill_of_another_shape_is_refused_by_the_api_server(
    told: tuple[ApiServer, str], spec: dict[str, str]
):
    body = {"apiVersion": "biyi.io/v1", "kind": "Drill", "metadata": {"name": "bad"}, "spec": spec}
    with pytest.raises(urllib.error.HTTPError, match="422"):
        told[0].ask("POST", DRILL.format("").rstrip("/"), body)


async def test_a_drill_is_taken_on_once(scene: Scene):
    body = {
        "apiVersion": "biyi.io/v1", "kind": "Drill", "metadata": {"name": "once"},
        "spec": {"runbook": "planned-move", "cell": "a", "to": "cloud"},
    }  # fmt: skip
    await asyncio.to_thread(scene.server.ask, "POST", DRILL.format("").rstrip("/"), body)
    async with scene.cluster() as cluster, aiohttp.ClientSession() as session:
        runner = DrillRunner(cluster, scene.platform, session)
        drill = await cluster.read(DRILLS, "once")
        assert drill is not None
        at = dt.datetime.now(dt.UTC)
        mine = await runner.claim(drill, at, 3)
        assert mine is not None
        assert mine["status"] == {"phase": "Running", "startedAt": at.isoformat(), "epochBefore": 3}
        with pytest.raises(Conflict):
            await runner.claim(drill, at, 3)
        await runner.carry_out(mine, None)
    ended = await scene.look(DRILL.format("once"))
    assert ended["status"]["phase"] == "Refused"
    with pytest.raises(urllib.error.HTTPError, match="422"):
        await asyncio.to_thread(
            scene.server.ask,
            "PATCH",
            DRILL.format("once"),
            {"spec": {"to": "idc"}},
            "application/merge-patch+json",
        )


async def ask_for(scene: Scene, name: str, cell: str, to: str) -> None:
    body = {
        "apiVersion": "biyi.io/v1", "kind": "Drill", "metadata": {"name": name},
        "spec": {"runbook": "planned-move", "cell": cell, "to": to},
    }  # fmt: skip
    if await scene.look(DRILL.format(name)):
        await asyncio.to_thread(scene.server.ask, "DELETE", DRILL.format(name))
    await asyncio.to_thread(scene.server.ask, "POST", DRILL.format("").rstrip("/"), body)


async def test_a_drill_ends_with_what_the_agent_says(scene: Scene):
    """The agent's own routes; of the agent itself only what it answers before it would touch PostgreSQL."""
    view = SimpleNamespace(sight=SimpleNamespace(world=await read_world(scene.etcd)))
    agent: Any = SimpleNamespace(settings=scene.settings, view=view, loops={}, etcd=scene.etcd)
    application = web.Application()
    application.add_routes(routes(agent))
    async with TestServer(application) as server:
        url = str(server.make_url("")).rstrip("/")
        scene.platform = replace(scene.platform, agents=dict.fromkeys(scene.platform.agents, url))
        await ask_for(scene, "there-already", "a", "idc")
        async with scene.steward(), scene.steward():
            done = await scene.until(DRILL.format("there-already"), ended)
            await ask_for(scene, "not-here", "a", "cloud")
            refused = await scene.until(DRILL.format("not-here"), ended)
    assert done["status"]["phase"] == "Done"
    assert (done["status"]["epochBefore"], done["status"]["epochAfter"]) == (3, 3)
    assert refused["status"]["phase"] == "Refused"
    assert "ask its agent" in refused["status"]["message"]


async def test_a_drill_whose_agent_does_not_answer_is_unknown_and_not_repeated(scene: Scene):
    scene.platform = replace(
        scene.platform, agents=dict.fromkeys(scene.platform.agents, "http://127.0.0.1:9")
    )
    await ask_for(scene, "silent", "b", "idc")
    async with scene.steward():
        found = await scene.until(DRILL.format("silent"), ended)
        assert found["status"]["phase"] == "Unknown"
        await asyncio.sleep(5)
    assert (await scene.look(DRILL.format("silent")))["status"] == found["status"]


async def test_a_drill_that_lost_its_steward_is_called_unknown(scene: Scene):
    await ask_for(scene, "left", "b", "idc")
    async with scene.cluster() as cluster, aiohttp.ClientSession() as session:
        drill = await cluster.read(DRILLS, "left")
        assert drill is not None
        long_ago = dt.datetime.now(dt.UTC) - FORGOTTEN - dt.timedelta(seconds=1)
        await DrillRunner(cluster, scene.platform, session).claim(drill, long_ago, 3)
    async with scene.steward():
        found = await scene.until(DRILL.format("left"), ended)
    assert found["status"]["phase"] == "Unknown"
    assert "did not come back" in found["status"]["message"]


def ended(drill: Any) -> bool:
    return drill.get("status", {}).get("phase") in {"Done", "Refused", "Unknown"}
