"""Sessions of a slot move: as the owner of the tables, on the primary that a cell's grant names."""

import contextlib
from collections.abc import AsyncIterator

import psycopg

from core_app.moving.copying import Connection
from core_app.moving.statements import APPLICATION
from replication.etcd import Etcd
from replication.grants import read_world
from replication.settings import SiteSettings
from replication.transport import plan_calling


class CellAway(psycopg.OperationalError):
    """A cell has no primary that could be asked; the message says which."""


@contextlib.asynccontextmanager
async def open_owner(settings: SiteSettings, etcd: Etcd, cell: str) -> AsyncIterator[Connection]:
    """Yield a session on a cell's current primary; autocommit. psycopg.OperationalError when there is none.

    A primary that is replaced takes its sessions with it, and acknowledges no commit without its sync copy:
    what goes on here afterwards cannot succeed.
    """
    seen = (await read_world(etcd)).grants.get(cell)
    if seen is None:
        raise CellAway(f"cell {cell} has no grant")
    place = settings.place(seen.grant.primary.place)
    connection = await psycopg.AsyncConnection.connect(
        **plan_calling(place), dbname="biyi", user="biyi_owner", passfile=str(settings.passfile),
        connect_timeout=5, autocommit=True, application_name=APPLICATION, tcp_user_timeout=3000,
    )  # fmt: skip
    async with connection:
        await connection.execute("select biyi.require_epoch(%s)", [seen.grant.epoch])
        yield connection
