"""Every fact of a probe that asks a database is forged alone, at its source, and the verdict turns.

`test_probe_sources.py` forges the probes of the trail and of sealed data; here are people, passwords, rights
and who is let in.
"""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from compliance.access.roles import Role
from compliance.access.settings import AccessSettings
from compliance.controls.catalogue import read_catalogue
from compliance.controls.gather import gather_readings
from compliance.controls.ground import Ground
from compliance.controls.judge import State, judge_check, judge_reading, worst
from core_app.staff.portal import make_portal
from tests.integration.core_app.people import seat
from tests.integration.core_app.test_controls import ground, site_of
from tests.integration.core_app.test_probe_sources import ELSEWHERE, SITE

CATALOGUE = read_catalogue()
PEOPLE = ("lockout", "second-factor", "accounts", "separation")


class House(NamedTuple):
    """Three administrators and a servant of customers at one site, all in order."""

    ground: Ground
    run: Callable[[str], None]
    """Does what only a superuser behind the triggers could, in the accounts' cell."""
    hba: Path


@pytest.fixture
async def house(core: Any, cells: Any, server: Any, tmp_path: Path, monkeypatch: Any) -> House:
    portal = make_portal(core, core.router.staff)
    for name, role in (
        ("an.bo", Role.SYSTEM_ADMIN), ("chen.yu", Role.SECURITY_ADMIN), ("deng.li", Role.AUDIT_ADMIN),
        ("li.wei", Role.SERVICE),
    ):  # fmt: skip
        await seat(portal, name, role)
    database = cells.databases["a"]
    monkeypatch.setattr("replication.postgres.observe.DATABASE", database)

    def run(statement: str) -> None:
        # Each -c is a transaction of its own: `alter system` is refused within one.
        server.run("psql", "-U", "biyi_admin", "-d", database, "-v", "ON_ERROR_STOP=1", "-q",
                   "-c", "set session_replication_role = replica", "-c", statement)  # fmt: skip

    hba = (await cells.rows("show hba_file", user="biyi_admin"))[0][0]
    site = site_of(server, tmp_path)
    return House(ground(portal.desk, {SITE: site}, tmp_path), run, Path(hba))


async def broken_facts(here: Ground, probe: str) -> set[str]:
    """Return the facts of a probe that are not as a check needs them."""
    narrow = dataclasses.replace(CATALOGUE, probes={probe: CATALOGUE.probes[probe]})
    found = set[str]()
    for reading in await gather_readings(here, narrow):
        assert reading.facts is not None, reading.failure
        states = {check: judge_check(check, reading.facts)[0] for check in CATALOGUE.probes[probe].checks}
        judged = judge_reading(CATALOGUE, probe, reading, dt.datetime.now(dt.UTC))
        assert worst(states.values()) is worst(state for state, _, _ in judged)
        found |= {check.fact for check, state in states.items() if state is not State.MET}
    return found


