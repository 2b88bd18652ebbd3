"""Probes that read a database are lied to at their source: triggers off, rows gone, secrets in clear.

What reads files, listeners and packages is forged in tests/unit/compliance/test_probe_sources.py.
"""

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from compliance.access.desk import Desk
from compliance.controls.catalogue import read_catalogue
from compliance.controls.gather import gather_readings
from compliance.controls.ground import Ground, Trail
from compliance.controls.judge import State, judge_reading, worst
from compliance.controls.probes.trail import TRIGGERS
from core_app.sql.apply import read_migrations
from core_app.staff.portal import make_portal
from tests.integration.core_app.lending import register
from tests.integration.core_app.test_controls import ground, site_of
from tests.unit.compliance.probed_house import NEEDS_DATABASE

CATALOGUE = read_catalogue()
ELSEWHERE = {
    "transport", "passwords", "rights", "replication", "lockout", "second-factor", "accounts", "separation",
}  # fmt: skip
"""Forged in test_controls.py."""
YES, NO, OPEN = State.MET, State.NOT_MET, State.UNKNOWN
SITE = "idc"


class House(NamedTuple):
    """One cell with commands in it, as the data centre's only copy."""

    ground: Ground
    folder: Path
    run: Callable[[str], None]
    """Does what only a superuser behind the append-only triggers could."""


@pytest.fixture
async def house(client: Any, core: Any, cells: Any, tmp_path: Path, monkeypatch: Any) -> House:
    for _ in range(5):  # one of two cells then has three: commands are compared with what came before them
        await register(client)
    counts = {database: await count_commands(cells, database) for database in cells.databases.values()}
    database = max(counts, key=lambda one: counts[one])
    monkeypatch.setattr("replication.postgres.observe.DATABASE", database)

    def run(statement: str) -> None:
        # Each -c is a transaction of its own: `alter system` is refused within one.
        replica = "set session_replication_role = replica"
        cells.server.run("psql", "-U", "biyi_admin", "-d", database, "-v", "ON_ERROR_STOP=1", "-q",
                         "-c", replica, "-c", statement)  # fmt: skip

    run(checkpoint_of(dt.datetime.now(dt.UTC)))
    desk: Desk = make_portal(core, core.router.staff).desk
    site = site_of(cells.server, tmp_path)
    shown = dataclasses.replace(ground(desk, {SITE: site}, tmp_path), verify_trail=good_trail)
    return House(shown, tmp_path, run)


async def count_commands(cells: Any, database: str) -> int:
    narrow = dataclasses.replace(cells, databases={"it": database})
    return len(await narrow.rows("select from core.commands"))


def checkpoint_of(at: dt.datetime) -> str:
    line = json.dumps({"at": at.isoformat()})
    return (
        "delete from audit.checkpoints; insert into audit.checkpoints values"
        f" ('{SITE}', 1, '{line}', decode(repeat('00', 64), 'hex'), decode(repeat('00', 32), 'hex'))"
    )


async def good_trail() -> Trail:
    return Trail(3, (), True)


async def state_of(house: House, name: str) -> State:
    """Ask one probe as `biyi controls run` does, and judge it."""
    narrow = dataclasses.replace(CATALOGUE, probes={name: CATALOGUE.probes[name]})
    readings = await gather_readings(house.ground, narrow)
    now = dt.datetime.now(dt.UTC)
    judged = [each for one in readings for each in judge_reading(CATALOGUE, name, one, now)]
    return worst(state for state, _, _ in judged)


SEALED = next(
    " ".join(found.split())
    for migration in read_migrations()
    for found in re.findall(
        r"add constraint customers_sealed (check \(.*?\));", migration.statements, re.DOTALL
    )
)
"""The constraint that such a row would break: a superuser who forges it drops that first."""
# Probe, what is done to its source, how it is undone where the next test would see it, what comes of it.
FORGED = [
    ("audit-coverage", "alter table core.outbox disable trigger told_is_audited",
     "alter table core.outbox enable trigger told_is_audited", NO),
    ("audit-coverage", "alter table audit.entries disable trigger append_only",
     "alter table audit.entries enable trigger append_only", NO),
    ("audit-coverage", "alter table core.outbox enable replica trigger told_is_audited",
     "alter table core.outbox enable trigger told_is_audited", NO),
    ("audit-coverage", "delete from audit.entries", "", NO),
    ("audit-coverage", "update audit.entries set line = (line::jsonb - 'role')::text", "", NO),
    ("audit-coverage", "update audit.entries set line = (line::jsonb || '{\"key\": \"another\"}')::text",
     "", NO),
    ("audit-chain", "delete from audit.checkpoints", "", OPEN),
    ("audit-chain", checkpoint_of(dt.datetime.now(dt.UTC) - dt.timedelta(days=1)), "", NO),
    ("audit-retention", "delete from audit.entries", "", OPEN),
    ("audit-retention", "delete from audit.blocks; insert into audit.blocks (number, upto, line, digests,"
     " hash) values (2, '2', '{}', '', decode(repeat('00', 32), 'hex'))", "", NO),
    ("sealed", "alter table core.customers drop constraint customers_sealed; "
     "update core.customers set phone = convert_to('13812345678', 'UTF8')",
     "delete from core.customers; alter table core.customers add constraint customers_sealed " + SEALED, NO),
    ("sealed", "update core.commands set kind = 'call 13812345678'", "", NO),
    ("sealed", "create table core.leak (note text)", "drop table core.leak", NO),
    ("sealed", "insert into keys.closed_versions select 'core.customers', keys.sealed_version(name)"
     " from core.customers limit 1", "delete from keys.closed_versions", NO),
]  # fmt: skip


