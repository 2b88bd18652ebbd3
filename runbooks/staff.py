"""`biyi staff ...`: accounts of staff, administrators' acts, approvals; held to the portal's own rules."""

import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from compliance.access import accounts, approvals, own_account, signing_in
from compliance.access.approvals import Asked
from compliance.access.desk import Desk, Origin, Session
from compliance.access.errors import AccessRefused, Why
from compliance.access.roles import Role
from core_app.api import access_routes
from core_app.api.guard import check_session, declared_for
from runbooks.funder import run
from runbooks.lending_core import open_portal
from runbooks.stand.home import default_home
from runbooks.stand.topology import write_private

T = TypeVar("T")
HERE = Origin("cli", None)
"""Where a session of the command line begins; its token is good nowhere else."""
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
_approval = click.option("--approval", help="Id of the approval; without it the command asks for one.")


@click.group()
def staff() -> None:
    """Look after who works here and what they may do.

    \b
    Once:             biyi staff init --system an.bo --security chen.yu --audit deng.li
    Each of them:     biyi staff login an.bo; biyi staff password; log in again; biyi staff totp; log in again
    Somebody new:     biyi staff add li.wei --branch branch-7         (system administrator)
                      biyi staff roles li.wei service collection      (asks; prints an approval's id)
                      biyi staff approve ID                           (security administrator)
                      biyi staff roles li.wei service collection --approval ID
    Locked out:       biyi staff unlock li.wei                        (security administrator)
    Gone:             biyi staff disable li.wei
    Who did what:     biyi staff changes                              (audit administrator)

    System, security and audit administrators are three people; none of them has another role. Exit codes:
    0 done, 1 refused, 2 usage, 3 the accounts' cell cannot be reached now.
    """


def session_file() -> Path:
    """Return where the token of whoever is logged in here lies."""
    return default_home() / "staff-session"


def _perform(work: Callable[[Desk], Awaitable[T]]) -> T:
    """Run against the accounts' cell; exit 1 with what refused it."""

    async def opened() -> T:
        async with open_portal() as portal:
            return await work(portal.desk)

    try:
        return run(opened())
    except AccessRefused as refusal:
        raise click.ClickException(refusal.detail) from refusal


async def _session(desk: Desk, endpoint: object) -> Session:
    """Return who is logged in here, if they may do what the portal's route of the same name does."""
    try:
        token = session_file().read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        raise AccessRefused(Why.UNAUTHENTICATED, "Nobody is logged in: biyi staff login NAME") from error
    session = await signing_in.authenticate(desk, token, HERE)
    declared = declared_for(endpoint)
    if declared is None:
        raise AccessRefused(Why.FORBIDDEN, "This act does not say who may do it.")
    check_session(declared, session)
    return session


def _say(as_json: bool, plain: Any, text: str) -> None:
    click.echo(json.dumps(plain, ensure_ascii=False, default=str) if as_json else text)


@staff.command("init")
@click.option("--system", "system", required=True, help="Account name of the system administrator.")
@click.option("--security", "security", required=True, help="Account name of the security administrator.")
@click.option("--audit", "audit", required=True, help="Account name of the audit administrator.")
@click.option("--branch", default="head", show_default=True)
@_json
def init_command(system: str, security: str, audit: str, branch: str, as_json: bool) -> None:
    """Make the three administrators, once; prints a first password for each, good only to be changed."""
    names = {Role.SYSTEM_ADMIN: system, Role.SECURITY_ADMIN: security, Role.AUDIT_ADMIN: audit}
    passwords = _perform(lambda desk: accounts.found(desk, branch, names))
    lines = [f"{name}: {password}" for name, password in passwords.items()]
    _say(
        as_json, passwords, "\n".join([*lines, "Told once. Now each: biyi staff login; biyi staff password"])
    )


@staff.command("login")
@click.argument("name")
@click.option("--password", prompt=True, hide_input=True, envvar="BIYI_STAFF_PASSWORD", help="Asked for.")
@click.option("--code", envvar="BIYI_STAFF_CODE", help="Of the authenticator app; administrators need one.")
@_json
def login_command(name: str, password: str, code: str | None, as_json: bool) -> None:
    """Log in; the session's token is kept in the stand's directory, readable by you only."""
    entered = _perform(lambda desk: signing_in.log_in(desk, signing_in.Attempt(name, password, code), HERE))
    write_private(session_file(), entered.token + "\n")
    plain = {"staff": name, "roles": entered.roles, "scope": entered.scope}
    todo = {"full": "", "password": "; now: biyi staff password", "enrol": "; now: biyi staff totp"}
    _say(as_json, plain, f"{name}: {', '.join(entered.roles) or 'no role'}{todo[entered.scope]}")


