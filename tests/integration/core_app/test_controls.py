"""Level-3 evidence against real databases: two people attest, runs are chained, the lock is drilled live."""

import asyncio
import dataclasses
import datetime as dt
import ssl
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from compliance.access.desk import Desk, Origin, Session
from compliance.access.roles import Role
from compliance.access.rules import Scope
from compliance.access.settings import AccessSettings
from compliance.controls import attest as attesting
from compliance.controls.catalogue import read_catalogue
from compliance.controls.errors import AttestationRefused
from compliance.controls.gather import gather_readings
from compliance.controls.ground import Door, Ground, SiteGround, Trail
from compliance.controls.judge import Seen, State, judge
from compliance.controls.probes import databases, doors, people
from compliance.controls.readings import make_reading
from core_app.staff.portal import make_portal
from replication.model import Site
from replication.settings import PlaceSettings, SiteSettings
from tests.integration.core_app.people import seat

CATALOGUE = read_catalogue()
TODAY = dt.date(2026, 11, 22)


@pytest.fixture
def desk(core: Any) -> Desk:
    return make_portal(core, core.router.staff).desk


def session(staff: str, *roles: Role, scope: Scope = Scope.FULL) -> Session:
    return Session(staff, "head", roles, scope, Origin("cli", None), b"")


def wish(**changed: Any) -> attesting.Wish:
    made = attesting.Wish(
        "8.1.6.1", True, "The policy of 2026-03 is in force", "policy.pdf", b"policy", TODAY,
        TODAY + dt.timedelta(365),
    )  # fmt: skip
    return dataclasses.replace(made, **changed)


ZHANG = session("zhang.san", Role.SERVICE)
CHEN = session("chen.yu", Role.SECURITY_ADMIN)


async def state_of(desk: Desk, item: str) -> State:
    found = await attesting.list_attestations(desk)
    now = dt.datetime.combine(TODAY, dt.time(12), dt.UTC)
    return judge(CATALOGUE, Seen(("idc", "cloud"), now, [], found))[item].state


async def test_an_attestation_counts_once_two_people_made_it_and_not_after_it_is_withdrawn(
    desk: Desk, cells: Any
) -> None:
    made = await attesting.attest(desk, CATALOGUE, ZHANG, wish())
    assert await attesting.attest(desk, CATALOGUE, ZHANG, wish()) == made
    assert await state_of(desk, "8.1.6.1") is State.UNKNOWN
    await attesting.confirm(desk, CHEN, made)
    await attesting.confirm(desk, CHEN, made)
    assert await state_of(desk, "8.1.6.1") is State.MET
    await attesting.withdraw(desk, ZHANG, made, "the policy was replaced")
    assert await state_of(desk, "8.1.6.1") is State.UNKNOWN
    whats = await cells.rows("select line::jsonb ->> 'what' from audit.entries where line like '%insert%'")
    for table in ("attestations", "confirmations", "withdrawals"):
        assert (f"{table}.insert",) in whats


async def test_one_person_cannot_attest_alone(desk: Desk, cells: Any) -> None:
    chen_alone = await attesting.attest(desk, CATALOGUE, CHEN, wish())
    with pytest.raises(AttestationRefused, match="two people"):
        await attesting.confirm(desk, CHEN, chen_alone)
    statement = f"insert into controls.confirmations values ('{chen_alone}', 'chen.yu')"
    with pytest.raises(Exception, match="returned non-zero"):
        cells.run_sql(cells.databases["a"], statement)
    assert await state_of(desk, "8.1.6.1") is State.UNKNOWN


@pytest.mark.parametrize(
    ("who", "changed", "why"),
    [
        (ZHANG, {"item": "8.1.99.1"}, "there is none"),
        (ZHANG, {"valid_to": TODAY + dt.timedelta(366)}, "0 to 365 days"),
        (ZHANG, {"content": b""}, "is empty"),
        (ZHANG, {"statement": "so"}, "statement: not acceptable"),
        (session("li.wei", scope=Scope.PASSWORD), {}, "log in fully"),
    ],
)
async def test_an_attestation_that_cannot_be_taken_leaves_no_row(
    desk: Desk, who: Session, changed: dict[str, Any], why: str
) -> None:
    with pytest.raises(AttestationRefused, match=why):
        await attesting.attest(desk, CATALOGUE, who, wish(**changed))
    assert await attesting.list_attestations(desk) == []


async def test_only_administrators_of_security_or_audit_confirm(desk: Desk) -> None:
    made = await attesting.attest(desk, CATALOGUE, ZHANG, wish())
    for who in (session("li.wei", Role.SUPERVISOR), session("an.bo", Role.SYSTEM_ADMIN)):
        with pytest.raises(AttestationRefused, match="security or audit"):
            await attesting.confirm(desk, who, made)