OF_ACCOUNTS = "update access.accounts set {} where staff = '{}'"
NO_TWO_ROLES = "alter table access.accounts drop constraint administrators_are_nothing_else"
TWO_ROLES = (
    "update access.accounts set roles = '{}'; alter table access.accounts add constraint "
    "administrators_are_nothing_else check (cardinality(roles) <= 1 or not roles && "
    "array['system_admin', 'security_admin', 'audit_admin'])"
)
NO_TWO_PEOPLE = "alter table access.approvals drop constraint two_people"
TWO_PEOPLE = (
    "delete from access.approvals; alter table access.approvals add constraint two_people "
    "check (decided_by <> asked_by and decided_by <> about)"
)
SELF_DECIDED = (
    "insert into access.approvals (approval_id, route, request_digest, shown, needs, asked_by, expires_at, "
    "decided_by, decided_at, granted) values (repeat('0', 32), 'x', decode(repeat('00', 32), 'hex'), '{}', "
    "'audit_admin', 'li.wei', now(), 'li.wei', now(), true)"
)
FRESH = (
    "create function public.stay_fresh() returns trigger language plpgsql as "
    "'begin new.seen_at = now(); return new; end'; create trigger stay_fresh before update on "
    "access.sessions for each row execute function public.stay_fresh()"
)
# Probe, the facts that turn, what is done to their source, how it is undone where the next test would see it.
ROWS = [
    ("second-factor", {"administrators"}, OF_ACCOUNTS.format("disabled = true", "an.bo"), ""),
    ("second-factor", {"without_second_factor"}, OF_ACCOUNTS.format("totp_confirmed = false", "deng.li"), ""),
    ("accounts", {"accounts"}, "delete from access.sessions; delete from access.accounts", ""),
    ("accounts", {"unused_and_open"},
     OF_ACCOUNTS.format("used_at = now() - interval '91 days'", "chen.yu"), ""),
    ("accounts", {"first_password_open"},
     OF_ACCOUNTS.format("password_given = true, password_at = now() - interval '8 days'", "li.wei"), ""),
    ("accounts", {"default_names"}, OF_ACCOUNTS.format("staff = 'admin'", "li.wei"), ""),
    ("separation", {"overlaps"},
     f"{NO_TWO_ROLES}; " + OF_ACCOUNTS.format("roles = '{audit_admin,service}'", "deng.li"), TWO_ROLES),
    ("separation", {"roles_not_held"}, OF_ACCOUNTS.format("disabled = true", "an.bo"), ""),
    ("separation", {"self_decided"}, f"{NO_TWO_PEOPLE}; {SELF_DECIDED}", TWO_PEOPLE),
    ("lockout", {"idle_session_refused"}, FRESH, "drop function public.stay_fresh() cascade"),
    ("rights", {"superusers_unlisted"}, "alter role biyi_app superuser", "alter role biyi_app nosuperuser"),
    ("rights", {"bypass_unlisted"}, "alter role biyi_app bypassrls", "alter role biyi_app nobypassrls"),
    ("rights", {"memberships"}, "grant biyi_owner to biyi_read", "revoke biyi_owner from biyi_read"),
    ("rights", {"can_delete"}, "grant delete on core.loans to biyi_app",
     "revoke delete on core.loans from biyi_app"),
    ("rights", {"personal_tables_without_policy"}, "alter table core.customers disable row level security",
     "alter table core.customers enable row level security"),
    ("passwords", {"password_encryption"}, "alter system set password_encryption = 'md5'",
     "alter system reset password_encryption"),
    ("passwords", {"roles_without_scram"}, "alter role biyi_app password null", ""),
]  # fmt: skip
SETTINGS = [
    ("passwords", {"length_least"}, {"password_length": 7}),
    ("passwords", {"classes_least"}, {"password_classes": 2}),
    ("passwords", {"days_most"}, {"password_days": 91}),
    ("passwords", {"history_least"}, {"password_history": 0}),
    ("lockout", {"failures_to_lock"}, {"lock_after": 2}),
    ("lockout", {"failures_to_lock", "lock_minutes", "good_password_refused_while_locked"},
     {"lock_after": 1_000}),
    ("lockout", {"lock_minutes"}, {"lock_minutes": 9}),
    ("lockout", {"idle_minutes"}, {"idle_minutes": 31}),
    ("lockout", {"hard_minutes"}, {"hard_minutes": 721}),
]  # fmt: skip
RULES = [
    ("transport", {"clear_hba_rules"}, "host all all 10.0.0.0/8 scram-sha-256"),
    ("transport", {"weak_hba_rules"}, "hostssl all all 127.0.0.1/32 password"),
    ("transport", {"ends_in_reject"}, "hostssl all all 127.0.0.1/32 scram-sha-256"),
]
NOT_HERE = {
    ("transport", "clear_sessions"): "the tests' own sessions are clear: test_controls.py; met at a stand",
    ("transport", "clear_receivers"): "needs a standby over the network without TLS",
    (
        "integrity",
        "torn_pages_guarded",
    ): "no fsync here: test_probe_sources.py; met at a stand",
    ("integrity", "checksums_off"): "set when a server is made",
    ("integrity", "checksum_failures"): "needs a damaged disk",
    ("replication", "without_other_site"): "a lone server has none: test_controls.py; met at a stand",
    ("replication", "not_streaming"): "needs a standby",
    ("replication", "lag_bytes_most"): "needs a standby",
}
"""What a lone server of the tests cannot be made to tell; the judge breaks these facts one by one."""


