"""Rules of passwords, logins, sessions, roles and tokens, without any server."""

import base64
import datetime as dt
import hashlib
import hmac
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.access.approvals import Asked
from compliance.access.bearer import Claims, make_bearer, read_bearer
from compliance.access.passwords import check_password, hash_password, make_password
from compliance.access.roles import ADMINISTRATORS, BUSINESS, Party, Role, find_role_fault
from compliance.access.rules import (
    Login,
    Opened,
    Outcome,
    Scope,
    Standing,
    decide_login,
    find_password_fault,
    find_scope_fault,
    find_session_fault,
)
from compliance.access.second_factor import STEP_SECONDS, find_step, make_code
from compliance.access.settings import AccessSettings

LIMITS = AccessSettings()
NOW = dt.datetime(2026, 1, 15, 9, 0, tzinfo=dt.UTC)


def digest(message: bytes) -> bytes:
    return hmac.new(b"key", message, hashlib.sha256).digest()


def standing(**change: Any) -> Standing:
    values: dict[str, Any] = {
        "roles": (Role.SERVICE,),
        "disabled": False,
        "password_at": NOW - dt.timedelta(days=1),
        "password_given": False,
        "failures": 0,
        "locked_until": None,
        "totp_confirmed": False,
        "totp_step": 0,
        "used_at": NOW - dt.timedelta(days=1),
    }
    return Standing(**(values | change))


def test_every_pair_of_roles_with_an_administrator_is_refused_and_no_other() -> None:
    for size in (1, 2, 3):
        for roles in itertools.combinations(Role, size):
            mixed = size > 1 and not ADMINISTRATORS.isdisjoint(roles)
            assert (find_role_fault(roles) is not None) == mixed, roles
    assert find_role_fault(sorted(BUSINESS)) is None


@pytest.mark.parametrize(
    ("password", "lacks"),
    [
        ("Abcdef7-ghij", None),
        ("Abcdef7-ghi", "12 to 128 characters"),
        ("A7-" + "x" * 126, "12 to 128 characters"),
        ("abcdefghijkl7", "3 of"),
        ("Aaaaaaaaaaa7", "6 different"),
        ("Li.wei-2026-abc", "without the account's name"),
    ],
)
def test_a_password_must_be_long_mixed_and_not_the_name(password: str, lacks: str | None) -> None:
    fault = find_password_fault(password, "li.wei", LIMITS)
    assert fault is None if lacks is None else lacks in (fault or "")
    assert password not in (fault or "")


def test_passwords_that_are_handed_out_pass_the_policy() -> None:
    made = {make_password() for _ in range(200)}
    assert len(made) == 200
    assert [find_password_fault(password, "li.wei", LIMITS) for password in made] == [None] * 200


def test_a_hash_opens_for_its_password_its_account_and_its_key_only() -> None:
    stored = hash_password(digest, "li.wei", "Abcdef7-ghij")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert check_password(digest, "li.wei", "Abcdef7-ghij", stored)
    assert not check_password(digest, "li.wei", "Abcdef7-ghik", stored)
    assert not check_password(digest, "wang.fang", "Abcdef7-ghij", stored)
    assert not check_password(lambda message: message[:32].ljust(32), "li.wei", "Abcdef7-ghij", stored)


@given(st.lists(st.booleans(), max_size=30))
def test_five_wrong_passwords_in_a_row_lock_and_nothing_less_does(tries: list[bool]) -> None:
    account, wrong = standing(), 0
    for right in tries:
        login = decide_login(account, NOW, LIMITS, password_ok=right, step=None)
        if wrong >= LIMITS.lock_after:
            assert login == Login(Outcome.LOCKED, account.failures, account.locked_until, 0)
            continue
        wrong = 0 if right else wrong + 1
        assert (login.outcome is Outcome.OPENED) == right
        assert (login.locked_until is not None) == (wrong == LIMITS.lock_after)
        account = standing(failures=login.failures, locked_until=login.locked_until)


def test_a_lock_runs_out_by_itself_and_the_count_begins_anew() -> None:
    locked = standing(failures=5, locked_until=NOW)
    before = decide_login(locked, NOW - dt.timedelta(seconds=1), LIMITS, password_ok=True, step=None)
    assert before.outcome is Outcome.LOCKED
    assert decide_login(locked, NOW, LIMITS, password_ok=True, step=None).outcome is Outcome.OPENED
    again = decide_login(locked, NOW, LIMITS, password_ok=False, step=None)
    assert (again.failures, again.locked_until) == (1, None)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"disabled": True}, Outcome.DISABLED),
        ({"used_at": NOW - dt.timedelta(days=91)}, Outcome.UNUSED),
        ({"used_at": NOW - dt.timedelta(days=89)}, Outcome.OPENED),
    ],
)
def test_disabled_and_long_unused_accounts_open_to_no_password(change: Any, outcome: Outcome) -> None:
    assert decide_login(standing(**change), NOW, LIMITS, password_ok=True, step=None).outcome is outcome


@pytest.mark.parametrize(("step", "opens"), [(None, False), (99, False), (100, False), (101, True)])
def test_a_code_is_good_once_and_an_older_one_never(step: int | None, opens: bool) -> None:
    account = standing(roles=(Role.SYSTEM_ADMIN,), totp_confirmed=True, totp_step=100)
    login = decide_login(account, NOW, LIMITS, password_ok=True, step=step)
    assert (login.outcome is Outcome.OPENED) == opens
    assert login.totp_step == (101 if opens else 100)


