"""Patroni's side: the same PostgreSQL and etcd, Patroni at its fastest legal settings.

Clients find the primary as libpq does with several hosts and target_session_attrs=read-write: asked of
PostgreSQL itself, every 20 ms, which is faster than asking Patroni's REST API first.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import aiohttp
import psycopg
import yaml

from bench.peers.environment import ensure_python, identity
from bench.peers.load import CONNECTION, Connection, Session
from bench.peers.patroni_conf import DATABASE, Node, plan_node
from replication.etcd import Etcd, EtcdUnavailable, Snapshot
from replication.model import Site
from replication.postgres.copy import ADMIN, APP, REPL
from runbooks.stand.binaries import SHARED_ROOT, find_etcd, find_postgres
from runbooks.stand.etcd_leader import lead_at_witness
from runbooks.stand.home import is_free
from runbooks.stand.ports import HIGHEST_PORT, LOWEST_PORT, choose_ports
from runbooks.stand.processes import (
    MARK,
    Program,
    Running,
    find_marked,
    mark_of,
    signal_processes,
    start_detached,
    wait_until_gone,
)
from runbooks.stand.programs import ELECTION_MS, HEARTBEAT_MS
from runbooks.stand.sites import KILL_PATIENCE_S
from runbooks.stand.topology import LOOPBACK, StandError

_UP_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.1
_ROLES = (ADMIN, REPL, APP)


class Patroni:
    """A Patroni cluster of its own, made by `async with` and gone afterwards.

    `strict` has three nodes, one at idc and two at cloud: strict synchronous mode never writes without a
    synchronous standby, so that after the loss a second survivor is needed. Without, two nodes.
    """

    name = "patroni"
    etcd_prefix = "/service/peers/"

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        names = ("idc", "cloud", "cloud2") if strict else ("idc", "cloud")
        wanted = [f"{site}/{kind}" for site in Site for kind in ("etcd-client", "etcd-peer")]
        wanted += [f"{name}/{kind}" for name in names for kind in ("postgres", "rest")]
        first = LOWEST_PORT + secrets.randbelow(HIGHEST_PORT - LOWEST_PORT - 100)
        self._ports = choose_ports(wanted, first, is_free)
        self._postgres = find_postgres()
        self._python = ensure_python(self._postgres.run_as)
        self._passwords = {role: secrets.token_urlsafe(24) for role in _ROLES}
        self.home = Path(tempfile.mkdtemp(prefix="biyi-patroni-", dir=SHARED_ROOT))
        self.home.chmod(0o755)
        self._nodes = [
            Node(name, self._ports[f"{name}/postgres"], self._ports[f"{name}/rest"], self.home / name)
            for name in names
        ]
        self._children: list[subprocess.Popen[bytes]] = []
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        try:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2), trust_env=False)
            self._start_etcd()
            await self._until("etcd has a leader", self._etcd_answers)
            await lead_at_witness(self._http, self, patience_s=5)  # type: ignore[arg-type]  # asks for URLs only
            self._start_node(self._nodes[0])
            await self._until("the first node leads", self._leads)
            for node in self._nodes[1:]:
                self._start_node(node)
            await self._until("every standby streams and one is synchronous", self._is_whole)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()
        self._kill_all(self._processes())
        for child in self._children:
            child.wait()
        shutil.rmtree(self.home)

    async def connect(self) -> Session:
        """Connect to whichever server admits writes, as libpq finds it."""
        return Session(await self._connect(self._nodes, APP, target_session_attrs="read-write"), None)

    async def make_schema(self, statements: str) -> None:
        """Make the clients' role and run `statements` as the administrator."""
        password = self._passwords[APP]
        async with await self._connect(self._nodes[:1], ADMIN) as connection:
            await connection.execute(f"create role {APP} login password '{password}'".encode())
            await connection.execute(statements.encode())

    async def connect_survivors(self) -> list[Connection]:
        """Return an administrator's session with each server that will be left."""
        return [await self._connect([node], ADMIN) for node in self._nodes[1:]]

    @property
    def survivors(self) -> frozenset[int]:
        """Ports of the servers that will be left."""
        return frozenset(node.port for node in self._nodes[1:])

    @property
    def etcd_urls(self) -> tuple[str, ...]:
        """etcd's members, the survivors first."""
        order = (Site.CLOUD, Site.WITNESS, Site.IDC)
        return tuple(map(self.etcd_url, order))

    def etcd_url(self, site: Site) -> str:
        """Return the client URL of an etcd member."""
        return f"http://{LOOPBACK}:{self.port(site, 'etcd-client')}"

    def calling(self, _holder: str) -> bool:
        """Its etcd speaks plain HTTP."""
        return True

    tls = True

    def port(self, site: Site, service: str) -> int:
        """Return the port of an etcd member."""
        return self._ports[f"{site}/{service}"]

    def noticed(self, snapshot: Snapshot) -> bool:
        """Say whether the killed leader's key in etcd has run out."""
        leader = snapshot.values.get(self.etcd_prefix + "leader")
        return leader is None or leader.value != self._nodes[0].name

    def kill(self) -> int:
        """SIGKILL idc's Patroni, PostgreSQL and etcd at once; return when, in monotonic ns. Blocks."""
        victims = self._processes("idc")
        killed_ns = time.monotonic_ns()
        self._kill_all(victims, "idc")
        return killed_ns

    def _kill_all(self, victims: list[Running], site: str = "") -> None:
        """SIGKILL all at once, then whatever was born meanwhile, until nothing is left; bounded."""
        end = time.monotonic() + KILL_PATIENCE_S
        while victims and time.monotonic() < end:
            signal_processes(victims, signal.SIGKILL)
            wait_until_gone(victims, KILL_PATIENCE_S / 4)
            victims = self._processes(site)
        if victims:
            raise StandError(f"Patroni: processes {[each.pid for each in victims]} survive SIGKILL")

    def _start_etcd(self) -> None:
        binary, version = find_etcd()
        urls = {kind: {site: f"http://{LOOPBACK}:{self.port(site, kind)}" for site in Site}
                for kind in ("etcd-client", "etcd-peer")}  # fmt: skip
        corrupt_check = "feature-gates=InitialCorruptCheck=true"
        if version < (3, 6):
            corrupt_check = "experimental-initial-corrupt-check=true"
        for site in Site:
            client, peer = urls["etcd-client"][site], urls["etcd-peer"][site]
            flags = (f"name={site}", f"data-dir={self.home / f'etcd-{site}'}",
                     f"listen-client-urls={client}", f"advertise-client-urls={client}",
                     f"listen-peer-urls={peer}", f"initial-advertise-peer-urls={peer}",
                     "initial-cluster=" + ",".join(f"{at}={url}" for at, url in urls["etcd-peer"].items()),
                     f"heartbeat-interval={HEARTBEAT_MS}", f"election-timeout={ELECTION_MS}",
                     "auto-compaction-mode=revision", "auto-compaction-retention=1000", "log-level=warn",
                     corrupt_check)  # fmt: skip
            command = (str(binary), *(f"--{flag}" for flag in flags))
            program = Program("etcd", command, self.port(site, "etcd-client"))
            start_detached(program, mark_of(self.home, site, "etcd"), self.home / f"etcd-{site}.log")

    def _start_node(self, node: Node) -> None:
        """Start Patroni as PostgreSQL's user, its configuration readable by that user only."""
        node.directory.mkdir(mode=0o700)
        conf = node.directory / "patroni.yml"
        plain = plan_node(node, self._postgres, self.etcd_urls, self._passwords, strict=self.strict)
        conf.touch(mode=0o600)
        conf.write_text(yaml.safe_dump(plain))
        user = identity(self._postgres.run_as)
        for path in (node.directory, conf):
            if user:
                os.chown(path, user["user"], user["group"])
        foreign = ("PG", "ETCD_", "PATRONI_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        extra = {"HOME": str(node.directory), "PYTHONDONTWRITEBYTECODE": "1",
                 MARK: mark_of(self.home, node.name, "patroni")}  # fmt: skip
        with (self.home / f"{node.name}.log").open("ab") as log:
            child = subprocess.Popen(
                [str(self._python), "-m", "patroni", str(conf)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=kept | extra, cwd="/",
                start_new_session=True, **user,
            )  # fmt: skip
        self._children.append(child)

    def _processes(self, site: str = "") -> list[Running]:
        """Return the processes of one site, or all: by their mark, PostgreSQL's by where they stand."""
        names = [site] if site else [str(each) for each in Site] + [node.name for node in self._nodes]
        found = [
            running for name in names for running in find_marked(f"{self.home}|{name}|", [self.home / name])
        ]
        return list({running.pid: running for running in found}.values())

    async def _connect(self, nodes: list[Node], role: str, **more: Any) -> Connection:
        hosts: dict[str, Any] = {
            "host": ",".join(LOOPBACK for _ in nodes),
            "port": ",".join(str(node.port) for node in nodes),
        }
        return await psycopg.AsyncConnection.connect(
            **CONNECTION, **hosts, user=role, password=self._passwords[role], dbname=DATABASE, **more
        )

    async def _until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        end = time.monotonic() + _UP_SECONDS
        while not await holds():
            if time.monotonic() > end:
                logs = "".join(path.read_text()[-600:] for path in sorted(self.home.glob("*.log")))
                raise StandError(f"Patroni: waited in vain that {what}; the logs end with\n{logs}")
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def _etcd_answers(self) -> bool:
        try:
            async with Etcd(self.etcd_urls) as etcd:
                await etcd.read_prefix("/service/")
        except EtcdUnavailable:
            return False
        return True

    async def _leads(self) -> bool:
        return any(m["role"] == "leader" and m["state"] == "running" for m in await self._members())

    async def _is_whole(self) -> bool:
        members = {m["name"]: m for m in await self._members()}
        standbys = [members.get(node.name, {}) for node in self._nodes[1:]]
        return all(m.get("state") == "streaming" for m in standbys) and any(
            m.get("role") == "sync_standby" for m in standbys
        )

    async def _members(self) -> list[dict[str, Any]]:
        if self._http is None:
            raise RuntimeError("Patroni is used outside `async with`")
        try:
            url = f"http://{LOOPBACK}:{self._nodes[0].rest_port}/cluster"
            async with self._http.get(url) as answer:
                members: list[dict[str, Any]] = json.loads(await answer.text())["members"]
                return members
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError):
            return []
