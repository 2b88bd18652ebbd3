"""Log in, be known by a token, log out. Every try is told to behaviour scoring in its own transaction.

One answer for every failed login: no account's existence, lock or second factor can be learned by trying.
"""

import secrets
from dataclasses import dataclass

from compliance.access.desk import Connection, Desk, Origin, Row, Session, fetch
from compliance.access.errors import AccessRefused, Why
from compliance.access.passwords import check_password, hash_password
from compliance.access.roles import Role
from compliance.access.rules import (
    Opened,
    Outcome,
    Scope,
    Standing,
    decide_login,
    find_scope_fault,
    find_session_fault,
)
from compliance.access.second_factor import find_step

TOKEN_PREFIX = "s1."  # noqa: S105 - what session tokens begin with
_TOKEN_BYTES = 32

_ACCOUNT = "select *, now() as now from access.accounts where staff = %(staff)s"
_COUNT = """
update access.accounts set failures = %(failures)s, locked_until = %(locked_until)s, totp_step = %(step)s,
    used_at = case when %(opened)s then now() else used_at end
where staff = %(staff)s
"""
_OPEN = """
insert into access.sessions (token_digest, staff, scope, address, terminal)
values (%(digest)s, %(staff)s, %(scope)s, %(address)s, %(terminal)s)
"""
_END_ALL = """
update access.sessions set ended_at = now(), ended_why = %(why)s
where staff = %(staff)s and ended_at is null and token_digest <> %(kept)s
"""
_END = """
update access.sessions set ended_at = now(), ended_why = %(why)s
where token_digest = %(digest)s and ended_at is null
"""
_SESSION = """
select s.staff, s.scope, s.address, s.terminal, s.began_at, s.seen_at, s.ended_at, a.branch,
    a.roles, a.disabled, a.totp_confirmed, now() as now,
    extract(epoch from now() - s.seen_at) as seen_seconds_ago
from access.sessions s join access.accounts a using (staff) where s.token_digest = %(digest)s
"""
_TOUCH = "update access.sessions set seen_at = now() where token_digest = %(digest)s and ended_at is null"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What somebody logs in with. `repr` shows no secret."""

    staff: str
    password: str
    code: str | None

    def __repr__(self) -> str:
        return f"Attempt({self.staff!r})"


@dataclass(frozen=True, slots=True)
class Entered:
    """An open session: its token, told once, and what it is good for."""

    token: str
    staff: str
    roles: tuple[Role, ...]
    scope: Scope

    def __repr__(self) -> str:
        return f"Entered({self.staff!r})"


async def log_in(desk: Desk, attempt: Attempt, origin: Origin) -> Entered:
    """Open a session, ending the account's other one; UNAUTHENTICATED without saying what was wrong.

    The password is checked between two transactions; the second looks again under the account's lock, so
    guesses made side by side count one by one.
    """
    account = await desk.directory.write(lambda c: fetch(c, _ACCOUNT, {"staff": attempt.staff}))
    password_ok = await _check(desk, attempt, account)
    step = _find_step(desk, attempt, account)
    token = TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)

    async def work(connection: Connection) -> Entered | None:
        locked = await fetch(connection, _ACCOUNT + " for update", {"staff": attempt.staff})
        if account is None or locked is None:
            await _tell(desk, connection, None, Outcome.BAD_PASSWORD, origin)
            return None
        # A password or secret that was changed meanwhile was not the one checked.
        same = all(locked[part] == account[part] for part in ("password_hash", "totp_secret"))
        login = decide_login(
            _standing(locked), locked["now"], desk.limits, password_ok=password_ok and same, step=step
        )
        opened = login.outcome is Outcome.OPENED
        counters = {"failures": login.failures, "locked_until": login.locked_until, "step": login.totp_step}
        await connection.execute(_COUNT, {"staff": attempt.staff, "opened": opened, **counters})
        entered = Entered(token, attempt.staff, _roles(locked), login.scope) if opened else None
        if entered is not None:
            await _open(desk, connection, entered, origin)
        await _tell(desk, connection, locked, login.outcome, origin)
        return entered

    entered = await desk.directory.write(work)
    if entered is None:
        raise AccessRefused(
            Why.UNAUTHENTICATED,
            f"Name, password or code not accepted. After {desk.limits.lock_after} failures an account "
            f"is locked for {desk.limits.lock_minutes} minutes.",
        )
    return entered


async def _check(desk: Desk, attempt: Attempt, account: Row | None) -> bool:
    if account is None:  # as long as a real check: a name's existence is not told by time
        await desk.turns.run(hash_password, desk.digest, attempt.staff, attempt.password)
        return False
    return await desk.turns.run(
        check_password, desk.digest, attempt.staff, attempt.password, account["password_hash"]
    )


def _find_step(desk: Desk, attempt: Attempt, account: Row | None) -> int | None:
    if account is None or account["totp_secret"] is None or attempt.code is None:
        return None
    return find_step(desk.unseal(attempt.staff, account["totp_secret"]), attempt.code, desk.read_s())


def _standing(row: Row) -> Standing:
    names = ("disabled", "password_at", "password_given", "failures", "locked_until", "totp_confirmed")
    values = {name: row[name] for name in names}
    return Standing(roles=_roles(row), totp_step=row["totp_step"], used_at=row["used_at"], **values)


def _roles(row: Row) -> tuple[Role, ...]:
    return tuple(Role(role) for role in row["roles"])


async def _open(desk: Desk, connection: Connection, entered: Entered, origin: Origin) -> None:
    digest = desk.token_digest(entered.token)
    await connection.execute(_END_ALL, {"staff": entered.staff, "why": "superseded", "kept": digest})
    values = {"digest": digest, "staff": entered.staff, "scope": str(entered.scope)}
    await connection.execute(_OPEN, values | {"address": origin.address, "terminal": origin.terminal})


async def _tell(
    desk: Desk, connection: Connection, account: Row | None, outcome: Outcome, origin: Origin
) -> None:
    event = {
        "event_id": desk.new_uuid().hex,
        # A name that is no account's may be a password typed into the wrong field: it is not written down.
        "staff": account and account["staff"],
        "branch": account and account["branch"],
        "role": account and "+".join(account["roles"]),
        "action": "login",
        "result": "ok" if outcome is Outcome.OPENED else "denied",
        "why": str(outcome),
        "terminal": origin.terminal,
        "site": desk.site,
    }
    await desk.directory.tell(connection, "staff.login", event)


async def authenticate(desk: Desk, token: str, origin: Origin, *, uses: bool = True) -> Session:
    """Return who a token belongs to now; UNAUTHENTICATED when its session is over, idle or elsewhere.

    Roles are those of this moment, so what is taken away is gone with the next request. `uses` False: only
    looked at, so that a page that refreshes itself keeps nobody's idle session open.
    """
    digest = desk.token_digest(token)

    async def work(connection: Connection) -> tuple[Row, str | None] | None:
        row = await fetch(connection, _SESSION, {"digest": digest})
        if row is None:
            return None
        opened = Opened(row["began_at"], row["seen_at"], row["ended_at"], row["address"], Scope(row["scope"]))
        fault = find_session_fault(opened, origin.address, row["now"], desk.limits)
        if fault is None and row["disabled"]:
            fault = "disabled"
        if fault is None:
            if uses and row["seen_seconds_ago"] > desk.limits.touch_seconds:
                await connection.execute(_TOUCH, {"digest": digest})
        elif fault != "ended":
            await _refuse(desk, connection, row, fault, digest)
        return row, fault

    found = await desk.directory.write(work)
    if found is None or found[1] is not None:
        raise AccessRefused(Why.UNAUTHENTICATED, "The session is not known, or over: log in again.")
    row = found[0]
    scope = Scope(row["scope"])
    if (
        scope is Scope.FULL
        and find_scope_fault(_roles(row), scope, totp_confirmed=row["totp_confirmed"]) is not None
    ):
        scope = Scope.ENROL
    return Session(
        row["staff"], row["branch"], _roles(row), scope, Origin(row["address"], row["terminal"]), digest
    )


async def _refuse(desk: Desk, connection: Connection, row: Row, fault: str, digest: bytes) -> None:
    # A token seen from elsewhere may be stolen: the thief is refused, its owner goes on.
    if fault != "elsewhere":
        await connection.execute(_END, {"digest": digest, "why": fault})
    event = {
        "event_id": desk.new_uuid().hex,
        "staff": row["staff"],
        "branch": row["branch"],
        "action": "session",
        "result": "denied",
        "why": fault,
        "terminal": row["terminal"],
        "site": desk.site,
    }
    await desk.directory.tell(connection, "staff.session_refused", event)


async def log_out(desk: Desk, session: Session) -> None:
    """End a session; its token is good for nothing from here on."""

    async def work(connection: Connection) -> None:
        await connection.execute(_END, {"digest": session.digest, "why": "logged_out"})

    await desk.directory.write(work)


async def end_sessions(connection: Connection, staff: str, why: str, kept: bytes = b"") -> None:
    """End all sessions of an account but the one that is kept, in the transaction of `connection`."""
    await connection.execute(_END_ALL, {"staff": staff, "why": why, "kept": kept})