async def test_runs_are_numbered_and_chained_and_cannot_be_rewritten(desk: Desk, cells: Any) -> None:
    assert await attesting.read_last_run(desk) == attesting.LastRun(0, None)
    row = {
        "number": 1, "pack_sm3": bytes(32), "previous_sm3": None, "form": "stand", "met": 1, "not_met": 2,
        "unknown": 254, "points_2021": 1.5, "met_percent": 0.39, "run_at": dt.datetime.now(dt.UTC),
    }  # fmt: skip
    await attesting.record_run(desk, row)
    with pytest.raises(AttestationRefused, match="meanwhile"):
        await attesting.record_run(desk, row | {"pack_sm3": bytes(31) + b"1"})
    assert (await attesting.read_last_run(desk)).number == 1
    for statement in ("delete from controls.runs", "update controls.runs set met = 257"):
        with pytest.raises(psycopg.Error):
            await cells.rows(statement, user="biyi_owner")


async def no_trail() -> Trail:
    raise TimeoutError("no trail here")


async def no_baseline() -> str | None:
    return None


def ground(desk: Desk, sites: dict[str, SiteGround], folder: Path) -> Ground:
    return Ground(
        "stand", sites, desk, folder, folder / "baseline.json", no_trail, no_baseline,
        lambda: dt.datetime.now(dt.UTC),
    )  # fmt: skip


async def somebody(core: Any) -> None:
    await seat(make_portal(core, core.router.staff), "li.wei", Role.SERVICE)


async def test_nothing_is_drilled_before_there_is_anybody(desk: Desk, cells: Any, tmp_path: Path) -> None:
    """The first administrators can be made only where there is no account: not even a probe's."""
    assert await people.drill_lockout(ground(desk, {}, tmp_path)) == {"accounts": 0}
    assert await cells.rows("select staff from access.accounts") == []


async def test_a_live_drill_finds_the_lock_and_the_idle_limit(desk: Desk, core: Any, tmp_path: Path) -> None:
    await somebody(core)
    facts = await people.drill_lockout(ground(desk, {}, tmp_path))
    reading = make_reading("lockout", "system", dt.datetime.now(dt.UTC), facts)
    seen = Seen(("idc", "cloud"), dt.datetime.now(dt.UTC), [reading], [])
    assert judge(CATALOGUE, seen)["8.1.4.1.b"].state is State.MET, facts
    rows = await people._row(
        ground(desk, {}, tmp_path),
        "select disabled, failures from access.accounts where staff = 'probe.controls'",
    )
    assert rows == {"disabled": True, "failures": 0}


async def test_the_drill_tells_a_lock_that_was_taken_out(desk: Desk, core: Any, tmp_path: Path) -> None:
    await somebody(core)

    class NoLock(AccessSettings):
        def __post_init__(self) -> None:
            """Takes what level 3 refuses: this is what the probe has to find."""

    weak = dataclasses.replace(desk, limits=NoLock(lock_after=1_000, idle_minutes=600))
    facts = await people.drill_lockout(ground(weak, {}, tmp_path))
    assert facts["failures_to_lock"] == 11
    assert facts["good_password_refused_while_locked"] is False


async def test_administrators_without_a_second_factor_or_with_two_roles_are_found(
    desk: Desk, core: Any, cells: Any, tmp_path: Path
) -> None:
    portal, here = make_portal(core, core.router.staff), ground(desk, {}, tmp_path)
    assert (await people.read_separation(here))["roles_not_held"] == [
        "audit_admin", "security_admin", "system_admin",
    ]  # fmt: skip
    for name, role in (
        ("an.bo", Role.SYSTEM_ADMIN), ("chen.yu", Role.SECURITY_ADMIN), ("deng.li", Role.AUDIT_ADMIN)
    ):  # fmt: skip
        await seat(portal, name, role)
    assert await people.read_separation(here) == {"overlaps": [], "roles_not_held": [], "self_decided": 0}
    assert (await people.read_second_factor(here))["without_second_factor"] == []
    cells.run_sql(
        cells.databases["a"],
        "alter table access.accounts drop constraint administrators_are_nothing_else;"
        "update access.accounts set roles = array_append(roles, 'service') where staff = 'an.bo';"
        "update access.accounts set totp_confirmed = false where staff = 'deng.li';"
        "update access.accounts set used_at = now() - interval '91 days' where staff = 'chen.yu'",
    )
    try:
        assert (await people.read_separation(here))["overlaps"] == ["an.bo"]
        assert (await people.read_second_factor(here))["without_second_factor"] == ["deng.li"]
        assert (await people.read_accounts(here))["unused_and_open"] == ["chen.yu"]
    finally:
        cells.run_sql(
            cells.databases["a"],
            "update access.accounts set roles = '{system_admin}' where staff = 'an.bo';"
            "alter table access.accounts add constraint administrators_are_nothing_else check"
            " (cardinality(roles) <= 1 or not roles && "
            "array['system_admin', 'security_admin', 'audit_admin'])",
        )


