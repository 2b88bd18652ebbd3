"""What a client sees when no cell can be reached: the real router, and nobody at the other end."""

import asyncio
import dataclasses
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from compliance.protection.key_file import ensure_key_file
from core_app.router import Router
from replication.model import Site
from replication.settings import CellSettings, SiteSettings, write_site_settings
from runbooks.tokens import channel_token
from tests.integration.core_app.lending import make_person


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_settings(folder: Path) -> SiteSettings:
    ensure_key_file(folder / "field.key")
    (folder / "valkey.password").write_text("of a Valkey that is not up")
    return SiteSettings(
        site=Site.IDC,
        home_dir=folder,
        etcd_urls=(f"http://127.0.0.1:{closed_port()}",),
        cells=(CellSettings("a", Site.IDC), CellSettings("b", Site.CLOUD)),
        places=(),
        agent_urls={},
        agent_port=closed_port(),
        api_port=closed_port(),
        valkey_port=closed_port(),
        valkey_passfile=folder / "valkey.password",
        pg_bin=folder,
        passfile=folder / "pgpass",
        key_file=folder / "field.key",
    )


@pytest.fixture
async def core(core: Any, tmp_path: Path) -> Any:
    async with Router.start(make_settings(tmp_path), tls=True) as router:
        yield dataclasses.replace(core, router=router, deadline_seconds=0.2)


async def test_a_write_past_its_deadline_is_503_and_says_that_nothing_was_done(client: Any) -> None:
    status, problem, headers = await client.post("/v1/customers", make_person())
    assert (status, problem["outcome"], headers["Retry-After"]) == (503, "not_done", "1")
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["Biyi-Cell"] in {"a", "b"}


async def test_every_operation_ends_at_its_deadline(client: Any) -> None:
    """Each is asked with its documented example; the deadline here is 0.2 s, a request's patience 5 s."""
    _, document, _ = await client.get("/openapi.json")
    assert "ProblemAnswer" in document["components"]["schemas"], "the served document is the completed one"
    unavailable = set()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            parameters = operation["parameters"]
            shown = {p["name"]: p["example"] for p in parameters if p["in"] == "path"}
            headers = {p["name"]: p["example"] for p in parameters if p["in"] == "header"}
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            async with asyncio.timeout(5):
                url = path.format(**shown)
                status, _, _ = await client.send(method, url, headers=headers, json=body.get("example"))
            assert str(status) in operation["responses"], (method, path)
            if status == 503:
                unavailable.add((method, path))
    # What asks no cell, for instance for a price, may answer; the most ask one.
    assert len(unavailable) >= 12


async def test_readiness_says_which_cells_are_missing(client: Any) -> None:
    status, body, _ = await client.get("/readyz")
    assert (status, body["unreachable"]) == (503, ["a", "b"])


async def test_the_process_serves_at_once_and_ends_in_peace(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    file = tmp_path / "site.json"
    write_site_settings(file, settings)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "core_app.api", "--settings", str(file), stderr=asyncio.subprocess.PIPE
    )
    try:
        assert await _becomes_healthy(settings.api_port)
        url = f"http://127.0.0.1:{settings.api_port}"
        async with aiohttp.ClientSession() as session:
            channel = {"Authorization": f"Bearer {channel_token(settings)}"}
            for headers, expected in ((channel, 404), ({}, 401)):
                async with session.get(url + "/v1/loans/x", headers=headers) as answer:
                    assert answer.status == expected
            async with session.get(url + "/readyz") as answer:
                assert (await answer.json())["rate_limit"] == {"refused": 0, "unchecked": 2}
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, errors.decode()


async def _becomes_healthy(port: int) -> bool:
    deadline = time.monotonic() + 20
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline:
            try:
                async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
                    return answer.status == 200
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)  # between two tries at a condition, not instead of one
    return False


async def test_a_key_file_that_others_can_read_refuses_the_start(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    settings.key_file.chmod(0o644)
    file = tmp_path / "site.json"
    write_site_settings(file, settings)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "core_app.api", "--settings", str(file), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert "needs 0600" in errors.decode()
