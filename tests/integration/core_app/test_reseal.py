"""Rows change their key version while the core writes; a closed version takes none; the shredded are gone."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from compliance.access.roles import Role
from compliance.protection import ring as rings
from compliance.protection.errors import SealBroken
from compliance.protection.fields import CUSTOMER_NAME, CUSTOMER_PHONE, PROTECTED_COLUMNS, STAFF_TOTP_SECRET
from compliance.protection.held_keys import HeldKeys, hold_ring
from compliance.protection.vault import Vault
from core_app.core import LendingCore
from core_app.customers.reseal import (
    SEALED_TABLES,
    TABLE,
    VersionUse,
    close_versions,
    count_columns,
    count_uses,
    forget_customer,
    reopen_version,
    reseal_batch,
)
from core_app.staff.portal import make_portal
from tests.integration.core_app.conftest import Client, serve_api
from tests.integration.core_app.lending import make_person
from tests.integration.core_app.people import seat


class TurningKeys:
    """Keys that a test turns."""

    def __init__(self) -> None:
        self.ring = rings.plant_rings(["idc"], os.urandom)["idc"]

    def __call__(self) -> HeldKeys:
        return hold_ring(self.ring)

    refresh = __call__

    def turn(self, table: str = TABLE) -> None:
        newest = max(each.version for each in self.ring.tables[table])
        indexed = ["id_number", "phone"] if table == TABLE else []
        fresh = rings.grow_version(newest + 1, indexed, os.urandom)
        self.ring = rings.promote(rings.add_version(self.ring, table, fresh), table, newest + 1)


@pytest.fixture
def keys() -> TurningKeys:
    return TurningKeys()


@pytest.fixture
def vault(keys: TurningKeys) -> Vault:
    return Vault(keys, lambda: os.urandom(12))


@pytest.fixture
async def client(core: LendingCore, vault: Vault) -> AsyncIterator[Client]:
    async with serve_api(replace(core, vault=vault), None) as made:
        yield made


@pytest.fixture
async def owners(cells: Any) -> AsyncIterator[list[Any]]:
    made = [
        await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_owner"), autocommit=True)
        for database in cells.databases.values()
    ]
    yield made
    for connection in made:
        await connection.close()


async def reseal(owners: list[Any], vault: Vault, version: int, limit: int = 100) -> int:
    total = 0
    for owner in owners:
        async with owner.transaction():
            total += await reseal_batch(owner, vault, version, limit)
    return total


async def register(client: Client, count: int) -> dict[str, dict[str, str]]:
    people = {}
    for _ in range(count):
        person = make_person()
        status, made, _ = await client.post("/v1/customers", person)
        assert status == 201
        people[made["customer_id"]] = person
    return people


async def test_rows_are_resealed_in_batches_and_read_as_before(
    client: Client, keys: TurningKeys, vault: Vault, owners: list[Any]
) -> None:
    people = await register(client, 7)
    before = {id_: (await client.get(f"/v1/customers/{id_}"))[1] for id_ in people}
    keys.turn()
    moved = []
    while (done := await reseal(owners, vault, 1, limit=2)) > 0:
        moved.append(done)
        for id_ in people:
            assert (await client.get(f"/v1/customers/{id_}"))[1] == before[id_]
    assert sum(moved) == 7
    assert len(moved) > 1
    assert await reseal(owners, vault, 1) == 0
    uses = [await count_uses(owner) for owner in owners]
    assert sum(use[1].rewrapped for use in uses if 1 in use) == 7
    assert all(use[1].rows == 0 for use in uses if 1 in use)
    assert sum(use[2].rows for use in uses if 2 in use) == 7
    keys.ring = rings.retire(keys.ring, TABLE, 1)
    for id_, person in people.items():
        assert (await client.get(f"/v1/customers/{id_}"))[1] == before[id_]
        found = [
            row
            for owner in owners
            for row in await (
                await owner.execute(
                    "select customer_id from core.customers where phone_index = any(%s)",
                    [vault.search_indexes(CUSTOMER_PHONE, person["phone"])],
                )
            ).fetchall()
        ]
        assert found == [(id_,)]


async def test_a_row_that_business_holds_is_left_for_later(
    client: Client, keys: TurningKeys, vault: Vault, owners: list[Any], cells: Any
) -> None:
    (id_,) = await register(client, 1)
    keys.turn()
    holders = [
        await psycopg.AsyncConnection.connect(cells.server.dsn(database, "biyi_app"))
        for database in cells.databases.values()
    ]
    for holder in holders:
        await holder.execute("select 1 from core.customers where customer_id = %s for update", [id_])
    assert await reseal(owners, vault, 1) == 0
    for holder in holders:
        await holder.rollback()  # a closed session's locks go only when its server process has noticed
        await holder.close()
    assert await reseal(owners, vault, 1) == 1


async def test_a_closed_version_takes_no_row_until_it_is_reopened(
    client: Client, keys: TurningKeys, vault: Vault, owners: list[Any]
) -> None:
    for owner in owners:
        await close_versions(owner, [1])
        await close_versions(owner, [1])
    # The direct router of the tests passes the refusal on; no row is left behind.
    status, _, _ = await client.post("/v1/customers", make_person())
    assert status == 500
    assert [await count_uses(owner) for owner in owners] == [{}, {}]
    before = keys.ring
    keys.turn()
    await register(client, 2)
    keys.ring = before
    for owner in owners:
        await reopen_version(owner, 1)
    await register(client, 2)


async def test_a_damaged_row_stops_the_batch_and_changes_nothing(
    client: Client, keys: TurningKeys, vault: Vault, owners: list[Any]
) -> None:
    (id_,) = await register(client, 1)
    for owner in owners:
        await owner.execute(
            "update core.customers set phone = set_byte(phone, length(phone) - 1,"
            " 255 - get_byte(phone, length(phone) - 1)) where customer_id = %s",
            [id_],
        )
    keys.turn()
    with pytest.raises(SealBroken, match=f"phone of {id_}"):
        await reseal(owners, vault, 1)
    uses = [await count_uses(owner) for owner in owners]
    assert sum(use[1].rows for use in uses if 1 in use) == 1


async def test_a_shredded_customer_is_gone_for_good_and_no_obstacle(
    client: Client, keys: TurningKeys, vault: Vault, owners: list[Any]
) -> None:
    people = await register(client, 2)
    gone, stays = people
    keys.ring = rings.shred(keys.ring, TABLE, gone)
    forgotten = [await forget_customer(owner, gone) for owner in owners]
    assert sorted(forgotten) == [False, True]
    status, body, _ = await client.get(f"/v1/customers/{gone}")
    assert (status, body["type"]) == (410, "urn:biyi:problem:personal-data-destroyed")
    assert (await client.get(f"/v1/customers/{stays}"))[0] == 200
    indexes = vault.search_indexes(CUSTOMER_PHONE, people[gone]["phone"])
    for owner in owners:
        rows = await owner.execute("select 1 from core.customers where phone_index = any(%s)", [indexes])
        assert await rows.fetchone() is None
    keys.turn()
    assert await reseal(owners, vault, 1) == 1
    merged: dict[int, list[VersionUse]] = {}
    for owner in owners:
        for version, use in (await count_uses(owner)).items():
            merged.setdefault(version, []).append(use)
    assert sum(use.shredded for use in merged[1]) == 1
    assert sum(use.rows for use in merged[1]) == 0


async def test_the_application_may_not_change_what_is_sealed_nor_close_a_version(cells: Any) -> None:
    dsn = cells.server.dsn("cell_a", "biyi_app")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        for statement in (
            "update core.customers set name = name",
            "update core.customers set phone_index = phone_index",
            "insert into keys.closed_versions (relation, key_version) values ('core.customers', 1)",
            "select * from keys.closed_versions",
            "delete from keys.shredded",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement.encode())


def test_every_sealed_field_counts_as_a_seal(vault: Vault) -> None:
    for number in range(3):
        vault.encrypt(CUSTOMER_NAME, f"C{number:024x}", "张三")
    assert vault.now().seals() == {(TABLE, 1): 3}


ACCOUNTS = SEALED_TABLES["access.accounts"]


def test_every_sealed_column_of_the_register_is_re_wrapped() -> None:
    sealed = {(column.table, column.name) for column in PROTECTED_COLUMNS if column.sealed}
    assert {(t.name, c.name) for t in SEALED_TABLES.values() for c in t.columns} == sealed


async def test_an_administrators_second_factor_is_resealed_and_still_opens(
    core: LendingCore, keys: TurningKeys, vault: Vault, owners: list[Any]
) -> None:
    portal = make_portal(replace(core, vault=vault), core.router.staff)  # type: ignore[attr-defined]
    for name in ("an.bo", "chen.yu"):
        await seat(portal, name, Role.SYSTEM_ADMIN)
    keys.turn("access.accounts")
    first = owners[0]
    async with first.transaction():
        assert await reseal_batch(first, vault, 1, 100, ACCOUNTS) == 2
    assert (await count_columns(first))["access.accounts.totp_secret"] == {2: 2}
    assert (await count_uses(first, ACCOUNTS))[1].rewrapped == 2
    keys.ring = rings.retire(keys.ring, "access.accounts", 1)
    rows = await (await first.execute("select staff, totp_secret from access.accounts")).fetchall()
    assert {vault.decrypt(STAFF_TOTP_SECRET, staff, bytes(sealed)) for staff, sealed in rows} == {"00" * 20}


async def test_a_closed_version_takes_no_second_factor(
    core: LendingCore, keys: TurningKeys, vault: Vault, owners: list[Any]
) -> None:
    portal = make_portal(replace(core, vault=vault), core.router.staff)  # type: ignore[attr-defined]
    await close_versions(owners[0], [1], "access.accounts")
    with pytest.raises(psycopg.Error) as refused:
        await seat(portal, "an.bo", Role.SYSTEM_ADMIN)
    assert refused.value.sqlstate == "BY120"
    keys.turn("access.accounts")
    await seat(portal, "an.bo", Role.SYSTEM_ADMIN)


async def test_the_database_takes_no_second_factor_in_clear(core: LendingCore, owners: list[Any]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="accounts_sealed"):
        await owners[0].execute(
            "insert into access.accounts (staff, branch, password_hash, totp_secret)"
            " values ('an.bo', 'branch-7', '$argon2id$x', convert_to(repeat('0', 40), 'UTF8'))"
        )