def test_every_probe_with_a_database_is_forged() -> None:
    assert {name for name, *_ in FORGED} | ELSEWHERE | {"integrity"} == NEEDS_DATABASE


@pytest.mark.parametrize("name", ["audit-coverage", "audit-chain", "audit-retention", "sealed"])
async def test_a_good_source_is_met(house: House, name: str) -> None:
    assert await state_of(house, name) is YES


async def test_a_server_without_fsync_is_not_met(house: House) -> None:
    """The tests' own server has none; tests/faults/test_level_3.py sees the same probe met at a stand."""
    assert await state_of(house, "integrity") is NO


@pytest.mark.parametrize(("name", "lie", "undo", "expected"), FORGED, ids=lambda one: str(one)[:60])
async def test_a_forged_source_is_seen(house: House, name: str, lie: str, undo: str, expected: State) -> None:
    try:
        for statement in lie.split("; "):
            house.run(statement)
        assert await state_of(house, name) is expected
    finally:
        for statement in undo.split("; "):
            house.run(statement)


async def broken_trail() -> Trail:
    return Trail(3, ("gap: block 2 is missing",), True)


async def lone_trail() -> Trail:
    return Trail(3, (), False)


async def empty_trail() -> Trail:
    return Trail(0, (), True)


async def lost_trail() -> Trail:
    raise TimeoutError("the export did not end")


@pytest.mark.parametrize(
    ("trail", "expected"), [(broken_trail, NO), (lone_trail, NO), (empty_trail, NO), (lost_trail, OPEN)]
)
async def test_a_trail_that_does_not_verify_is_seen(
    house: House, trail: Callable[[], Awaitable[Trail]], expected: State
) -> None:
    shown = house._replace(ground=dataclasses.replace(house.ground, verify_trail=trail))
    assert await state_of(shown, "audit-chain") is expected


async def test_a_trigger_that_only_has_the_name_is_seen_by_what_it_leaves_out(
    house: House, client: Any, cells: Any
) -> None:
    """A trigger that is on and writes nothing: the list of triggers is satisfied, the commands are not."""
    definition = await cells.rows(
        "select pg_get_triggerdef(oid) from pg_trigger where tgname = 'told_is_audited'", user="biyi_admin"
    )
    house.run(
        "create function core.say_nothing() returns trigger language plpgsql as 'begin return null; end'"
    )
    house.run("drop trigger told_is_audited on core.outbox")
    house.run(
        "create trigger told_is_audited after insert on core.outbox execute function core.say_nothing()"
    )
    try:
        for _ in range(16):  # one of them comes to this cell, or the hash of customers is none
            await register(client)
        assert await state_of(house, "audit-coverage") is NO
    finally:
        house.run("drop trigger told_is_audited on core.outbox")
        house.run(definition[0][0])
        house.run("drop function core.say_nothing()")


async def test_a_log_with_a_phone_number_is_found(house: House) -> None:
    (house.folder / "api.log").write_text("called 13812345678 twice\n")
    assert await state_of(house, "sealed") is NO


async def test_the_probe_knows_every_trigger_that_writes_the_trail(cells: Any) -> None:
    made = await cells.rows(
        "select n.nspname || '.' || c.relname, t.tgname::text from pg_trigger t"
        " join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace"
        " where not t.tgisinternal and (t.tgname like '%audited' or n.nspname = 'audit')"
    )
    assert set(made) == set(TRIGGERS)


async def test_nothing_of_a_copy_that_is_away_is_met(house: House) -> None:
    away = dataclasses.replace(
        house.ground, sites={SITE: site_of(type("Away", (), {"port": 1}), house.folder)}
    )
    for name in sorted(
        {name for name, *_ in FORGED} | {"integrity", "transport", "passwords", "rights", "replication"}
    ):
        assert await state_of(house._replace(ground=away), name) is OPEN, name
