"""Two real API servers, one a site, and a steward's scene, for all tests of this directory."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from replication.etcd import Etcd, EtcdUnavailable
from runbooks.stand.binaries import find_etcd
from tests.cluster.api_server import ApiServer, write_kubeconfig
from tests.cluster.manifests import Manifests, apply, apply_all, pod_of, render
from tests.cluster.scene import CELL, HOME, SLICE, Scene, documents, soon
from tests.integration.postgres.places import free_port


@pytest.fixture(scope="session")
def idc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    yield from _server("idc", tmp_path_factory.mktemp("idc"))


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    yield from _server("cloud", tmp_path_factory.mktemp("cloud"))


def _server(name: str, directory: Path) -> Iterator[ApiServer]:
    server = ApiServer(name, directory)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def kubeconfig(idc: ApiServer, cloud: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kubeconfig(tmp_path_factory.mktemp("kube") / "config", idc, cloud)


@pytest.fixture(scope="session")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    return render("idc", tmp_path_factory.mktemp("manifests"))


@pytest.fixture(scope="session")
def told(idc: ApiServer, manifests: Manifests) -> tuple[ApiServer, str]:
    """The data centre's cluster with all of its workloads, and the token of the steward's account."""
    apply_all(idc, manifests)
    for place in ("a-idc-0", "a-idc-1", "b-idc-0"):
        apply(idc, pod_of(manifests, place))
    account = "/api/v1/namespaces/biyi/serviceaccounts/biyi-steward/token"
    token = idc.ask(
        "POST", account, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    )
    return idc, token["status"]["token"]


@pytest.fixture
def etcd_url(tmp_path: Path) -> Iterator[str]:
    url, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    flags = {
        "name": "only", "data-dir": str(tmp_path / "etcd"), "listen-client-urls": url,
        "advertise-client-urls": url, "listen-peer-urls": peer, "initial-advertise-peer-urls": peer,
        "initial-cluster": f"only={peer}", "log-level": "error",
    }  # fmt: skip
    command = [str(find_etcd()[0]), *(f"--{name}={value}" for name, value in flags.items())]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield url
    process.kill()
    process.wait()


@pytest_asyncio.fixture
async def scene(
    told: tuple[ApiServer, str], manifests: Manifests, etcd_url: str, tmp_path: Path
) -> AsyncIterator[Scene]:
    server, token = told
    for cell in HOME:
        if await asyncio.to_thread(server.found, SLICE.format(cell)):
            await asyncio.to_thread(server.ask, "DELETE", SLICE.format(cell))
        if await asyncio.to_thread(server.found, CELL.format(cell)):
            await asyncio.to_thread(server.ask, "DELETE", CELL.format(cell))
    for place in ("a-idc-0", "a-idc-1", "b-idc-0"):
        body = {"metadata": {"labels": {"biyi.io/epoch": None, "biyi.io/role": None}}}
        path = f"/api/v1/namespaces/biyi/pods/{place}-0"
        await asyncio.to_thread(server.ask, "PATCH", path, body, "application/merge-patch+json")
    settings, platform = documents(manifests, tmp_path, etcd_url)
    async with Etcd(settings.etcd_urls) as etcd:
        made = Scene(server, etcd, settings, platform, token)
        await soon(lambda: _put(etcd), "etcd serves", seconds=60)
        for primary, sync in HOME.values():
            await made.grant(3, primary, sync)
        beats = asyncio.create_task(made.beat())
        yield made
        beats.cancel()


async def _put(etcd: Etcd) -> bool:
    try:
        await etcd.put("/test/up", "x")
    except EtcdUnavailable:
        return False
    return True
