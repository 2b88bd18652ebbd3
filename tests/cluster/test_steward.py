"""The steward against a real API server: what it tells, and that what goes wrong there moves no cell."""

import asyncio
import json
import ssl
import urllib.request
from typing import Any

import aiohttp
import pytest

from replication.grants import GRANTS
from replication.model import Mode, Site
from replication.platform.cluster import SLICES, Conflict
from replication.platform.writes import Verb, plan_slice
from tests.cluster.api_server import TOKEN, ApiServer
from tests.cluster.scene import AUTOSCALER, CELL, HOME, SITE, SLICE, Scene, soon

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def ready(found: Any) -> bool:
    return bool(found["endpoints"][0]["conditions"]["ready"])


def address(found: Any) -> str:
    return str(found["endpoints"][0]["addresses"][0])


def held(pod: Any) -> dict[str, str]:
    return dict(pod["metadata"]["labels"])


async def change(scene: Scene, path: str, body: object) -> None:
    """Change an object by hand, as a person with every right would."""
    await asyncio.to_thread(scene.server.ask, "PATCH", path, body, "application/merge-patch+json")


def epoch(found: Any) -> int:
    return int(found["metadata"]["annotations"]["biyi.io/epoch"])


def told(found: Any) -> int | None:
    """Return the epoch in a cell's status; none between the object's creation and its first status."""
    epoch = found.get("status", {}).get("epoch")
    return None if epoch is None else int(epoch)


def condition(found: Any, kind: str) -> tuple[str, str]:
    (one,) = [c for c in found.get("status", {}).get("conditions", []) if c["type"] == kind] or [{}]
    return one.get("status", ""), one.get("reason", "")


async def test_a_primary_is_an_address_of_its_epoch(scene: Scene):
    async with scene.steward():
        first = await scene.until(SLICE.format("a"), lambda s: epoch(s) == 3)
        assert address(first) == scene.platform.addresses["a-idc-0"]
        assert ready(first)
        await scene.grant(4, "a-idc-0", "a-cloud-0", mode=Mode.TAKING, candidate="a-cloud-0")
        await scene.until(SLICE.format("a"), lambda s: epoch(s) == 4 and not ready(s))
        await scene.grant(4, "a-cloud-0", mode=Mode.ALONE)
        moved = await scene.until(SLICE.format("a"), lambda s: epoch(s) == 4 and ready(s))
        assert address(moved) == scene.platform.addresses["a-cloud-0"]
        assert moved["metadata"]["labels"]["kubernetes.io/service-name"] == "cell-a-primary"


async def test_pods_are_labelled_with_role_and_epoch(scene: Scene):
    pod = "/api/v1/namespaces/biyi/pods/{}-0"
    async with scene.steward():
        for place, role in (("a-idc-0", "primary"), ("a-idc-1", "follower"), ("b-idc-0", "sync")):
            wanted = {"biyi.io/role": role, "biyi.io/epoch": "3"}
            await scene.until(
                pod.format(place), lambda p, w=wanted: w.items() <= p["metadata"]["labels"].items()
            )
        await scene.grant(5, "a-cloud-0", "a-idc-0")
        found = await scene.until(
            pod.format("a-idc-0"), lambda p: p["metadata"]["labels"]["biyi.io/epoch"] == "5"
        )
        assert found["metadata"]["labels"]["biyi.io/role"] == "sync"


async def test_cells_and_sites_are_objects_with_columns_and_conditions(scene: Scene):
    async with scene.steward():
        cell = await scene.until(CELL.format("a"), lambda c: condition(c, "Writable")[0] == "True")
        assert cell["status"]["primary"] == "a-idc-0"
        assert cell["status"]["syncCopies"] == ["a-cloud-0"]
        assert condition(cell, "Protected") == ("True", "SyncCopies")
        since = {c["type"]: c["lastTransitionTime"] for c in cell["status"]["conditions"]}
        await scene.grant(4, "a-cloud-0", mode=Mode.ALONE)
        cell = await scene.until(CELL.format("a"), lambda c: told(c) == 4)
        assert condition(cell, "Protected") == ("False", "Alone")
        assert condition(cell, "AtHome") == ("False", "Away")
        now = {c["type"]: c["lastTransitionTime"] for c in cell["status"]["conditions"]}
        assert now["Writable"] == since["Writable"]
        assert now["Protected"] > since["Protected"]
        site = await scene.until(SITE.format("idc"), lambda s: condition(s, "Alive")[0] == "True")
        assert condition(site, "Burst") == ("False", "BothSitesServe")
        table = await asyncio.to_thread(columns, scene.server, CELL.format("a"))
        assert {k: table[k] for k in ("Epoch", "Primary", "Mode", "Home", "Writable")} == {
            "Epoch": 4, "Primary": "a-cloud-0", "Mode": "ALONE", "Home": "idc", "Writable": "True",
        }  # fmt: skip