def site_of(server: Any, folder: Path) -> SiteGround:
    place = PlaceSettings("a-idc-0", "a", Site.IDC, 0, "127.0.0.1", server.port, folder)
    settings = SiteSettings(
        site=Site.IDC, home_dir=folder, etcd_urls=(), cells=(), places=(place,), agent_urls={}, agent_port=1,
        api_port=1, valkey_port=1, pg_bin=folder, passfile=folder / "pgpass", key_file=folder / "ring",
    )  # fmt: skip
    return SiteGround(settings, (), (), list, frozenset(), folder)


async def test_a_server_that_lets_everybody_in_is_seen_as_it_is(
    desk: Desk, server: Any, tmp_path: Path
) -> None:
    """The tests' own server trusts everybody and speaks plain: just what the probes are for."""
    site = site_of(server, tmp_path)
    here = ground(desk, {"idc": site}, tmp_path)
    transport = await databases.read_transport(here, site)
    assert transport["weak_hba_rules"] > 0
    assert transport["clear_sessions"] > 0, "over TCP without TLS, whatever the setting says"
    assert transport["ends_in_reject"] is False
    assert "biyi_app" in (await databases.read_passwords(here, site))["roles_without_scram"]
    assert (await databases.read_rights(here, site))["superusers_unlisted"] == []
    lone = await databases.read_replication(here, site)
    assert lone["without_other_site"] == ["a"]


async def test_no_migration_gives_a_right_that_the_probe_calls_wrong(cells: Any) -> None:
    """What a stand meets as shipped is seen here first: a new grant shows before a whole stand is up."""
    rows = []
    for database in cells.databases.values():
        dsn = cells.server.dsn(database, "biyi_admin")
        async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as connection:
            personal = {"personal": ["core.customers"]}
            rows.append(await (await connection.execute(databases._RIGHTS.encode(), personal)).fetchone())
    facts = databases.sum_rights([row for row in rows if row is not None])
    assert facts["can_delete"] == []
    assert facts["personal_tables_without_policy"] == []
    assert facts["bypass_unlisted"] == []
    assert databases.sum_rights([dict(rows[0] or {}) | {"can_delete": ["biyi_app on core.entries"]}])[
        "can_delete"
    ] == ["biyi_app on core.entries"]


async def test_a_role_that_gained_power_is_found(desk: Desk, server: Any, cells: Any, tmp_path: Path) -> None:
    site = site_of(server, tmp_path)
    here = ground(desk, {"idc": site}, tmp_path)

    def run_admin(statement: str) -> None:
        server.run("psql", "-U", "biyi_admin", "-d", "postgres", "-qc", statement)

    run_admin("alter role biyi_app superuser; grant biyi_owner to biyi_read")
    try:
        found = await databases.read_rights(here, site)
        assert found["superusers_unlisted"] == ["biyi_app"]
        assert found["memberships"] == ["biyi_read of biyi_owner"]
    finally:
        run_admin("alter role biyi_app nosuperuser; revoke biyi_owner from biyi_read")


async def test_a_probe_whose_source_is_away_makes_an_unknown_reading(desk: Desk, tmp_path: Path) -> None:
    class Away:
        port = 1

    here = ground(desk, {"idc": site_of(Away, tmp_path), "cloud": site_of(Away, tmp_path)}, tmp_path)
    narrow = dataclasses.replace(CATALOGUE, probes={"integrity": CATALOGUE.probes["integrity"]})
    readings = await gather_readings(here, narrow)
    assert [one.facts for one in readings] == [None, None]
    outcome = judge(CATALOGUE, Seen(("idc", "cloud"), dt.datetime.now(dt.UTC), readings, []))["8.1.4.7.b"]
    assert outcome.state is State.UNKNOWN


async def test_a_door_that_answers_in_clear_or_nobody_is_told_apart(desk: Desk, tmp_path: Path) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    plain = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = plain.sockets[0].getsockname()[1]
    context = ssl.create_default_context()
    door = Door("idc/agent", "127.0.0.1", port, context, b"GET / HTTP/1.1\r\n\r\n", True)
    site = dataclasses.replace(site_of(type("At", (), {"port": 1}), tmp_path), doors=(door,))
    here = ground(desk, {"idc": site}, tmp_path)
    assert await doors._answers(door, None, door.words), "it speaks in clear"
    plain.close()
    await plain.wait_closed()
    for probe in (doors.read_tls, doors.read_mutual_tls):
        with pytest.raises(ConnectionError, match="answer"):  # silence is neither refusal nor encryption
            await probe(here, site)
