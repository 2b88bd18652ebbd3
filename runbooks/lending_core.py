"""The lending core as a command of the operator opens it: the stand's addresses, its keys, its router."""

import datetime as dt
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from compliance.protection.vault import open_vault
from core_app.business_calendar import business_date_at
from core_app.core import LendingCore
from core_app.products.catalogue import read_catalogue
from core_app.router import Router
from core_app.router_line import STAFF_SESSIONS
from core_app.staff.portal import Portal, make_portal
from replication.tls import calling
from runbooks.cells import site_settings

PATIENCE_SECONDS = 10.0
"""Patience with each cell. Source: our choice, twice the promised 5 s of a failover."""


@asynccontextmanager
async def open_core() -> AsyncIterator[LendingCore]:
    """Yield a core with a router that has begun to look for every cell's primary."""
    settings = next(iter(site_settings().values()))
    vault = open_vault(settings.key_file)
    async with Router.start(settings, tls=calling(settings.tls_dir, "etcd")) as router:
        yield LendingCore(
            router=router,
            vault=vault,
            catalogue=read_catalogue(),
            site=str(settings.site),
            deadline_seconds=PATIENCE_SECONDS,
            new_uuid=uuid.uuid4,
            read_today=_read_today,
        )


@asynccontextmanager
async def open_portal() -> AsyncIterator[Portal]:
    """Yield the staff portal, logging in to the first cell as biyi_staff."""
    settings = next(iter(site_settings().values()))
    tls = calling(settings.tls_dir, "etcd")
    async with open_core() as core, Router.start(settings, STAFF_SESSIONS, tls=tls) as router:
        yield make_portal(core, router)


def _read_today() -> dt.date:
    return business_date_at(dt.datetime.now(dt.UTC))  # noqa: TID251 - a command is a shell: it reads the clock
