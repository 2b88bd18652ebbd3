"""Our side: the stand as `biyi stand up` makes it; clients follow the grants."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any, Self

import psycopg

from bench.peers.load import CONNECTION, Connection, Session
from replication.etcd import Etcd, Snapshot
from replication.grants import GRANTS, follow_grants
from replication.model import Grant, Mode, Site
from replication.postgres.copy import ADMIN, APP, DATABASE, OWNER
from replication.settings import PlaceSettings, SiteSettings
from replication.tls import Tls, calling
from runbooks.stand.home import UpOptions, wipe
from runbooks.stand.sites import kill_site
from runbooks.stand.topology import Stand, site_settings
from runbooks.stand.up import down, up

CELL = "a"
"""The cell that gets the load; its home, idc, is the site that is lost."""


class Ours:
    """A whole stand of its own, made by `async with` and gone afterwards. Clients are at cloud."""

    name = "biyi"
    etcd_prefix = GRANTS

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="biyi-peers-"))
        self._stand: Stand | None = None
        self._grant: Grant | None = None
        self._following: asyncio.Task[None] | None = None
        self._etcd: Etcd | None = None

    async def __aenter__(self) -> Self:
        try:
            self._stand = (await up(self.home, UpOptions())).stand
            self._etcd = await Etcd(self.etcd_urls, self.tls).__aenter__()
            self._following = asyncio.create_task(self._follow(self._etcd))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._etcd is not None:
            await self._etcd.__aexit__(None, None, None)
        await asyncio.to_thread(down, self.home)
        wipe(self.home)
        shutil.rmtree(self.home)

    async def connect(self) -> Session:
        """Connect to the primary that the newest grant names."""
        grant = self._grant
        if grant is None or grant.mode not in (Mode.SYNC, Mode.ALONE):
            raise psycopg.OperationalError("nobody may write now")
        connection = await self._connect(self._settings.place(grant.primary.place), APP)
        return Session(connection, grant.epoch)

    async def make_schema(self, statements: str) -> None:
        """Run `statements` as the owner of the primary's database."""
        while self._grant is None:  # `up` has seen it, so it comes
            await asyncio.sleep(0.02)
        place = self._settings.place(self._grant.primary.place)
        async with await self._connect(place, OWNER) as connection:
            await connection.execute(statements.encode())

    async def connect_survivors(self) -> list[Connection]:
        """Return an administrator's session with each copy that will be left."""
        return [await self._connect(place, ADMIN) for place in self._survivors()]

    @property
    def survivors(self) -> frozenset[int]:
        """Ports of the servers that will be left."""
        return frozenset(place.port for place in self._survivors())

    @property
    def etcd_urls(self) -> tuple[str, ...]:
        """etcd's members, the survivors first."""
        return self._settings.etcd_urls

    @property
    def tls(self) -> Tls:
        """How etcd is called."""
        return calling(self._settings.tls_dir, "etcd")

    def noticed(self, snapshot: Snapshot) -> bool:
        """Say whether the cell is being taken over, or was."""
        return Grant.from_json(snapshot.values[GRANTS + CELL].value).epoch > 1

    def kill(self) -> int:
        """SIGKILL every process of idc at once; return when, in monotonic nanoseconds. Blocks."""
        return int(kill_site(self.home, Site.IDC, keep_links=True) * 1e9)

    @property
    def _settings(self) -> SiteSettings:
        if self._stand is None:
            raise RuntimeError("Ours is used outside `async with`")
        return site_settings(self._stand, Site.CLOUD)

    def _survivors(self) -> list[PlaceSettings]:
        return [place for place in self._settings.own_places() if place.cell == CELL]

    async def _connect(self, place: PlaceSettings, role: str) -> Connection:
        where: dict[str, Any] = {"host": place.host, "port": place.port, "user": role, "dbname": DATABASE}
        return await psycopg.AsyncConnection.connect(
            **CONNECTION, **where, passfile=str(self._settings.passfile)
        )

    async def _follow(self, etcd: Etcd) -> None:
        async for grants in follow_grants(etcd):
            if CELL in grants:
                self._grant = grants[CELL].grant