@pytest.mark.parametrize(
    ("change", "scope"),
    [
        ({}, Scope.FULL),
        ({"password_given": True}, Scope.PASSWORD),
        ({"password_at": NOW - dt.timedelta(days=91)}, Scope.PASSWORD),
        ({"roles": (Role.AUDIT_ADMIN,)}, Scope.ENROL),
        ({"roles": (Role.AUDIT_ADMIN,), "totp_confirmed": True}, Scope.FULL),
    ],
)
def test_what_is_not_in_order_has_to_be_put_in_order_first(change: Any, scope: Scope) -> None:
    assert decide_login(standing(**change), NOW, LIMITS, password_ok=True, step=1).scope is scope


def test_who_becomes_an_administrator_needs_a_second_factor_at_once() -> None:
    assert find_scope_fault([Role.SERVICE], Scope.FULL, totp_confirmed=False) is None
    assert find_scope_fault([Role.SYSTEM_ADMIN], Scope.FULL, totp_confirmed=False) is not None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"ended_at": NOW}, "ended"),
        ({"seen_at": NOW - dt.timedelta(minutes=16)}, "idle"),
        ({"seen_at": NOW - dt.timedelta(minutes=14)}, None),
        ({"began_at": NOW - dt.timedelta(minutes=481)}, "too_old"),
        ({"address": "192.0.2.8"}, "elsewhere"),
    ],
)
def test_a_session_ends_idle_old_or_elsewhere(change: Any, fault: str | None) -> None:
    values: dict[str, Any] = {"began_at": NOW, "seen_at": NOW, "ended_at": None, "address": "192.0.2.7"}
    opened = Opened(**(values | change), scope=Scope.FULL)
    assert find_session_fault(opened, "192.0.2.7", NOW, LIMITS) == fault


@pytest.mark.parametrize(
    "weaker",
    [
        {"password_length": 7}, {"password_classes": 2}, {"password_days": 91}, {"password_history": 0},
        {"lock_after": 11}, {"lock_after": 2}, {"lock_minutes": 9}, {"idle_minutes": 31},
        {"hard_minutes": 721},        {"idle_minutes": 1, "touch_seconds": 60},
    ],
    ids=str,
)  # fmt: skip
def test_settings_cannot_be_weaker_than_level_3(weaker: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="needs"):
        AccessSettings(**weaker)


# RFC 6238 appendix B, SHA-1, the last six of eight digits.
RFC_SECRET = b"12345678901234567890".hex()
RFC_CODES = [(1234567890, "005924"), (1111111109, "081804"), (1111111111, "050471"), (2000000000, "279037")]


@pytest.mark.parametrize(("now_s", "code"), RFC_CODES)
def test_codes_are_those_of_the_rfc_and_good_one_step_around(now_s: int, code: str) -> None:
    assert make_code(RFC_SECRET, now_s) == code
    step = now_s // STEP_SECONDS
    for around in (-STEP_SECONDS, 0, STEP_SECONDS):
        assert find_step(RFC_SECRET, code, now_s + around) == step
    assert find_step(RFC_SECRET, code, now_s + 3 * STEP_SECONDS) is None
    assert find_step(RFC_SECRET, "000000", now_s) is None


CLAIMS = Claims(Party.CUSTOMER, "C" + "0" * 24, 1_000)


def test_a_signed_token_says_what_was_signed_until_it_is_over() -> None:
    token = make_bearer(digest, CLAIMS)
    assert read_bearer(digest, token, 999.9) == CLAIMS
    assert read_bearer(digest, token, 1_000) is None
    assert read_bearer(lambda message: b"x" * 32, token, 0) is None


@given(st.data())
def test_no_changed_token_is_believed(data: st.DataObject) -> None:
    token = make_bearer(digest, CLAIMS)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("abcXYZ019-_.="))
    changed = token[:place] + letter + token[place + 1 :]
    found = read_bearer(digest, changed, 0)
    # The last letter of base64 has spare bits: what decodes to the same bytes is the same token.
    assert found is None or found == CLAIMS


@given(st.text(max_size=80))
def test_what_is_no_token_is_none(text: str) -> None:
    assert read_bearer(digest, text, 0) is None
    assert read_bearer(digest, "b1." + text, 0) is None


def test_a_channels_claims_cannot_be_put_under_a_customers_mac() -> None:
    _, _, mac = make_bearer(digest, CLAIMS).split(".")
    plain = base64.urlsafe_b64encode(b'["channel","app",1000]').rstrip(b"=").decode()
    assert read_bearer(digest, f"b1.{plain}.{mac}", 0) is None


def test_an_approval_is_of_one_request_to_the_letter() -> None:
    asked = Asked("POST /v1/write-offs", "/v1/write-offs", {"loan_id": "L1", "reason": "dead"})
    same = Asked("POST /v1/write-offs", "/v1/write-offs", {"reason": "dead", "loan_id": "L1"})
    assert asked.canonical() == same.canonical()
    others = [
        Asked("POST /v1/write-offs", "/v1/write-offs", {"loan_id": "L2", "reason": "dead"}),
        Asked("POST /v1/write-offs", "/v1/write-offs", {"loan_id": "L1"}),
        Asked("POST /v1/reversals", "/v1/write-offs", {"loan_id": "L1", "reason": "dead"}),
        Asked("POST /v1/write-offs", "/v1/write-off", {"loan_id": "L1", "reason": "dead"}),
    ]
    assert asked.canonical() not in {other.canonical() for other in others}
