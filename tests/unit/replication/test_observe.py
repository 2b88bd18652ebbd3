"""What one look joins: the own copy and the shared world, each as it was last seen."""

from pathlib import Path
from typing import cast

from replication.failover.observe import CopyObserver
from replication.failover.ports import CopyServer, Directory
from replication.failover.sight import SiteSight
from replication.grants import World
from replication.model import CopyId, Grant, GrantSeen, Mode, Site
from replication.settings import CellSettings, PlaceSettings, SiteSettings

IDC, CLOUD = CopyId.parse("a-idc-0-aaaa"), CopyId.parse("a-cloud-0-bbbb")
PLACE = PlaceSettings("a-idc-0", "a", Site.IDC, 0, "127.0.0.1", 1)
SETTINGS = SiteSettings(
    site=Site.IDC, home_dir=Path(), etcd_urls=(), cells=(CellSettings("a", Site.IDC),), places=(PLACE,),
    agent_urls={}, agent_port=0, api_port=0, valkey_port=0, pg_bin=Path(), passfile=Path(), key_file=Path(),
)  # fmt: skip


def world(epoch: int, primary: CopyId, revision: int) -> World:
    grant = Grant("a", epoch, primary, frozenset(), Mode.ALONE)
    return World({"a": GrantSeen(grant, revision)}, {}, hold=False)


class SlowServer:
    """While its directory is looked at, the site's view reads the world once more."""

    place = PLACE

    def __init__(self, sight: SiteSight) -> None:
        self._sight = sight

    async def read_directory(self) -> Directory:
        await self._sight.look()
        return Directory(present=False, broken=False, running=False, standby=False, copy=None)


async def test_a_grant_read_during_a_long_look_at_the_server_counts():
    worlds = [world(1, IDC, 10), world(2, CLOUD, 20)]

    async def read() -> World:
        return worlds.pop(0)

    sight = SiteSight(SETTINGS, read, lambda: 0)
    await sight.look()
    server = cast(CopyServer, SlowServer(sight))
    seen = await CopyObserver(SETTINGS, server, sight, lambda: 0).observe()
    assert seen.grant is not None
    assert (seen.grant.revision, seen.grant.grant.primary) == (20, CLOUD)
