"""What access control says of staff, and a live drill of it on an account of its own."""

import secrets
from typing import Any

from compliance.access import signing_in
from compliance.access.desk import Connection, Origin, fetch, fetch_all
from compliance.access.errors import AccessRefused
from compliance.access.passwords import hash_password, make_password
from compliance.access.roles import ADMINISTRATORS
from compliance.controls.ground import Facts, Ground

PROBE_ACCOUNT = "probe.controls"
"""The drill's account: it has no role, and is disabled between drills."""
DEFAULT_NAMES = ("admin", "administrator", "root", "test", "guest", "user", "system", "sa")
"""Names that assessors look for. Source: GB/T 22239-2019 8.1.4.2 b as assessors read it."""
FIRST_PASSWORD_DAYS = 7
"""How long a password that somebody else knew may wait to be changed. Source: our choice, a working week."""
_HERE = Origin("probe", None)

_ANYBODY = "select exists (select from access.accounts where staff <> %(probe)s) as anybody"
_PREPARE = """
insert into access.accounts (staff, branch, password_hash, password_given) values
    (%(staff)s, 'probe', %(hash)s, false)
on conflict (staff) do update set disabled = false, failures = 0, locked_until = null, used_at = now(),
    password_hash = excluded.password_hash, password_at = now(), password_given = false
"""
_REST = """
update access.accounts set disabled = true, failures = 0, locked_until = null where staff = %(staff)s
"""
_LOCKED = """
select failures, extract(epoch from locked_until - now()) / 60 as lock_minutes
from access.accounts where staff = %(staff)s
"""
_UNLOCK = "update access.accounts set failures = 0, locked_until = null where staff = %(staff)s"
_AGED = """
update access.sessions set seen_at = now() - make_interval(mins => %(minutes)s)
where staff = %(staff)s and ended_at is null
"""
_ADMINISTRATORS = """
select staff, totp_confirmed from access.accounts where not disabled and roles && %(administrators)s::text[]
"""
_ACCOUNTS = """
select
    (select count(*) from access.accounts where staff <> %(probe)s) as accounts,
    (select coalesce(array_agg(staff), '{}') from access.accounts where not disabled
        and used_at < now() - make_interval(days => %(unused_days)s)) as unused,
    (select coalesce(array_agg(staff), '{}') from access.accounts where not disabled and password_given
        and password_at < now() - make_interval(days => %(first_days)s)) as first_password,
    (select coalesce(array_agg(staff), '{}') from access.accounts where staff = any(%(defaults)s)) as defaults
"""
_SEPARATION = """
select
    (select coalesce(array_agg(staff), '{}') from access.accounts
     where cardinality(roles) > 1 and roles && %(administrators)s::text[]) as overlaps,
    (select coalesce(array_agg(role), '{}') from unnest(%(administrators)s::text[]) as role
     where not exists (select from access.accounts where not disabled and role = any(roles))) as not_held,
    (select count(*) from access.approvals where decided_by = asked_by) as self_decided
"""


async def _row(ground: Ground, query: str, **values: Any) -> dict[str, Any]:
    row = await ground.desk.directory.write(lambda c: fetch(c, query, values))
    return row or {}


def _administrators() -> list[str]:
    return sorted(map(str, ADMINISTRATORS))


async def read_second_factor(ground: Ground) -> Facts:
    """Read which open administrators have confirmed no second factor."""
    values = {"administrators": _administrators()}
    rows = await ground.desk.directory.write(lambda c: fetch_all(c, _ADMINISTRATORS, values))
    return {
        "administrators": len(rows),
        "without_second_factor": sorted(row["staff"] for row in rows if not row["totp_confirmed"]),
    }


async def read_accounts(ground: Ground) -> Facts:
    """Read accounts that should not be open."""
    row = await _row(
        ground, _ACCOUNTS, probe=PROBE_ACCOUNT, unused_days=ground.desk.limits.unused_days,
        first_days=FIRST_PASSWORD_DAYS, defaults=list(DEFAULT_NAMES),
    )  # fmt: skip
    return {
        "accounts": row["accounts"], "unused_and_open": sorted(row["unused"]),
        "first_password_open": sorted(row["first_password"]), "default_names": sorted(row["defaults"]),
    }  # fmt: skip


async def read_separation(ground: Ground) -> Facts:
    """Read whether three administrators exist apart from each other."""
    row = await _row(ground, _SEPARATION, administrators=_administrators())
    return {
        "overlaps": sorted(row["overlaps"]), "roles_not_held": sorted(row["not_held"]),
        "self_decided": row["self_decided"],
    }  # fmt: skip


async def drill_lockout(ground: Ground) -> Facts:
    """Log in wrongly until the probe's account is locked, then try an idle session; it is left disabled.

    Runs what every login runs (`compliance.access.signing_in`) against the accounts' database. For the idle
    limit the session's last use is set back: nobody waits for a drill. The hard limit is only read: no role
    of a process may change when a session began. Nothing is drilled before there is anybody.
    """
    if not (await _row(ground, _ANYBODY, probe=PROBE_ACCOUNT))["anybody"]:
        # The first three administrators can be made only where there is no account at all.
        return {"accounts": 0}
    desk, staff, password = ground.desk, PROBE_ACCOUNT, make_password()
    hashed = await desk.turns.run(hash_password, desk.digest, staff, password)
    values = {"staff": staff, "hash": hashed}

    async def change(query: str, **more: Any) -> None:
        async def work(connection: Connection) -> None:
            await connection.execute(query.encode(), values | more)

        await desk.directory.write(work)

    await change(_PREPARE)
    try:
        failures, lock_minutes = await _fail_until_locked(ground)
        locked_out = not await _logs_in(ground, password)
        await change(_UNLOCK)
        idle = await _idle_session_refused(ground, password, desk.limits.idle_minutes + 1)
    finally:
        await change(_REST)
    return {
        "failures_to_lock": failures, "lock_minutes": lock_minutes,
        "good_password_refused_while_locked": locked_out, "idle_session_refused": idle,
        "idle_minutes": desk.limits.idle_minutes, "hard_minutes": desk.limits.hard_minutes,
    }  # fmt: skip


async def _fail_until_locked(ground: Ground, most: int = 11) -> tuple[int, int]:
    """Return after how many bad logins the account was locked and for how long; `most` when it never was."""
    for tried in range(1, most + 1):
        await _logs_in(ground, secrets.token_urlsafe(12))
        row = await _row(ground, _LOCKED, staff=PROBE_ACCOUNT)
        if row.get("lock_minutes") is not None:
            return tried, round(float(row["lock_minutes"]))
    return most, 0


async def _logs_in(ground: Ground, password: str) -> bool:
    try:
        await signing_in.log_in(ground.desk, signing_in.Attempt(PROBE_ACCOUNT, password, None), _HERE)
    except AccessRefused:
        return False
    return True


async def _idle_session_refused(ground: Ground, password: str, minutes: int) -> bool:
    """Say whether a session that was last seen so long ago is refused, and a fresh one is not."""
    desk = ground.desk
    attempt = signing_in.Attempt(PROBE_ACCOUNT, password, None)
    token = (await signing_in.log_in(desk, attempt, _HERE)).token
    await signing_in.authenticate(desk, token, _HERE)

    async def age(connection: Connection) -> None:
        await connection.execute(_AGED, {"minutes": minutes, "staff": PROBE_ACCOUNT})

    await desk.directory.write(age)
    try:
        await signing_in.authenticate(desk, token, _HERE)
    except AccessRefused:
        return True
    return False
