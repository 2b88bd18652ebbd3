"""What administrators do with accounts. Who may, and what takes two people, is declared at the route."""

from collections.abc import Mapping, Sequence
from typing import Any

from compliance.access.desk import Change, Connection, Desk, Row, Session, fetch, fetch_all, record_change
from compliance.access.errors import AccessRefused, Why
from compliance.access.passwords import hash_password, make_password
from compliance.access.roles import ADMINISTRATORS, Role, find_role_fault
from compliance.access.signing_in import end_sessions

_ADD = """
insert into access.accounts (staff, branch, password_hash) values (%(staff)s, %(branch)s, %(hash)s)
on conflict do nothing returning 1
"""
_FIRST = """
insert into access.accounts (staff, branch, roles, password_hash)
select %(staff)s, %(branch)s, array[%(role)s], %(hash)s
"""
_SET_ROLES = """
update access.accounts a set roles = %(roles)s::text[] from access.accounts old
where a.staff = %(staff)s and old.staff = a.staff returning old.roles as earlier
"""
_UNLOCK = """
update access.accounts set failures = 0, locked_until = null, used_at = now()
where staff = %(staff)s returning 1
"""
_DISABLE = "update access.accounts set disabled = %(disabled)s where staff = %(staff)s returning 1"
_RESET = """
update access.accounts set password_hash = %(hash)s, password_at = now(), password_given = true, failures = 0,
    locked_until = null, totp_secret = null, totp_confirmed = false
where staff = %(staff)s returning 1
"""
_LIST = """
select a.staff, a.branch, a.roles, a.disabled, a.password_given,
    a.password_at + make_interval(days => %(days)s) as password_until,
    coalesce(a.locked_until > now(), false) as locked, a.totp_confirmed as second_factor, a.used_at,
    (select s.seen_at from access.sessions s where s.staff = a.staff and s.ended_at is null)
        as session_seen_at
from access.accounts a order by a.staff
"""
_CHANGES = "select * from access.changes order by at desc, change_id limit %(limit)s"


async def found(desk: Desk, branch: str, names: Mapping[Role, str]) -> dict[str, str]:
    """Make the three administrators of a deployment that has no account; returns a first password each.

    CONFLICT when there are accounts: from then on administrators make them, two people at a time.
    """
    if set(names) != ADMINISTRATORS or len(set(names.values())) != len(ADMINISTRATORS):
        raise AccessRefused(Why.INVALID, "needs three names, one for each administrator", "body.names")
    passwords = {name: make_password() for name in names.values()}
    hashes = {name: await _hash(desk, name, password) for name, password in passwords.items()}

    async def work(connection: Connection) -> None:
        # Two who found at once take turns; the second finds accounts.
        await connection.execute("select pg_advisory_xact_lock(hashtext('access.accounts'))")
        if await fetch(connection, "select 1 from access.accounts limit 1", {}) is not None:
            raise AccessRefused(Why.CONFLICT, "There are accounts already.")
        for role, name in names.items():
            values = {"staff": name, "branch": branch, "role": str(role), "hash": hashes[name]}
            await connection.execute(_FIRST, values)
            await record_change(desk, connection, Change(name, "founded", "init", {"roles": [str(role)]}))

    await desk.directory.write(work)
    return passwords


async def add_account(desk: Desk, by: Session, staff: str, branch: str) -> str:
    """Make an account without any role; returns its first password, good only to be changed."""
    password = make_password()
    values = {"staff": staff, "branch": branch, "hash": await _hash(desk, staff, password)}

    async def work(connection: Connection) -> None:
        if await fetch(connection, _ADD, values) is None:
            raise AccessRefused(Why.CONFLICT, "There is an account of this name.")
        await record_change(desk, connection, Change(staff, "added", by.staff, {"branch": branch}))

    await desk.directory.write(work)
    return password


async def set_roles(
    desk: Desk, by: Session, staff: str, roles: Sequence[Role], approval: str | None = None
) -> None:
    """Give an account exactly these roles and end its sessions. Nobody changes their own."""
    if by.staff == staff:
        raise AccessRefused(Why.FORBIDDEN, "Nobody changes their own roles.")
    if (fault := find_role_fault(roles)) is not None:
        raise AccessRefused(Why.INVALID, f"body.roles: {fault}", "body.roles")
    wanted = sorted({str(role) for role in roles})

    async def work(connection: Connection) -> None:
        row = await fetch(connection, _SET_ROLES, {"staff": staff, "roles": wanted})
        earlier = _known(row)["earlier"]
        await end_sessions(connection, staff, "roles_changed")
        detail = {"roles": wanted, "earlier": earlier}
        await record_change(desk, connection, Change(staff, "roles_set", by.staff, detail, approval))

    await desk.directory.write(work)


async def unlock(desk: Desk, by: Session, staff: str) -> None:
    """Let a locked or long unused account log in again, with the password it has."""
    await _act(desk, Change(staff, "unlocked", by.staff), _UNLOCK, {"staff": staff})


async def disable(desk: Desk, by: Session, staff: str) -> None:
    """Shut an account and end its sessions at once."""
    if by.staff == staff:
        raise AccessRefused(Why.FORBIDDEN, "Nobody disables their own account.")
    await _act(
        desk, Change(staff, "disabled", by.staff), _DISABLE, {"staff": staff, "disabled": True}, ends=True
    )


async def enable(desk: Desk, by: Session, staff: str, approval: str | None = None) -> None:
    """Open a disabled account again."""
    change = Change(staff, "enabled", by.staff, approval=approval)
    await _act(desk, change, _DISABLE, {"staff": staff, "disabled": False})


async def reset(desk: Desk, by: Session, staff: str, approval: str | None = None) -> str:
    """Give an account a new first password and take its second factor away; returns the password."""
    if by.staff == staff:
        raise AccessRefused(Why.FORBIDDEN, "Nobody resets their own account.")
    password = make_password()
    values = {"staff": staff, "hash": await _hash(desk, staff, password)}
    await _act(desk, Change(staff, "reset", by.staff, approval=approval), _RESET, values, ends=True)
    return password


async def list_accounts(desk: Desk) -> list[Row]:
    """Return every account without anything secret."""
    values = {"days": desk.limits.password_days}
    return await desk.directory.write(lambda c: fetch_all(c, _LIST, values))


async def list_changes(desk: Desk, limit: int) -> list[Row]:
    """Return the newest acts on accounts."""
    return await desk.directory.write(lambda c: fetch_all(c, _CHANGES, {"limit": limit}))


async def _act(
    desk: Desk, change: Change, statement: str, values: Mapping[str, Any], *, ends: bool = False
) -> None:
    async def work(connection: Connection) -> None:
        _known(await fetch(connection, statement, values))
        if ends:
            await end_sessions(connection, change.staff, change.what)
        await record_change(desk, connection, change)

    await desk.directory.write(work)


async def _hash(desk: Desk, staff: str, password: str) -> str:
    return await desk.turns.run(hash_password, desk.digest, staff, password)


def _known(row: Row | None) -> Row:
    if row is None:
        raise AccessRefused(Why.NOT_FOUND, "There is no account of this name.")
    return row