def test_every_fact_of_these_probes_is_forged_or_says_why_not() -> None:
    forged = {(probe, fact) for probe, facts, *_ in (*ROWS, *SETTINGS, *RULES) for fact in facts}
    asked = {
        (probe, check.fact) for probe in ELSEWHERE | {"integrity"} for check in CATALOGUE.probes[probe].checks
    }
    assert forged.isdisjoint(NOT_HERE)
    assert forged | NOT_HERE.keys() == asked


PASSWORDS = (
    "do $$ declare r name; begin for r in select rolname from pg_roles where rolcanlogin loop "
    "execute format('alter role %I password {}', r); end loop; end $$"
)
"""The tests' roles have none: their server trusts everybody."""


async def until(cells: Any, name: str, value: str) -> None:
    """Wait until new sessions see a setting; 10 s at most."""
    async with asyncio.timeout(10):
        while await cells.rows(f"show {name}", user="biyi_admin") != [(value,)] * len(cells.databases):
            await asyncio.sleep(0.05)


def name_case(one: object) -> str:
    """Name a case alike in every process: a set's own order is not."""
    return ",".join(sorted(one)) if isinstance(one, set) else str(one)[:50]


@pytest.mark.parametrize(("probe", "facts", "lie", "undo"), ROWS, ids=name_case)
async def test_a_source_that_is_changed_turns_its_fact_alone(
    house: House, cells: Any, probe: str, facts: set[str], lie: str, undo: str
) -> None:
    house.run(PASSWORDS.format("''for-one-test''"))
    try:
        assert await broken_facts(house.ground, probe) == set()
        house.run(lie)
        if lie.startswith("alter system set"):
            house.run("select pg_reload_conf()")
            await until(cells, *lie.removeprefix("alter system set ").replace("'", "").split(" = "))
        assert await broken_facts(house.ground, probe) == facts
    finally:
        if undo:
            house.run(undo)
        house.run(PASSWORDS.format("null"))
        house.run("select pg_reload_conf()")


@pytest.mark.parametrize(("probe", "facts", "changed"), SETTINGS, ids=name_case)
async def test_a_limit_that_is_weaker_turns_its_facts_alone(
    house: House, cells: Any, probe: str, facts: set[str], changed: dict[str, int]
) -> None:
    class Weaker(AccessSettings):
        def __post_init__(self) -> None:
            """Takes what level 3 refuses: this is what the probe has to find."""

    weak = dataclasses.replace(house.ground.desk, limits=Weaker(**changed))
    good = {"roles_without_scram"} if probe == "passwords" else set[str]()
    assert await broken_facts(house.ground, probe) == good
    assert await broken_facts(dataclasses.replace(house.ground, desk=weak), probe) == good | facts


@pytest.mark.parametrize(("probe", "facts", "rule"), RULES, ids=name_case)
async def test_a_rule_that_lets_somebody_in_is_read_from_the_file(
    house: House, probe: str, facts: set[str], rule: str
) -> None:
    kept = house.hba.read_text()
    strict = "hostssl all all 127.0.0.1/32 scram-sha-256\n"
    last = "host all all all reject\n"
    always = {"clear_sessions"}  # the probe's own session, and those of these tests
    try:
        write_in_place(house.hba, strict + last)
        assert await broken_facts(house.ground, probe) == always
        write_in_place(house.hba, f"{rule}\n" + ("" if facts == {"ends_in_reject"} else last))
        assert await broken_facts(house.ground, probe) == always | facts
    finally:
        write_in_place(house.hba, kept)


def write_in_place(path: Path, text: str) -> None:
    """Change a file that stays its owner's. Nothing is loaded: the server goes on by what it read."""
    with path.open("r+") as stream:
        stream.truncate()
        stream.write(text)


@pytest.mark.parametrize("probe", PEOPLE)
async def test_accounts_that_cannot_be_read_are_not_known(house: House, monkeypatch: Any, probe: str) -> None:
    async def away(*_: Any) -> None:
        raise TimeoutError("the accounts' cell does not answer")

    monkeypatch.setattr(type(house.ground.desk.directory), "write", away)
    narrow = dataclasses.replace(CATALOGUE, probes={probe: CATALOGUE.probes[probe]})
    readings = await gather_readings(house.ground, narrow)
    judged = [state for one in readings
              for state, _, _ in judge_reading(CATALOGUE, probe, one, dt.datetime.now(dt.UTC))]  # fmt: skip
    assert set(judged) == {State.UNKNOWN}
