"""What everybody does with their own account: change the password, set up the second factor."""

from compliance.access.desk import Change, Connection, Desk, Row, Session, fetch, fetch_all, record_change
from compliance.access.errors import AccessRefused, Why
from compliance.access.passwords import check_password, hash_password
from compliance.access.rules import find_password_fault
from compliance.access.second_factor import find_step, make_secret, make_uri
from compliance.access.signing_in import end_sessions

_ACCOUNT = "select * from access.accounts where staff = %(staff)s for update"
_EARLIER = """
select password_hash from access.earlier_passwords where staff = %(staff)s order by at desc limit %(most)s
"""
_CHANGE = """
with old as (
    insert into access.earlier_passwords (staff, password_hash, at)
    select staff, password_hash, clock_timestamp() from access.accounts where staff = %(staff)s
)
update access.accounts set password_hash = %(hash)s, password_at = now(), password_given = false
where staff = %(staff)s and password_hash = %(checked)s
returning 1
"""
_BEGIN = """
update access.accounts set totp_secret = %(sealed)s, totp_confirmed = false
where staff = %(staff)s and not totp_confirmed returning 1
"""
_CONFIRM = "update access.accounts set totp_confirmed = true, totp_step = %(step)s where staff = %(staff)s"
_FAILED = """
update access.accounts set failures = failures + 1,
    locked_until = case when failures + 1 >= %(most)s then now() + make_interval(mins => %(minutes)s) end
where staff = %(staff)s
"""


async def change_password(desk: Desk, session: Session, old: str, new: str) -> None:
    """Take another password, ending every session of the account: log in anew with it.

    INVALID when it breaks the policy or was used before; UNAUTHENTICATED when `old` is wrong (counted as a
    failed login).
    """
    if (fault := find_password_fault(new, session.staff, desk.limits)) is not None:
        raise AccessRefused(Why.INVALID, f"body.new_password: needs {fault}", "body.new_password")

    async def read(connection: Connection) -> tuple[Row, list[Row]]:
        account = await fetch(connection, _ACCOUNT, {"staff": session.staff})
        if account is None:
            raise AccessRefused(Why.UNAUTHENTICATED, "The account is gone.")
        most = desk.limits.password_history
        return account, await fetch_all(connection, _EARLIER, {"staff": session.staff, "most": most})

    account, earlier = await desk.directory.write(read)
    current = account["password_hash"]
    if not await desk.turns.run(check_password, desk.digest, session.staff, old, current):
        await _count_failure(desk, session)
        raise AccessRefused(Why.UNAUTHENTICATED, "The old password is not accepted.")
    for known in [current, *(row["password_hash"] for row in earlier)]:
        if await desk.turns.run(check_password, desk.digest, session.staff, new, known):
            needed = f"a password that is not one of the last {desk.limits.password_history}"
            raise AccessRefused(Why.INVALID, f"body.new_password: needs {needed}", "body.new_password")
    fresh = await desk.turns.run(hash_password, desk.digest, session.staff, new)

    async def work(connection: Connection) -> None:
        values = {"staff": session.staff, "hash": fresh, "checked": current}
        if await fetch(connection, _CHANGE, values) is None:
            raise AccessRefused(Why.CONFLICT, "The password was changed meanwhile.")
        await end_sessions(connection, session.staff, "password_changed")
        await record_change(desk, connection, Change(session.staff, "password_changed", session.staff))

    await desk.directory.write(work)


async def _count_failure(desk: Desk, session: Session) -> None:
    values = {"staff": session.staff, "most": desk.limits.lock_after, "minutes": desk.limits.lock_minutes}

    async def work(connection: Connection) -> None:
        await connection.execute(_FAILED, values)
        account = await fetch(connection, _ACCOUNT, values)
        if account is not None and account["locked_until"] is not None:
            await end_sessions(connection, session.staff, "locked")

    await desk.directory.write(work)


async def begin_second_factor(desk: Desk, session: Session) -> tuple[str, str]:
    """Return a fresh secret and its otpauth address, shown once; CONFLICT when there is a confirmed one.

    Only an approved reset by administrators takes a confirmed factor away.
    """
    secret = make_secret()
    sealed = desk.seal(session.staff, secret)

    async def work(connection: Connection) -> None:
        if await fetch(connection, _BEGIN, {"staff": session.staff, "sealed": sealed}) is None:
            raise AccessRefused(Why.CONFLICT, "There is a second factor already; it has to be reset first.")

    await desk.directory.write(work)
    return secret, make_uri(secret, session.staff)


async def confirm_second_factor(desk: Desk, session: Session, code: str) -> None:
    """Prove that the secret arrived, with a code of it; ends the session: log in anew with a code."""

    async def work(connection: Connection) -> None:
        account = await fetch(connection, _ACCOUNT, {"staff": session.staff})
        if account is None or account["totp_secret"] is None or account["totp_confirmed"]:
            raise AccessRefused(Why.CONFLICT, "There is no second factor that waits to be confirmed.")
        step = find_step(desk.unseal(session.staff, account["totp_secret"]), code, desk.read_s())
        if step is None:
            raise AccessRefused(Why.INVALID, "body.code: needs the code that the app shows now", "body.code")
        await connection.execute(_CONFIRM, {"staff": session.staff, "step": step})
        await end_sessions(connection, session.staff, "second_factor_set")
        await record_change(desk, connection, Change(session.staff, "second_factor_set", session.staff))

    await desk.directory.write(work)