def columns(server: ApiServer, path: str) -> dict[str, Any]:
    """Return what `kubectl get` shows of an object."""
    headers = {
        "Authorization": f"Bearer {TOKEN}", "Accept": "application/json;as=Table;v=v1;g=meta.k8s.io",
    }  # fmt: skip
    context = ssl.create_default_context(cafile=str(server.directory / "certificates/apiserver.crt"))
    with urllib.request.urlopen(
        urllib.request.Request(server.url + path, headers=headers), context=context
    ) as a:
        table = json.load(a)
    names = [column["name"] for column in table["columnDefinitions"]]
    return dict(zip(names, table["rows"][0]["cells"], strict=True))


async def test_what_a_person_changes_is_put_right_at_once(scene: Scene):
    async with scene.steward():
        await scene.until(SLICE.format("a"), lambda s: epoch(s) == 3)
        wrong = {"endpoints": [{"addresses": ["10.66.66.66"], "conditions": {"ready": True}}]}
        path = SLICE.format("a")
        await change(scene, path, wrong)
        await scene.until(path, lambda s: address(s) == scene.platform.addresses["a-idc-0"])


async def test_what_a_later_epoch_wrote_stays_whatever_an_old_look_says(scene: Scene):
    await scene.grant(7, "a-cloud-0", "a-idc-0")
    async with scene.steward():
        await scene.until(SLICE.format("a"), lambda s: epoch(s) == 7)
        await scene.until(CELL.format("a"), lambda c: told(c) == 7)
    await scene.grant(6, "a-idc-0", "a-cloud-0")  # what a steward that slept would still believe
    async with scene.steward() as late:
        await soon(lambda: late.figures.writes["endpointslices", "refuse"] > 2, "refused")
        await soon(lambda: late.figures.writes["cells", "refuse"] > 2, "refused")
        await soon(lambda: late.figures.writes["pods", "refuse"] > 2, "refused")
    assert epoch(await scene.look(SLICE.format("a"))) == 7
    assert (await scene.look(CELL.format("a")))["status"]["epoch"] == 7


async def test_a_plan_made_on_an_old_version_is_not_carried_out(scene: Scene):
    async with scene.steward():
        await scene.until(SLICE.format("a"), lambda s: epoch(s) == 3)
    async with scene.cluster() as cluster:
        held, _ = await cluster.list(SLICES)
        (old,) = [one for one in held if one["metadata"]["name"] == "cell-a-primary"]
        label = {"metadata": {"labels": {"somebody": "else"}}}
        path = SLICE.format("a")
        await change(scene, path, label)
        head = {key: old["metadata"][key] for key in ("name", "labels", "annotations")}
        other = [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}]
        wanted = {**old, "metadata": head, "endpoints": other}
        write = plan_slice(old, wanted)
        assert write.verb is Verb.REPLACE
        with pytest.raises(Conflict):
            await cluster.write(SLICES, "cell-a-primary", write)
        with pytest.raises(Conflict):
            await cluster.write(SLICES, "cell-a-primary", plan_slice(None, wanted))


async def test_three_stewards_and_a_meddler_agree_in_the_end(scene: Scene):
    async with scene.steward() as one, scene.steward() as two, scene.steward() as three:
        for turn in range(4, 14):
            await scene.grant(turn, *(HOME["a"] if turn % 2 else HOME["a"][::-1]))
            label = {"metadata": {"labels": {"turn": str(turn)}}}
            path = SLICE.format("a")
            if await scene.look(path):
                await change(scene, path, label)
        last = await scene.until(SLICE.format("a"), lambda s: epoch(s) == 13)
        assert address(last) == scene.platform.addresses["a-idc-0"]
        await scene.until(CELL.format("a"), lambda c: told(c) == 13)
        assert sum(each.figures.conflicts for each in (one, two, three)) > 0


