"""Accounts over HTTP with real passwords: first login, second factor, locks, sessions, two people."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from compliance.access import accounts
from compliance.access.roles import Role
from compliance.access.second_factor import STEP_SECONDS, make_code
from core_app.staff.portal import make_portal
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.people import bearer_of, seat

NEW = "Blue-Kettle-7-sings"
FOUNDERS = {Role.SYSTEM_ADMIN: "an.bo", Role.SECURITY_ADMIN: "chen.yu", Role.AUDIT_ADMIN: "deng.li"}


@dataclass(slots=True)
class House:
    """An API, its portal, and a clock for codes that the test turns."""

    client: Any
    portal: Any
    cells: Any
    now_s: list[float] = field(default_factory=lambda: [1_800_000_000.0])

    async def call(self, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}" if token else ""}
        method = "GET" if body is None else "POST"
        more = {} if body is None else {"json": body}
        status, answer, _ = await self.client.send(method, f"/v1/staff{path}", headers=headers, **more)
        return status, answer

    async def log_in(self, staff: str, password: str, code: str | None = None) -> tuple[int, Any]:
        return await self.call("/sessions", {"staff": staff, "password": password, "code": code})

    async def tell(self) -> list[Any]:
        rows = await self.cells.rows(
            "select payload from core.outbox where topic like 'staff.%' order by outbox_id"
        )
        return [payload for (payload,) in rows]

    def alter(self, statement: str) -> None:
        self.cells.run_sql(self.cells.databases["a"], statement)


@pytest.fixture
async def house(core: Any, cells: Any) -> AsyncIterator[House]:
    clock = [1_800_000_000.0]
    portal = make_portal(core, core.router.staff, read_s=lambda: clock[0])
    async with serve_api(core, None, portal=portal) as client:
        yield House(client, portal, cells, clock)


async def test_an_administrators_first_day(house: House) -> None:
    """Found, log in, change the password, set up the second factor, work; each step is needed."""
    house.cells.server.run(
        "psql", "-U", "biyi_admin", "-d", house.cells.databases["a"], "-qc",
        "set session_replication_role = replica; truncate access.accounts cascade",
    )  # fmt: skip
    first = await accounts.found(house.portal.desk, "head", FOUNDERS)
    with pytest.raises(Exception, match="accounts already"):
        await accounts.found(house.portal.desk, "head", FOUNDERS)
    status, entered = await house.log_in("an.bo", first["an.bo"])
    assert (status, entered["scope"], entered["roles"]) == (201, "password", ["system_admin"])
    limited = entered["token"]
    assert (await house.call("/accounts", token=limited))[0] == 403
    assert (await house.call("/totp", {}, limited))[0] == 403
    for bad in ("short-1A", first["an.bo"], "an.bo-Is-here-2026"):
        change = {"old_password": first["an.bo"], "new_password": bad}
        assert (await house.call("/password", change, limited))[0] == 422
    change = {"old_password": first["an.bo"], "new_password": NEW}
    assert (await house.call("/password", change, limited))[0] == 200
    assert (await house.call("/me", token=limited))[0] == 401, "the session ended with the change"
    assert (await house.log_in("an.bo", first["an.bo"]))[0] == 401

    _, entered = await house.log_in("an.bo", NEW)
    assert entered["scope"] == "enrol"
    status, factor = await house.call("/totp", {}, entered["token"])
    assert (status, factor["uri"][:15]) == (201, "otpauth://totp/")
    assert (await house.call("/totp-confirmations", {"code": "000000"}, entered["token"]))[0] == 422
    code = make_code(factor["secret"], house.now_s[0])
    assert (await house.call("/totp-confirmations", {"code": code}, entered["token"]))[0] == 200

    assert (await house.log_in("an.bo", NEW))[0] == 401, "no code"
    assert (await house.log_in("an.bo", NEW, code))[0] == 401, "the code that confirmed is used"
    house.now_s[0] += STEP_SECONDS
    code = make_code(factor["secret"], house.now_s[0])
    status, entered = await house.log_in("an.bo", NEW, code)
    assert (status, entered["scope"]) == (201, "full")
    assert (await house.log_in("an.bo", NEW, code))[0] == 401, "a code is good once"
    assert (await house.call("/accounts", token=entered["token"]))[0] == 200
    assert (await house.call("/totp", {}, entered["token"]))[0] == 409, "not taken away by oneself"
    everything = str(await house.tell()) + str(await house.cells.rows("select * from access.changes"))
    for secret in (NEW, first["an.bo"], factor["secret"], entered["token"], code):
        assert secret not in everything


async def test_five_failures_lock_even_side_by_side_and_a_security_administrator_unlocks(
    house: House,
) -> None:
    security = await seat(house.portal, "chen.yu", Role.SECURITY_ADMIN)
    system = await seat(house.portal, "an.bo", Role.SYSTEM_ADMIN)
    _, made, _ = await house.client.send(
        "POST", "/v1/staff/accounts", json={"staff": "hu.min", "branch": "branch-7"}, headers=system
    )
    right = made["password"]
    unknown = await house.log_in("nobody.here", "Wrong-password-1")
    tries = await asyncio.gather(*(house.log_in("hu.min", f"Wrong-password-{n}") for n in range(8)))
    assert {status for status, _ in tries} == {401}
    assert tries[0] == unknown, "an account that is not there is answered the same"
    assert (await house.log_in("hu.min", right))[0] == 401, "locked"
    assert await house.cells.rows("select failures from access.accounts where staff = 'hu.min'") == [(5,)]
    whys = [event["why"] for event in await house.tell() if event.get("action") == "login"]
    assert (whys.count("bad_password"), whys.count("locked")) == (6, 4)
    assert "nobody.here" not in str(await house.tell())
    _, _, _ = await house.client.send("POST", "/v1/staff/accounts/hu.min/unlock", json={}, headers=security)
    assert (await house.log_in("hu.min", right))[0] == 201


SPOILED = {
    "idle": "update access.sessions set seen_at = now() - interval '16 minutes'",
    "too_old": "update access.sessions set began_at = now() - interval '481 minutes'",
    "disabled": "update access.accounts set disabled = true where staff = 'li.wei'",
    "elsewhere": "update access.sessions set address = '192.0.2.9'",
    "logged_out": "update access.sessions set ended_at = now(), ended_why = 'logged_out'",
    "unknown": "alter table access.sessions disable trigger user; update access.sessions set token_digest = "
    "sha256(token_digest)",
}


@pytest.mark.parametrize("why", SPOILED)
async def test_a_token_of_a_session_that_is_over_opens_nothing(house: House, why: str) -> None:
    assert (await house.client.get("/v1/staff/me"))[0] == 200
    house.alter(SPOILED[why])
    try:
        for _ in range(2):
            assert (await house.client.get("/v1/staff/me"))[0] == 401
    finally:
        house.alter("alter table access.sessions enable trigger user")
    refused = [event["why"] for event in await house.tell() if event.get("action") == "session"]
    assert set(refused) == ({why} if why not in ("logged_out", "unknown") else set())


async def test_a_look_at_a_session_is_no_use_of_it(house: House) -> None:
    aged = "select now() - seen_at > interval '5 minutes' from access.sessions where ended_at is null"
    house.alter("update access.sessions set seen_at = now() - interval '10 minutes'")
    status, shown, _ = await house.client.get("/v1/staff/standing")
    assert (status, shown["scope"]) == (200, "full")
    assert {old for (old,) in await house.cells.rows(aged)} == {True}
    assert (await house.client.get("/v1/staff/me"))[0] == 200
    assert False in {old for (old,) in await house.cells.rows(aged)}
    house.alter("update access.sessions set seen_at = now() - interval '16 minutes'")
    assert (await house.client.get("/v1/staff/standing"))[0] == 401


async def test_logging_out_and_in_again_ends_what_was_open(house: House) -> None:
    assert (await house.client.send("POST", "/v1/staff/logout"))[0] == 200
    assert (await house.client.get("/v1/staff/me"))[0] == 401
    with pytest.raises(Exception, match="returned non-zero"):
        house.alter("update access.sessions set ended_at = null, ended_why = null")


async def test_what_was_seen_of_one_login_is_worth_nothing_after_the_next(house: House) -> None:
    """Replay: the token of before opens nothing, and cannot end the session that took its place."""
    system = await seat(house.portal, "an.bo", Role.SYSTEM_ADMIN)
    _, made, _ = await house.client.send(
        "POST", "/v1/staff/accounts", json={"staff": "hu.min", "branch": "branch-7"}, headers=system
    )
    seen = (await house.log_in("hu.min", made["password"]))[1]["token"]
    assert (await house.call("/me", token=seen))[0] == 200
    status, entered = await house.log_in("hu.min", made["password"])
    assert (status, entered["token"] != seen) == (201, True)
    assert (await house.call("/me", token=seen))[0] == 401
    assert (await house.call("/logout", {}, seen))[0] == 401
    assert (await house.call("/me", token=entered["token"]))[0] == 200


async def test_roles_are_given_by_two_people_to_a_third_and_hold_at_once(house: House) -> None:
    system = await seat(house.portal, "an.bo", Role.SYSTEM_ADMIN)
    security = await seat(house.portal, "chen.yu", Role.SECURITY_ADMIN)
    hu = await seat(house.portal, "hu.min", Role.SERVICE)
    send, body = house.client.send, {"roles": ["collection", "service"]}
    path = "/v1/staff/accounts/hu.min/roles"
    assert (await send("POST", path, json=body, headers=system))[0] == 403
    wish = {"method": "POST", "path": path, "body": body}
    assert (await send("POST", "/v1/staff/approvals", json=wish, headers=hu))[0] == 403
    _, asked, _ = await send("POST", "/v1/staff/approvals", json=wish, headers=system)
    decision = f"/v1/staff/approvals/{asked['approval_id']}/decision"
    use = system | {"Biyi-Approval": asked["approval_id"]}
    assert (await send("POST", path, json=body, headers=use))[0] == 403, "not decided yet"
    for other in (system, hu, bearer_of("li.wei")):
        assert (await send("POST", decision, json={"granted": True}, headers=other))[0] == 403
    assert (await send("POST", decision, json={"granted": True}, headers=security))[0] == 200
    assert (await send("POST", decision, json={"granted": False}, headers=security))[0] == 409
    more = {"roles": ["collection", "service", "supervisor"]}
    assert (await send("POST", path, json=more, headers=use))[0] == 403, "another body"
    elsewhere = "/v1/staff/accounts/li.wei/roles"
    assert (await send("POST", elsewhere, json=body, headers=use))[0] == 403, "another path"
    stolen = bearer_of("li.wei") | {"Biyi-Approval": asked["approval_id"]}
    assert (await send("POST", path, json=body, headers=stolen))[0] == 403, "another person"
    key = {"Idempotency-Key": "roles-of-hu-1"}
    assert (await send("POST", path, json=body, headers=use | key))[0] == 200
    assert (await send("POST", path, json=body, headers=use | key))[0] == 200, "the same, repeated"
    assert (await send("POST", path, json=body, headers=use))[0] == 403, "used"
    assert (await send("GET", "/v1/staff/me", headers=hu))[0] == 401, "its sessions ended"
    assert await house.cells.rows("select roles from access.accounts where staff = 'hu.min'") == [
        (["collection", "service"],)
    ]
    audited = [json.loads(line) for (line,) in await house.cells.rows("select line from audit.entries")]
    entries = [one for one in audited if one["body"].get("action") == "roles_set"]
    assert len(entries) == 2, "the act and its repeat"
    for one in entries:
        by = (one["actor"], one["role"], one["body"]["case_id"])
        assert by == ("an.bo", "biyi_staff", asked["approval_id"])


async def test_administrators_exclude_each_other_in_the_database_too(house: House) -> None:
    await seat(house.portal, "an.bo", Role.SYSTEM_ADMIN)
    for roles in ("system_admin,audit_admin", "security_admin,service"):
        with pytest.raises(Exception, match="returned non-zero"):
            house.alter(f"update access.accounts set roles = '{{{roles}}}' where staff = 'an.bo'")
    with pytest.raises(Exception, match="returned non-zero"):
        house.alter(
            "insert into access.approvals (approval_id, route, request_digest, shown, needs, asked_by, "
            "expires_at, decided_by, decided_at, granted) "
            "select repeat('a', 32), 'x', sha256('x'), '{}', 'supervisor', "
            "'an.bo', now(), 'an.bo', now(), true"
        )
