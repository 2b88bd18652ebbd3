"""Staff who look at customers, search and log in by one site's portal on a schedule, as load of a drill."""

import asyncio
import contextlib
import datetime as dt
import itertools
import random
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from compliance.access.desk import Origin
from compliance.access.errors import AccessRefused
from compliance.access.signing_in import Attempt, log_in
from compliance.protection.vault import open_vault
from core_app.core import LendingCore
from core_app.errors import Refused
from core_app.products.catalogue import read_catalogue
from core_app.router import CellUnavailable, Router
from core_app.router_line import Sessions
from core_app.staff.looks import Purpose, Subject, Viewer, Wish
from core_app.staff.pages import Action, Page, search
from core_app.staff.portal import make_portal
from core_app.staff.service import look
from replication.model import Site
from replication.settings import SiteSettings
from replication.tls import calling

LOOKS_PER_S = 20.0
"""Acts a second by each site's portal. Source: our choice; a few hundred over the drill at each site."""
SEARCH_EACH = 10
"""Each how many acts one is a search: an event without a customer. Source: our choice, about 100 a site."""
LOGIN_EACH = 45
"""Each how many acts one is a login under a name that nobody has: a record that scoring passes over.
Source: our choice; hashing a password costs far more than a look."""
_DEADLINE_S = 10.0
_SERIAL_DIGITS = 8


@dataclass(slots=True)
class Lookers:
    """Staff of one site's portal; what they were shown (looks, pages of searches) and what failed.

    `names` are no accounts: a look needs none here, and a login under one is refused.
    """

    site: Site
    names: Sequence[str]
    customers: Sequence[str]
    seed: int
    shown: set[str] = field(default_factory=set)
    searches: set[str] = field(default_factory=set)
    logins: int = 0
    failed: int = 0

    async def run(self, core: LendingCore, stop: asyncio.Event) -> None:
        """Act on schedule until told to stop; nobody waits for an act that hangs."""
        draw = random.Random(self.seed)  # noqa: S311 - not for keys
        pending: set[asyncio.Task[None]] = set()
        begun = time.monotonic()
        for number in itertools.count():
            wait = begun + number / LOOKS_PER_S - time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(wait, 0.0))
            if stop.is_set():
                break
            task = asyncio.create_task(self._act(core, draw, number))
            pending.add(task)
            task.add_done_callback(pending.discard)
        await asyncio.gather(*pending)

    async def _act(self, core: LendingCore, draw: random.Random, number: int) -> None:
        viewer = Viewer(draw.choice(self.names), "service", "drill", "drill-1", None)
        try:
            if number % LOGIN_EACH == LOGIN_EACH - 1:
                await self._log_in(core, viewer)
            elif number % SEARCH_EACH == SEARCH_EACH - 1:
                serial = draw.randrange(10**_SERIAL_DIGITS)
                page = Page(Action.SEARCH, Purpose.CUSTOMER_REQUEST, None, "phone")
                found = await search(core, viewer, page, f"139{serial:0{_SERIAL_DIGITS}}")
                self.searches.add(found.page_id)
            else:
                customer = draw.choice(self.customers)
                wish = Wish(Subject.CUSTOMER, customer, ("name",), False, Purpose.CUSTOMER_REQUEST, None)
                self.shown.add(str((await look(core, viewer, wish)).answer.body["look_id"]))
        except (CellUnavailable, Refused, OSError):
            self.failed += 1

    async def _log_in(self, core: LendingCore, viewer: Viewer) -> None:
        desk = make_portal(core, core.router).desk
        with contextlib.suppress(AccessRefused):
            await log_in(desk, Attempt(viewer.staff, "no password", None), Origin("127.0.0.1", "drill"))
        self.logins += 1


@contextlib.asynccontextmanager
async def open_entrance(settings: SiteSettings, sessions: Sessions) -> AsyncIterator[LendingCore]:
    """Yield a core as a site's entrance has it, past the same border."""
    async with Router.start(settings, sessions, tls=calling(settings.tls_dir, "etcd")) as router:
        yield LendingCore(
            router=router,
            vault=open_vault(settings.key_file),
            catalogue=read_catalogue(),
            site=str(settings.site),
            deadline_seconds=_DEADLINE_S,
            new_uuid=uuid.uuid4,
            read_today=lambda: dt.datetime.now(dt.UTC).date(),  # noqa: TID251 - a runbook is a shell
        )
