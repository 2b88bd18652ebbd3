"""`biyi dashboards` against a strict stub of Grafana's HTTP API: not verified against a real Grafana.

An unknown route, an unknown field or a missing one fails, so the stub cannot be laxer than what it was
written from: Grafana 10 to 12's documents of the folder, dashboard and alert provisioning APIs.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result
from grafana_foundation_sdk.models.alerting import Rule
from grafana_foundation_sdk.models.dashboard import Dashboard

from runbooks.cli import main
from runbooks.dashboards import read_document

RULE_FIELDS = {
    "uid", "title", "folderUID", "ruleGroup", "condition", "data", "for", "labels", "annotations",
    "noDataState", "execErrState", "orgID",
}  # fmt: skip


@dataclass
class FakeGrafana:
    """Folders, dashboards and alert rules by uid; what it was asked to change."""

    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    boards: dict[str, dict[str, Any]] = field(default_factory=dict)
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Calls that a real Grafana would not have taken."""

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._strict])
        route = application.router
        route.add_post("/api/folders", self._create_folder)
        route.add_get("/api/folders/{uid}", partial(self._get, self.folders))
        route.add_put("/api/folders/{uid}", self._update_folder)
        route.add_delete("/api/folders/{uid}", partial(self._delete, self.folders))
        route.add_post("/api/dashboards/db", self._put_dashboard)
        route.add_get("/api/dashboards/uid/{uid}", self._get_dashboard)
        route.add_delete("/api/dashboards/uid/{uid}", partial(self._delete, self.boards))
        rules = "/api/v1/provisioning/alert-rules"
        route.add_post(rules, self._put_rule)
        route.add_put(rules + "/{uid}", self._put_rule)
        route.add_get(rules + "/{uid}", partial(self._get, self.alerts))
        route.add_delete(rules + "/{uid}", partial(self._delete, self.alerts))
        return application

    @web.middleware
    async def _strict(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != "Bearer good":
            return web.json_response({"message": "Invalid API key"}, status=401)
        try:
            answer: web.StreamResponse = await handler(request)
        except web.HTTPException:
            self.broken.append(f"{request.method} {request.path}: no such route")
            raise
        except AssertionError as error:
            self.broken.append(f"{request.method} {request.path}: {error}")
            return web.json_response({"message": str(error)}, status=400)
        if request.method != "GET":
            self.changed.append(f"{request.method} {request.path}")
        return answer

    async def _get(self, kept: dict[str, dict[str, Any]], request: web.Request) -> web.Response:
        found = kept.get(request.match_info["uid"])
        return web.json_response(found or {"message": "not found"}, status=200 if found else 404)

    async def _delete(self, kept: dict[str, dict[str, Any]], request: web.Request) -> web.Response:
        assert kept.pop(request.match_info["uid"], None) is not None, "not there"
        return web.json_response({"message": "deleted"})

    async def _create_folder(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert set(body) == {"uid", "title"}, f"fields {sorted(body)}"
        assert body["uid"] not in self.folders, "exists"
        self.folders[body["uid"]] = {"id": 1, "version": 1, **body}
        return web.json_response(self.folders[body["uid"]])

    async def _update_folder(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert set(body) <= {"title", "version", "overwrite", "uid"}, f"fields {sorted(body)}"
        self.folders[request.match_info["uid"]]["title"] = body["title"]
        return web.json_response(self.folders[request.match_info["uid"]])

    async def _put_dashboard(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert set(body) == {"dashboard", "folderUid", "overwrite", "message"}, f"fields {sorted(body)}"
        assert body["folderUid"] in self.folders, "no such folder"
        board = body["dashboard"]
        assert Dashboard.from_json(board).uid == board["uid"], "is no dashboard"
        self.boards[board["uid"]] = {**board, "id": 7, "version": 2}
        return web.json_response({"status": "success", "uid": board["uid"]})

    async def _get_dashboard(self, request: web.Request) -> web.Response:
        found = self.boards.get(request.match_info["uid"])
        if found is None:
            return web.json_response({"message": "Dashboard not found"}, status=404)
        return web.json_response({"dashboard": found, "meta": {"folderUid": "biyi"}})

    async def _put_rule(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert set(body) == RULE_FIELDS, f"fields {sorted(set(body) ^ RULE_FIELDS)}"
        assert Rule.from_json(body).title == body["title"], "is no rule"
        assert body["folderUID"] in self.folders, "no such folder"
        assert len(body["uid"]) <= 40, "uid too long"
        assert (body["uid"] in self.alerts) == (request.method == "PUT"), "POST is for new ones, PUT for old"
        self.alerts[body["uid"]] = {**body, "id": 3, "updated": "2026-11-22T00:00:00Z", "provenance": "api"}
        return web.json_response(self.alerts[body["uid"]], status=201)


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGrafana]:
    """The stub, served from a thread: the command under test blocks its own."""
    fake, loop, ready = FakeGrafana(), asyncio.new_event_loop(), threading.Event()
    stopped = asyncio.Event()

    async def serve() -> None:
        runner = web.AppRunner(fake.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        monkeypatch.setenv("GRAFANA_URL", f"http://127.0.0.1:{port}")
        ready.set()
        await stopped.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    monkeypatch.setenv("GRAFANA_TOKEN", "good")
    thread.start()
    assert ready.wait(10)
    yield fake
    loop.call_soon_threadsafe(stopped.set)
    thread.join(10)
    loop.close()
    assert fake.broken == []


def run(*command: str) -> Result:
    return CliRunner().invoke(main, ["dashboards", *command, "--json"])


def states(result: Result) -> set[str]:
    return {one["state"] for one in json.loads(result.output.splitlines()[0])}


def test_dashboards_and_alerts_are_applied_once_compared_and_taken_away(grafana: FakeGrafana) -> None:
    before = run("diff")
    assert (before.exit_code, states(before)) == (4, {"missing"})
    assert run("apply").exit_code == 0
    assert (len(grafana.boards), len(grafana.alerts), list(grafana.folders)) == (3, 22, ["biyi"])
    after = run("diff")
    assert (after.exit_code, states(after)) == (0, {"same"})

    grafana.changed.clear()
    assert states(run("apply")) == {"same"}
    assert grafana.changed == []

    grafana.boards["biyi-lending"]["title"] = "somebody's own"
    rule = next(iter(grafana.alerts.values()))
    rule["for"] = "9h"
    drifted = run("diff")
    changed = {one["title"]: one["fields"] for one in json.loads(drifted.output) if one["state"] == "changed"}
    assert changed == {"比翼：信贷 / Biyi: lending": ["title"], rule["title"]: ["for"]}
    run("apply")
    assert grafana.changed == [
        "POST /api/dashboards/db",
        f"PUT /api/v1/provisioning/alert-rules/{rule['uid']}",
    ]
    assert states(run("diff")) == {"same"}

    kept = run("delete")
    assert kept.exit_code == 1
    assert len(grafana.boards) == 3
    grafana.boards["someone-elses"] = {"uid": "someone-elses"}
    assert run("delete", "--execute").exit_code == 0
    assert (list(grafana.boards), grafana.alerts, grafana.folders) == (["someone-elses"], {}, {})


def test_what_grafana_refuses_is_told_and_a_dead_one_is_no_change(
    grafana: FakeGrafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", "bad")
    refused = run("diff")
    assert refused.exit_code == 1
    assert "Grafana refused" in refused.output
    monkeypatch.setenv("GRAFANA_URL", "http://127.0.0.1:1")
    assert run("diff").exit_code == 3
    monkeypatch.delenv("GRAFANA_URL")
    assert run("diff").exit_code == 2


def test_the_document_is_the_same_each_time() -> None:
    assert read_document("prometheus") == read_document("prometheus")