@staff.command("logout")
def logout_command() -> None:
    """End the session."""

    async def work(desk: Desk) -> None:
        await signing_in.log_out(desk, await _session(desk, access_routes.post_logout))

    _perform(work)
    session_file().unlink(missing_ok=True)


@staff.command("password")
@click.option("--old", prompt="Old password", hide_input=True, envvar="BIYI_STAFF_PASSWORD")
@click.option("--new", prompt="New password", hide_input=True, confirmation_prompt=True)
def password_command(old: str, new: str) -> None:
    """Change your own password: 12 characters or more of three kinds. Your sessions end."""

    async def work(desk: Desk) -> None:
        session = await _session(desk, access_routes.post_password)
        await own_account.change_password(desk, session, old, new)

    _perform(work)
    session_file().unlink(missing_ok=True)
    click.echo("changed; log in again")


@staff.command("totp")
@click.option("--code", help="Confirms the secret that was shown before.")
@_json
def totp_command(code: str | None, as_json: bool) -> None:
    """Set up your own second factor: without --code shows a new secret, with it confirms it."""

    async def work(desk: Desk) -> tuple[str, str] | None:
        session = await _session(desk, access_routes.post_totp)
        if code is not None:
            await own_account.confirm_second_factor(desk, session, code)
            return None
        return await own_account.begin_second_factor(desk, session)

    begun = _perform(work)
    if begun is None:
        _say(as_json, {"confirmed": True}, "confirmed; log in again with --code")
        return
    secret, uri = begun
    _say(as_json, {"secret": secret, "uri": uri}, f"{uri}\nthen: biyi staff totp --code <what the app shows>")


@staff.command("list")
@_json
def list_command(as_json: bool) -> None:
    """Show every account: roles, locks, second factor, age of the password, last use."""

    async def work(desk: Desk) -> list[dict[str, Any]]:
        await _session(desk, access_routes.get_accounts)
        return await accounts.list_accounts(desk)

    rows = _perform(work)
    if as_json:
        _say(True, rows, "")
        return
    table = Table("account", "branch", "roles", "second factor", "password until", "state")
    for row in rows:
        state = "disabled" if row["disabled"] else "locked" if row["locked"] else "open"
        factor = "yes" if row["second_factor"] else "no"
        until = "first one" if row["password_given"] else f"{row['password_until']:%Y-%m-%d}"
        table.add_row(row["staff"], row["branch"], ", ".join(row["roles"]) or "-", factor, until, state)
    Console().print(table)


@staff.command("changes")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@_json
def changes_command(limit: int, as_json: bool) -> None:
    """Show what was done to accounts, by whom, with which approval; the newest first."""

    async def work(desk: Desk) -> list[dict[str, Any]]:
        await _session(desk, access_routes.get_changes)
        return await accounts.list_changes(desk, limit)

    rows = _perform(work)
    lines = [f"{row['at']:%Y-%m-%d %H:%M:%S} {row['done_by']}: {row['what']} {row['staff']}" for row in rows]
    _say(as_json, rows, "\n".join(lines))


@staff.command("add")
@click.argument("name")
@click.option("--branch", required=True)
@_json
def add_command(name: str, branch: str, as_json: bool) -> None:
    """Make an account without any role; prints its first password, good only to be changed."""

    async def work(desk: Desk) -> str:
        session = await _session(desk, access_routes.post_account)
        return await accounts.add_account(desk, session, name, branch)

    password = _perform(work)
    _say(as_json, {"staff": name, "password": password}, f"{name}: {password}")


@staff.command("roles")
@click.argument("name")
@click.argument("roles", nargs=-1, type=click.Choice([str(role) for role in Role]))
@_approval
@_json
def roles_command(name: str, roles: Sequence[str], approval: str | None, as_json: bool) -> None:
    """Give an account exactly these ROLES (none: take all away). Takes a security administrator too."""
    wanted = [Role(role) for role in roles]

    async def act(desk: Desk, session: Session) -> None:
        await accounts.set_roles(desk, session, name, wanted, approval)

    asked = _asked("roles", name, {"roles": [str(role) for role in wanted]})
    _two_people(access_routes.post_roles, asked, (approval, as_json), act)


