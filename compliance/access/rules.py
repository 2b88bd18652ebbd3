"""What a password must be, what a login becomes, whether a session lives. Pure: instants are arguments."""

import datetime as dt
import enum
from collections.abc import Sequence
from dataclasses import dataclass

from compliance.access.roles import Role, needs_second_factor
from compliance.access.settings import AccessSettings

PASSWORD_MOST = 128


class Scope(enum.StrEnum):
    """What a session is good for: all that the roles allow, or only to put one's own account in order."""

    FULL = "full"
    PASSWORD = "password"  # noqa: S105 - the word, not one
    ENROL = "enrol"


class Outcome(enum.StrEnum):
    """What a login came to. Only `OPENED` is told apart outside; the record knows the others."""

    OPENED = "opened"
    BAD_PASSWORD = "bad_password"  # noqa: S105 - the word, not one
    BAD_CODE = "bad_code"
    LOCKED = "locked"
    DISABLED = "disabled"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True)
class Standing:
    """What an account is when somebody logs in. `used_at`: last login, or when it was made."""

    roles: tuple[Role, ...]
    disabled: bool
    password_at: dt.datetime
    password_given: bool
    failures: int
    locked_until: dt.datetime | None
    totp_confirmed: bool
    totp_step: int
    used_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Login:
    """What becomes of the account and of who tries: the new counters, and a scope when it opens."""

    outcome: Outcome
    failures: int
    locked_until: dt.datetime | None
    totp_step: int
    scope: Scope = Scope.FULL


def find_password_fault(password: str, staff: str, limits: AccessSettings) -> str | None:
    """Return what a password lacks, without quoting it, or None."""
    classes = len({_class_of(character) for character in password})
    if not limits.password_length <= len(password) <= PASSWORD_MOST:
        return f"{limits.password_length} to {PASSWORD_MOST} characters"
    if classes < limits.password_classes:
        return f"{limits.password_classes} of: lower case, upper case, digits, other characters"
    if len(set(password)) < limits.password_distinct:
        return f"{limits.password_distinct} different characters"
    if staff in password.lower():
        return "a password without the account's name in it"
    return None


def _class_of(character: str) -> str:
    if character.isdigit():
        return "digit"
    if not character.isalpha():
        return "other"
    return "upper" if character.isupper() else "lower"


def decide_login(
    account: Standing, now: dt.datetime, limits: AccessSettings, *, password_ok: bool, step: int | None
) -> Login:
    """Return what a login becomes.

    `step` is the time step of a right code, None for a wrong or missing one. A code whose step is not after
    the last one used is a replay and counts as wrong. While locked, the right password opens nothing and
    nothing is counted, so a lock always ends.
    """
    unchanged = (account.failures, account.locked_until, account.totp_step)
    if account.disabled:
        return Login(Outcome.DISABLED, *unchanged)
    if account.locked_until is not None and now < account.locked_until:
        return Login(Outcome.LOCKED, *unchanged)
    if now - account.used_at > dt.timedelta(days=limits.unused_days):
        return Login(Outcome.UNUSED, *unchanged)
    if not password_ok:
        return _failed(Outcome.BAD_PASSWORD, account, now, limits)
    if account.totp_confirmed and (step is None or step <= account.totp_step):
        return _failed(Outcome.BAD_CODE, account, now, limits)
    used = step if account.totp_confirmed and step is not None else account.totp_step
    return Login(Outcome.OPENED, 0, None, used, _scope(account, now, limits))


def _failed(outcome: Outcome, account: Standing, now: dt.datetime, limits: AccessSettings) -> Login:
    # A lock that has run out begins the count anew.
    failures = 1 if account.locked_until is not None else account.failures + 1
    locked = failures >= limits.lock_after
    until = now + dt.timedelta(minutes=limits.lock_minutes) if locked else None
    return Login(outcome, failures, until, account.totp_step)


def _scope(account: Standing, now: dt.datetime, limits: AccessSettings) -> Scope:
    if account.password_given or now - account.password_at > dt.timedelta(days=limits.password_days):
        return Scope.PASSWORD
    if needs_second_factor(account.roles) and not account.totp_confirmed:
        return Scope.ENROL
    return Scope.FULL


@dataclass(frozen=True, slots=True)
class Opened:
    """A session as stored."""

    began_at: dt.datetime
    seen_at: dt.datetime
    ended_at: dt.datetime | None
    address: str | None
    scope: Scope


def find_session_fault(
    session: Opened, address: str | None, now: dt.datetime, limits: AccessSettings
) -> str | None:
    """Return why a session is no longer good, or None. It serves only the address that it began at."""
    if session.ended_at is not None:
        return "ended"
    if now - session.began_at > dt.timedelta(minutes=limits.hard_minutes):
        return "too_old"
    if now - session.seen_at > dt.timedelta(minutes=limits.idle_minutes):
        return "idle"
    if session.address != address:
        return "elsewhere"
    return None


def find_scope_fault(roles: Sequence[Role], scope: Scope, *, totp_confirmed: bool) -> str | None:
    """Return what must be done before anything else, or None.

    Roles are read anew with each request: who became an administrator meanwhile has no second factor yet.
    """
    if scope is Scope.PASSWORD:
        return "the password has to be changed first (POST /v1/staff/password)"
    if scope is Scope.ENROL or (needs_second_factor(roles) and not totp_confirmed):
        return "a second factor has to be set up first (POST /v1/staff/totp), then log in with it"
    return None