async def test_a_watch_from_too_long_ago_is_begun_anew(scene: Scene):
    await asyncio.to_thread(scene.server.kill)
    await asyncio.to_thread(scene.server.start)  # knows no history before its start
    async with scene.cluster() as cluster:
        with pytest.raises(Conflict, match="too old"):
            async for _ in cluster.watch(SLICES, "1"):
                pass


async def test_a_frozen_api_server_holds_up_nothing_but_what_it_is_told(scene: Scene):
    async with scene.steward() as steward:
        await scene.until(SLICE.format("a"), lambda s: epoch(s) == 3)
        with scene.server.frozen():
            await soon(lambda: steward.figures.cluster_up is False, "the freeze is noticed")
            await scene.grant(4, "a-cloud-0", "a-idc-0")
            before = await scene.etcd.read_prefix(GRANTS)
            await asyncio.sleep(2)
            after = await scene.etcd.read_prefix(GRANTS)
        assert before.values == after.values
        await scene.until(SLICE.format("a"), lambda s: epoch(s) == 4)
        await soon(lambda: steward.figures.cluster_up is True, "it answers again")


async def test_an_api_server_that_was_lost_is_told_everything_when_it_is_back(scene: Scene):
    async with scene.steward() as steward:
        await scene.until(SLICE.format("a"), lambda s: epoch(s) == 3)
        before = (await scene.etcd.read_prefix(GRANTS)).values
        await asyncio.to_thread(scene.server.kill)
        await soon(lambda: steward.figures.cluster_up is False, "the loss is noticed")
        assert (await scene.etcd.read_prefix(GRANTS)).values == before
        await scene.grant(4, "a-cloud-0", "a-idc-0")
        await asyncio.to_thread(scene.server.start)
        await scene.until(SLICE.format("a"), lambda s: epoch(s) == 4)


async def test_without_etcd_nothing_is_written(scene: Scene):
    async with scene.steward() as steward:
        await scene.until(SLICE.format("a"), lambda s: epoch(s) == 3)
        for _ in range(2):
            steward._sight.read_ok = False
            kept = dict(steward.figures.writes)
            async with asyncio.TaskGroup() as tasks:
                await steward.tell(tasks)
            assert dict(steward.figures.writes) == kept


async def test_a_lost_site_raises_the_survivors_api_and_fail_back_lowers_it(scene: Scene):
    def bound(found: Any) -> int:
        return int(found["spec"]["minReplicas"])

    async with scene.steward():
        await scene.until(AUTOSCALER, lambda h: bound(h) == 2)
        scene.beating.discard(Site.CLOUD)
        await scene.until(AUTOSCALER, lambda h: bound(h) == 4)
        await scene.until(SITE.format("idc"), lambda s: condition(s, "Burst") == ("True", "OtherSiteLost"))
        await scene.until(SITE.format("cloud"), lambda s: condition(s, "Alive") == ("False", "Lost"))
        await scene.grant(4, "b-idc-0", mode=Mode.ALONE)
        scene.beating.add(Site.CLOUD)
        await scene.until(SITE.format("cloud"), lambda s: condition(s, "Alive") == ("True", "Beats"))
        await scene.grant(5, "b-idc-0", "b-cloud-0")
        await scene.until(CELL.format("b"), lambda c: told(c) == 5)
        assert bound(await scene.look(AUTOSCALER)) == 4  # the other site beats, but its cell is still here
        await scene.grant(6, "b-cloud-0", "b-idc-0")
        await scene.until(AUTOSCALER, lambda h: bound(h) == 2)


async def test_the_stewards_account_may_nothing_else(scene: Scene):
    headers = {"Authorization": f"Bearer {scene.token}"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(ssl=False)) as session:
        for method, path in (
            ("GET", "/api/v1/namespaces/biyi/secrets"),
            ("DELETE", "/api/v1/namespaces/biyi/pods/a-idc-0-0"),
            ("GET", "/api/v1/namespaces/kube-system/pods"),
            ("DELETE", "/apis/biyi.io/v1/namespaces/biyi/cells/a"),
        ):
            async with session.request(method, scene.server.url + path) as answer:
                assert answer.status == 403, path