@staff.command("enable")
@click.argument("name")
@_approval
@_json
def enable_command(name: str, approval: str | None, as_json: bool) -> None:
    """Open a disabled account again. Takes a security administrator too."""

    async def act(desk: Desk, session: Session) -> None:
        await accounts.enable(desk, session, name, approval)

    _two_people(access_routes.post_enable, _asked("enable", name), (approval, as_json), act)


@staff.command("reset")
@click.argument("name")
@_approval
@_json
def reset_command(name: str, approval: str | None, as_json: bool) -> None:
    """Give a new first password and take the second factor away. Takes a security administrator too."""

    async def act(desk: Desk, session: Session) -> str:
        return await accounts.reset(desk, session, name, approval)

    _two_people(access_routes.post_reset, _asked("reset", name), (approval, as_json), act)


@staff.command("unlock")
@click.argument("name")
@_json
def unlock_command(name: str, as_json: bool) -> None:
    """Let a locked or long unused account log in again, with the password it has."""

    async def work(desk: Desk) -> None:
        await accounts.unlock(desk, await _session(desk, access_routes.post_unlock), name)

    _perform(work)
    _say(as_json, {"staff": name, "unlocked": True}, f"{name}: unlocked")


@staff.command("disable")
@click.argument("name")
@_json
def disable_command(name: str, as_json: bool) -> None:
    """Shut an account; its sessions end at once."""

    async def work(desk: Desk) -> None:
        await accounts.disable(desk, await _session(desk, access_routes.post_disable), name)

    _perform(work)
    _say(as_json, {"staff": name, "disabled": True}, f"{name}: disabled")


@staff.command("approvals")
@click.option("--all", "everything", is_flag=True, help="Not only those that wait for a decision.")
@_json
def approvals_command(everything: bool, as_json: bool) -> None:
    """Show what waits for a second person."""

    async def work(desk: Desk) -> Sequence[dict[str, Any]]:
        await _session(desk, access_routes.get_approvals)
        return await approvals.list_approvals(desk, only_open=not everything, limit=100)

    rows = _perform(work)
    lines = [
        f"{row['approval_id']} {row['state']}: {row['asked_by']} asks for {row['route']} "
        f"{json.dumps(row['shown'], ensure_ascii=False)}, needs {row['needs']}"
        for row in rows
    ]
    _say(as_json, rows, "\n".join(lines))


@staff.command("approve")
@click.argument("approval_id")
@_json
def approve_command(approval_id: str, as_json: bool) -> None:
    """Approve as the second person."""
    _decide(approval_id, as_json, granted=True)


@staff.command("refuse")
@click.argument("approval_id")
@_json
def refuse_command(approval_id: str, as_json: bool) -> None:
    """Refuse as the second person."""
    _decide(approval_id, as_json, granted=False)


def _decide(approval_id: str, as_json: bool, *, granted: bool) -> None:
    async def work(desk: Desk) -> dict[str, Any]:
        session = await _session(desk, access_routes.post_decision)
        return await approvals.decide_approval(desk, session, approval_id, granted=granted)

    row = _perform(work)
    _say(as_json, row, f"{approval_id}: {row['state']}")


def _asked(act: str, name: str, body: dict[str, Any] | None = None) -> Asked:
    route = f"POST /v1/staff/accounts/{{staff}}/{act}"
    return Asked(route, f"/v1/staff/accounts/{name}/{act}", body or {}, name)


def _two_people(
    endpoint: object,
    asked: Asked,
    options: tuple[str | None, bool],
    act: Callable[[Desk, Session], Awaitable[str | None]],
) -> None:
    """Ask for an approval (exit 1: not done yet), or act with one."""
    approval, as_json = options

    async def work(desk: Desk) -> dict[str, Any]:
        session = await _session(desk, endpoint)
        declared = declared_for(endpoint)
        if declared is None or declared.approved_by is None:
            raise AccessRefused(Why.FORBIDDEN, "This act does not say who approves it.")
        if approval is None:
            return await approvals.ask_approval(desk, session, asked, declared.approved_by)
        await approvals.use_approval(desk, session, approval, asked, approval)
        told = await act(desk, session)
        return {"staff": asked.about, "done": True} | ({"password": told} if told else {})

    done = _perform(work)
    if "done" in done:
        told = f"; first password {done['password']}" if "password" in done else ""
        _say(as_json, done, f"{asked.about}: done{told}")
        return
    text = f"not done: a {done['needs']} has to approve it: biyi staff approve {done['approval_id']}"
    _say(as_json, done, text)
    sys.exit(1)
