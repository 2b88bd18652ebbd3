"""A rotation of every sealed table: real rings of two sites, real cells; cut off anywhere, it goes on."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from compliance.access.roles import Role
from compliance.protection import held_keys
from compliance.protection import ring as rings
from compliance.protection.fields import PROTECTED_COLUMNS
from compliance.protection.key_file import ensure_key_file
from compliance.protection.ring_file import make_ring
from compliance.protection.ring_keeper import LocalKeeper
from compliance.protection.vault import Vault, open_vault
from core_app.core import LendingCore
from core_app.customers.reseal import SEALED_TABLES, count_columns, reseal_batch
from core_app.staff.portal import make_portal
from runbooks.keys import root_operations, rotate
from runbooks.keys.rotate import Rotated, Rotation, RotationStuck
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.lending import make_person
from tests.integration.core_app.people import seat

PATHS = {f"{column.table}.{column.name}" for column in PROTECTED_COLUMNS if column.sealed}
CELLS = SimpleNamespace(cells=[SimpleNamespace(name="a"), SimpleNamespace(name="b")])


@dataclass
class Site:
    """Two rings, a vault that follows one, and rows sealed under the first version in both cells."""

    keepers: dict[str, LocalKeeper]
    vault: Vault
    owners: dict[str, Any]

    def rotation(self, advance: Callable[[int, int], None] = lambda done, total: None) -> Rotation:
        settings: Any = CELLS
        return Rotation(dict(self.keepers), self.vault, settings, 1e6, lambda text: None, advance)

    def states(self, table: str) -> dict[str, dict[str, str]]:
        return {site: dict(keeper.head().states[table]) for site, keeper in self.keepers.items()}

    async def versions(self) -> dict[str, set[int]]:
        """Return the versions in use by sealed column, over both cells."""
        found: dict[str, set[int]] = {path: set() for path in PATHS}
        for owner in self.owners.values():
            for path, uses in (await count_columns(owner)).items():
                found[path] |= uses.keys()
        return found


@pytest.fixture
async def site(
    tmp_path: Path, core: LendingCore, cells: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    keepers = {}
    for name, ring in rings.plant_rings(("cloud", "idc"), os.urandom).items():
        path = tmp_path / name / "ring.json"
        ensure_key_file(path.parent / "root.key")
        make_ring(path, ring, {"kind": "file", "file": "root.key"})
        keepers[name] = LocalKeeper(path)
    vault = open_vault(keepers["idc"].path)
    sealing = replace(core, vault=vault)
    async with serve_api(sealing, None, portal=make_portal(sealing, core.router.staff)) as client:  # type: ignore[attr-defined]
        for _ in range(6):
            assert (await client.post("/v1/customers", make_person()))[0] == 201
    await seat(make_portal(sealing, core.router.staff), "an.bo", Role.SYSTEM_ADMIN)  # type: ignore[attr-defined]
    owners = {
        cell: await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_owner"), autocommit=True)
        for cell, database in cells.databases.items()
    }

    async def run_in_cell(_: Any, cell: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
        async with owners[cell].transaction():
            return await work(owners[cell])

    monkeypatch.setattr(rotate, "run_in_cell", run_in_cell)
    monkeypatch.setattr(root_operations, "run_in_cell", run_in_cell)
    for wait in ("WRITERS_S", "READERS_S", "LOOK_EVERY_S"):
        monkeypatch.setattr(rotate, wait, 0.01)
    await asyncio.sleep(0)
    yield Site(keepers, vault, owners)
    for owner in owners.values():
        await owner.close()


def assert_done(site: Site, rotated: Rotated, newest: int) -> None:
    assert dict(rotated.versions) == dict.fromkeys(SEALED_TABLES, newest)
    for table in SEALED_TABLES:
        wanted = {str(v): "retired" for v in range(1, newest)} | {str(newest): "primary"}
        assert set(map(str, site.states(table))) == {"idc", "cloud"}
        assert list(site.states(table).values()) == [wanted, wanted]


async def test_no_value_of_any_sealed_column_stays_under_a_retired_version(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our vault notices the new version late: until then no row is re-wrapped, or it would be done again."""
    monkeypatch.setattr(held_keys, "LOOK_EVERY_S", 0.4)
    assert await site.versions() == {path: {1} for path in PATHS}, "each column has something to re-wrap"
    rotated = await site.rotation().run()
    assert_done(site, rotated, 2)
    assert await site.versions() == {path: {2} for path in PATHS}
    assert {path for proof in rotated.proofs.values() for path in proof.left} == PATHS
    assert [proof.rows_left for proof in rotated.proofs.values()] == [0, 0]
    assert all(set(proof.closed) == set(SEALED_TABLES) for proof in rotated.proofs.values())
    assert rotated.rows == 9, "six people, three of the staff"
    closed = "select relation, key_version from keys.closed_versions order by 1"
    for owner in site.owners.values():
        rows = await (await owner.execute(closed)).fetchall()
        assert rows == [(table, 1) for table in sorted(SEALED_TABLES)]


@pytest.mark.parametrize("at", [1, 2, 3, 5, 8])
async def test_cut_off_after_any_step_the_same_command_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Each call of a keeper or a cell may be the last one of a run."""
    calls = 0

    class Cut(Exception):
        pass

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == at * 3:
            raise Cut

    straight = rotate.run_in_cell
    for name in ("send", "receive", "promote", "retire", "grow"):
        plain = getattr(LocalKeeper, name)

        def counted(self: Any, *words: Any, _plain: Any = plain) -> Any:
            done = _plain(self, *words)
            count()
            return done

        monkeypatch.setattr(LocalKeeper, name, counted)

    async def cell(settings: Any, name: str, work: Any) -> Any:
        done = await straight(settings, name, work)
        count()
        return done

    monkeypatch.setattr(rotate, "run_in_cell", cell)
    with pytest.raises(Cut):
        await site.rotation().run()
    rotated = await site.rotation().run()
    newest = rotated.versions["core.customers"]
    assert newest == 2
    assert (await site.versions())["core.customers.phone"] == {2}
    used = await site.versions()
    assert all(len(versions) == 1 for versions in used.values()), used


async def test_what_is_not_re_wrapped_is_not_proved(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A re-wrapping that forgets a table cannot end in a retired version."""

    async def forgetful(connection: Any, vault: Any, version: int, limit: int, table: Any) -> int:
        return (
            0
            if table.name == "access.accounts"
            else await reseal_batch(connection, vault, version, limit, table)
        )

    monkeypatch.setattr(rotate, "reseal_batch", forgetful)
    with pytest.raises(RotationStuck, match=r"3 of access\.accounts\.totp_secret"):
        await site.rotation().run()
    assert "retired" not in {
        state for one in site.states("access.accounts").values() for state in one.values()
    }
