"""Who can sign in to the demo's console: accounts made by the same acts, two people where it takes two.

Their passwords and second factors are random and lie in the demo's own directory, readable by its owner only:
what nobody may do with real accounts, and what spares a newcomer an authenticator app.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compliance.access import accounts, approvals, own_account, signing_in
from compliance.access.approvals import Asked
from compliance.access.desk import Desk, Origin, Session
from compliance.access.passwords import make_password
from compliance.access.roles import Role
from compliance.access.second_factor import STEP_SECONDS, make_code
from runbooks.stand.topology import write_private

ADMINISTRATORS = {
    Role.SYSTEM_ADMIN: "an.bo", Role.SECURITY_ADMIN: "chen.yu", Role.AUDIT_ADMIN: "deng.li",
}  # fmt: skip
CLERK = "li.wei"
BRANCH = "branch-7"
_HERE = Origin("cli", None)
"""Where a session of the command line begins, as in `runbooks.staff`."""
_ROLES_ROUTE = "POST /v1/staff/accounts/{staff}/roles"


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """An account. `secret` (hexadecimal) makes its codes, the one of `used_step` is spent; "" without any."""

    staff: str
    role: Role
    secret: str = ""
    used_step: int = 0


@dataclass(frozen=True, slots=True)
class DemoPeople:
    """Everybody who can sign in, with the one password of all."""

    password: str
    people: tuple[DemoPerson, ...]


def people_file(home: Path) -> Path:
    """Return where the demo of `home` keeps its people."""
    return home / "demo-people.json"


def write_people(home: Path, made: DemoPeople) -> None:
    """Keep who can sign in, readable by the owner only."""
    people = [
        {"staff": one.staff, "role": str(one.role), "secret": one.secret, "used_step": one.used_step}
        for one in made.people
    ]
    write_private(people_file(home), json.dumps({"password": made.password, "people": people}, indent=1))


def read_people(home: Path) -> DemoPeople | None:
    """Return who can sign in; None when the demo of `home` left nobody."""
    try:
        plain = json.loads(people_file(home).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    people = (
        DemoPerson(one["staff"], Role(one["role"]), one["secret"], one["used_step"])
        for one in plain["people"]
    )
    return DemoPeople(plain["password"], tuple(people))


def say_code(person: DemoPerson, now_s: float) -> str:
    """Return a code that is good at `now_s` (seconds since 1970) and was not used yet, "-" without a factor.

    A portal takes the code of the next half minute too, so there is one as soon as the last one was used.

    >>> say_code(DemoPerson("an.bo", Role.SYSTEM_ADMIN, "00" * 20, used_step=2), 60.0)
    '887919'
    >>> say_code(DemoPerson("an.bo", Role.SYSTEM_ADMIN, "00" * 20), 90.0)
    '887919'
    """
    if not person.secret:
        return "-"
    step = max(int(now_s) // STEP_SECONDS, person.used_step + 1)
    return make_code(person.secret, step * STEP_SECONDS)


async def make_people(desk: Desk, read_s: Callable[[], float] = time.time) -> DemoPeople:
    """Make the three administrators and a clerk of a stand without accounts, ready to sign in.

    Each takes a password and confirms a second factor; the clerk's role is given by one administrator and
    approved by another. CONFLICT when the stand has accounts.
    """
    password = make_password()
    first = await accounts.found(desk, "head", ADMINISTRATORS)
    made = {}
    for role, staff in ADMINISTRATORS.items():
        await _take_password(desk, staff, first[staff], password)
        made[role] = await _enrol(desk, staff, role, password, read_s)
    system, security = made[Role.SYSTEM_ADMIN], made[Role.SECURITY_ADMIN]
    by, second = await _enter(desk, system, password), await _enter(desk, security, password)
    clerk = await accounts.add_account(desk, by, CLERK, BRANCH)
    await _give_role(desk, by, second, Role.SERVICE)
    await _take_password(desk, CLERK, clerk, password)
    for session in (by, second):
        await signing_in.log_out(desk, session)
    entered = (DemoPerson(one.staff, one.role, one.secret, one.used_step + 1) for one in (system, security))
    return DemoPeople(password, (*entered, made[Role.AUDIT_ADMIN], DemoPerson(CLERK, Role.SERVICE)))


async def _take_password(desk: Desk, staff: str, first: str, password: str) -> None:
    session = await _log_in(desk, staff, first)
    await own_account.change_password(desk, session, first, password)


async def _enrol(
    desk: Desk, staff: str, role: Role, password: str, read_s: Callable[[], float]
) -> DemoPerson:
    session = await _log_in(desk, staff, password)
    secret, _ = await own_account.begin_second_factor(desk, session)
    step = int(read_s()) // STEP_SECONDS
    await own_account.confirm_second_factor(desk, session, make_code(secret, step * STEP_SECONDS))
    return DemoPerson(staff, role, secret, step)


async def _enter(desk: Desk, person: DemoPerson, password: str) -> Session:
    """Log in with the code after the one that confirmed: a code is good once."""
    code = make_code(person.secret, (person.used_step + 1) * STEP_SECONDS)
    return await _log_in(desk, person.staff, password, code)


async def _log_in(desk: Desk, staff: str, password: str, code: str | None = None) -> Session:
    entered = await signing_in.log_in(desk, signing_in.Attempt(staff, password, code), _HERE)
    return await signing_in.authenticate(desk, entered.token, _HERE)


async def _give_role(desk: Desk, by: Session, second: Session, role: Role) -> None:
    body = {"roles": [str(role)]}
    asked = Asked(_ROLES_ROUTE, f"/v1/staff/accounts/{CLERK}/roles", body, CLERK)
    approval = str((await approvals.ask_approval(desk, by, asked, Role.SECURITY_ADMIN))["approval_id"])
    await approvals.decide_approval(desk, second, approval, granted=True)
    await approvals.use_approval(desk, by, approval, asked, approval)
    await accounts.set_roles(desk, by, CLERK, [role], approval)
