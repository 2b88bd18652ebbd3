"""Attacks on the API: other people's objects, stolen and forged tokens, injection, hostile bodies."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from compliance.access.bearer import Claims, make_bearer
from compliance.access.roles import ADMINISTRATORS, BUSINESS, Party, Role
from core_app.api.openapi import operations
from core_app.api.rate_limit import CLIENT_HEADER
from core_app.staff.portal import make_portal
from tests.integration.core_app.lending import apply, confirm, make_person
from tests.integration.core_app.people import LI, STAFF_ONLY, bearer_of, seat
from tests.integration.core_app.test_who_may import APP, FOREVER_S, fill

ADMINS = {str(role) for role in ADMINISTRATORS}
CORPUS = (
    "' or '1'='1",
    "'; drop table core.customers; --",
    "') union select password_hash from access.accounts --",
    "%s%(x)s{0}",
    "\\'; select pg_sleep(5); --",
    "$$;select 1;$$",
    "${jndi:ldap://192.0.2.1/a}",
    "../../../etc/passwd",
    "<script>alert(1)</script>",
    "\u202e\u0000\ud800",
    "' || (select phone from core.customers limit 1) || '",
    "1); set role biyi_staff; --",
)


def bearer(core: Any, party: Party, subject: str, until_s: int = FOREVER_S) -> dict[str, str]:
    token = make_bearer(core.vault.request_digest, Claims(party, subject, until_s))
    return {"Authorization": f"Bearer {token}"}


async def lend(client: Any) -> dict[str, str]:
    """Return the ids of one person's customer, application, contract and loan."""
    _, customer, _ = await client.post("/v1/customers", make_person())
    decided = await apply(client, customer["customer_id"])
    _, contract, _ = await client.post("/v1/contracts", confirm(decided))
    _, loan, _ = await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
    waiting = await apply(client, customer["customer_id"])
    return {
        "customer_id": customer["customer_id"],
        "application_id": waiting["application_id"],
        "contract_id": contract["contract_id"],
        "loan_id": loan["loan_id"],
        "cost_table_sm3": waiting["cost_table_sm3"],
    }


OF_A_LOAN = ("", "/payoff", "/funding", "/summary", "/rate-changes")


def own_requests(ids: dict[str, str]) -> list[tuple[str, str, Any]]:
    """Return a good request for every route that a customer may call, with these ids."""
    reads = [
        f"/v1/customers/{ids['customer_id']}",
        f"/v1/customers/{ids['customer_id']}/limits",
        f"/v1/customers/{ids['customer_id']}/coupons",
        f"/v1/customers/{ids['customer_id']}/bills/instalment-12",
        f"/v1/applications/{ids['application_id']}",
        *(f"/v1/loans/{ids['loan_id']}{end}" for end in OF_A_LOAN),
    ]
    wish = {
        "customer_id": ids["customer_id"],
        "product": "instalment-12",
        "amount_fen": 100_000,
        "periods": 12,
    }
    signed = {"application_id": ids["application_id"], "cost_table_sm3": ids["cost_table_sm3"]}
    consent = {"source": "utilities", "granted": True, "reference": "paper-0001"}
    writes = [
        ("/v1/quotes", wish),
        ("/v1/applications", wish),
        ("/v1/contracts", signed | {"cost_table_read_seconds": 60}),
        ("/v1/repayments", {"loan_id": ids["loan_id"], "amount_fen": 1_000}),
        ("/v1/prepayments", {"loan_id": ids["loan_id"], "mode": "full"}),
        (
            "/v1/bill-repayments",
            {"customer_id": ids["customer_id"], "product": "instalment-12", "amount_fen": 1},
        ),
        ("/v1/draws", {"contract_id": ids["contract_id"]}),
        ("/v1/voids", {"contract_id": ids["contract_id"]}),
        ("/v1/debit-agreements", {"customer_id": ids["customer_id"], "agreement": "test-0001"}),
        ("/v1/identity-checks", {"customer_id": ids["customer_id"]}),
        ("/v1/consents", consent | {"customer_id": ids["customer_id"]}),
        (
            "/v1/page-events",
            {
                "customer_id": ids["customer_id"],
                "events": [{"name": "quote_seen", "at": "2026-01-15T08:00:00Z"}],
            },
        ),
        ("/v1/offers", {"customer_id": ids["customer_id"], "amount_fen": 100_000, "periods": 12}),
        ("/v1/limit-increases", {"customer_id": ids["customer_id"], "product": "instalment-12"}),
        ("/v1/complaints", {"customer_id": ids["customer_id"], "about": "fees", "words": "Not shown to me."}),
    ]
    return [("GET", path, None) for path in reads] + [("POST", path, body) for path, body in writes]


async def test_a_customer_reaches_what_is_their_own_and_nobody_elses(
    client: Any, core: Any, cells: Any
) -> None:
    mine, others = await lend(client), await lend(client)
    me = bearer(core, Party.CUSTOMER, mine["customer_id"])
    asked = {fill_back(path) for _, path, _ in own_requests(mine)}
    free = {"/v1/products"}  # names nobody
    declared = {
        path
        for path, operation in operations(APP.state.document)
        if "customer" in operation["x-biyi-callers"]
    }
    assert asked | free == declared, "every route that a customer may call is tried"
    before = await cells.counts()
    for ids, expected in ((others, {404}), (mine, {200, 201, 404, 409, 422})):
        for number, (method, path, body) in enumerate(own_requests(ids)):
            headers = me | {"Idempotency-Key": f"idor-{ids['customer_id']}-{number}"}
            status, answer, _ = await client.send(method, path, json=body, headers=headers)
            assert status in expected, (path, answer)
            if ids is others:
                assert answer["detail"].endswith("of yours."), (path, answer)
            else:
                assert not answer.get("detail", "").endswith("of yours."), (path, answer)
        if ids is others:
            assert await cells.counts() == before, "and nothing was done"
    mixed = {"customer_id": mine["customer_id"], "loan_id": others["loan_id"], "amount_fen": 1}
    status, _, _ = await client.send(
        "POST", "/v1/repayments", json=mixed, headers=me | {"Idempotency-Key": "mixed-000001"}
    )
    assert status == 404
    in_query = f"/v1/loans/{mine['loan_id']}?loan_id={others['loan_id']}"
    assert (await client.send("GET", in_query, headers=me))[0] == 404


def fill_back(path: str) -> str:
    """Return the template of a path that `own_requests` filled."""
    parts = path.split("/")
    names = {"C": "{customer_id}", "A": "{application_id}", "L": "{loan_id}", "i": "{product}"}
    return "/".join(
        names[part[0]] if part[:1] in names and (len(part) > 20 or part == "instalment-12") else part
        for part in parts
    )


async def test_forged_stale_and_foreign_tokens_are_refused(client: Any, core: Any) -> None:
    path = "/v1/loans/L000-" + "0" * 32
    good = bearer(core, Party.CHANNEL, "app")["Authorization"]
    assert (await client.send("GET", path, headers={"Authorization": good}))[0] == 404
    kind, claims, mac = good.removeprefix("Bearer ").split(".")
    other = make_bearer(lambda message: b"\0" * 32, Claims(Party.CHANNEL, "app", FOREVER_S))
    customer = bearer(core, Party.CUSTOMER, "C" + "0" * 24)["Authorization"].split(".")
    bad = [
        "", "Bearer", "Bearer ", "Basic " + claims, good + "x", good[:-4], f"Bearer {kind}.{claims}.",
        f"Bearer {kind}.{claims}.{'A' * 43}", f"Bearer s1.{claims}.{mac}", f"Bearer {other}",
        f"bearer  {good[7:]}",
        f"Bearer {kind}.{claims}.{customer[2]}", "Bearer b1.e30.e30", "Bearer " + "b1." * 2_000,
        bearer(core, Party.CHANNEL, "app", 1)["Authorization"],
    ]  # fmt: skip
    for header in bad:
        status, problem, _ = await client.send("GET", path, headers={"Authorization": header})
        assert (status, problem["title"]) == (401, "Who calls is not known"), header
    # What is in a header of old, or in the address, tells nothing.
    for headers in (
        {"Biyi-Staff": "li.wei"},
        {"X-Forwarded-User": "li.wei"},
        {"Cookie": f"token={good[7:]}"},
    ):
        status, _, _ = await client.send(
            "GET", path + f"?token={good[7:]}", headers=headers | {"Authorization": ""}
        )
        assert status == 401


async def test_no_role_lifts_itself(client: Any, core: Any, cells: Any) -> None:
    """Every business role tries what administrators do, and to be both people of two."""
    portal = make_portal(core, core.router.staff)
    wanted = {"roles": ["supervisor"]}
    for role in sorted(BUSINESS):
        own = await seat(portal, f"one.{role}", role)
        path = f"/v1/staff/accounts/one.{role}/roles"
        wish = {"method": "POST", "path": path, "body": wanted}
        assert (await client.send("POST", path, json=wanted, headers=own))[0] == 403
        assert (await client.send("POST", "/v1/staff/approvals", json=wish, headers=own))[0] == 403
        for act in ("unlock", "disable", "enable", "reset"):
            assert (await client.send("POST", f"/v1/staff/accounts/li.wei/{act}", json={}, headers=own))[
                0
            ] == 403
    system = await seat(portal, "an.bo", Role.SYSTEM_ADMIN)
    path = "/v1/staff/accounts/an.bo/roles"
    wish = {"method": "POST", "path": path, "body": wanted}
    _, asked, _ = await client.send("POST", "/v1/staff/approvals", json=wish, headers=system)
    await seat(portal, "chen.yu", Role.SECURITY_ADMIN)
    decision = f"/v1/staff/approvals/{asked['approval_id']}/decision"
    granted = await client.send("POST", decision, json={"granted": True}, headers=bearer_of("chen.yu"))
    assert granted[0] == 200
    use = system | {"Biyi-Approval": asked["approval_id"]}
    assert (await client.send("POST", path, json=wanted, headers=use))[0] == 403, "not one's own"
    both = {"method": "POST", "path": "/v1/write-offs", "body": {"loan_id": "L", "reason": "x"}}
    _, own_wish, _ = await client.send("POST", "/v1/staff/approvals", json=both, headers=LI)
    decision = f"/v1/staff/approvals/{own_wish['approval_id']}/decision"
    assert (await client.send("POST", decision, json={"granted": True}, headers=LI))[0] == 403, (
        "supervisor, yet the asker"
    )
    roles = await cells.rows("select roles from access.accounts where staff = 'an.bo'")
    assert roles == [(["system_admin"],)]


MAY_BE_UNKNOWN = {
    "/v1/staff/sessions",
    "/v1/staff/password",
    "/v1/staff/totp-confirmations",
    "/v1/staff/logout",
}
"""Where a wrong secret is a 401 of its own; they may end the session that the others are asked with."""


def is_last(path: str) -> tuple[bool, bool]:
    """Say whether a route has to wait until the others were tried; the way out waits for all."""
    return path in MAY_BE_UNKNOWN, path == "/v1/staff/logout"


def injected(schema: Any, schemas: Any, text: str) -> Any:
    """Return a body of this schema with `text` in every text field."""
    if "$ref" in schema:
        return injected(schemas[schema["$ref"].rpartition("/")[2]], schemas, text)
    if "anyOf" in schema:
        return injected(schema["anyOf"][0], schemas, text)
    match schema.get("type"):
        case "object":
            return {name: injected(one, schemas, text) for name, one in schema.get("properties", {}).items()}
        case "array":
            return [injected(schema["items"], schemas, text)]
        case "integer" | "number":
            return 1_000
        case "boolean":
            return True
    return text


async def test_no_text_field_of_any_route_reaches_sql(client: Any, core: Any, cells: Any) -> None:
    """Each field alone in a good body, all at once, and in queries: refused, no row, no 5xx."""
    document = APP.state.document
    schemas = document["components"]["schemas"]
    _, customer, _ = await client.post("/v1/customers", make_person())
    portal = make_portal(core, core.router.staff)
    admins = {role: (await seat(portal, f"one.{role}", Role(role)))["Authorization"] for role in ADMINS}
    who = "select staff, roles from access.accounts where cardinality(roles) > 0"
    before, asked, powers = await cells.counts(), 0, sorted(await cells.rows(who))
    for path, item in sorted(document["paths"].items(), key=lambda one: is_last(one[0])):
        for method, operation in item.items():
            texts = itertools.cycle(CORPUS)
            bodies: list[Any] = [None]
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                bodies = [injected(content["schema"], schemas, text) for text in CORPUS[:4]]
                for name, value in content["example"].items():
                    if isinstance(value, str):
                        bodies.append(content["example"] | {name: next(texts)})
            callers = operation["x-biyi-callers"]
            own = LI["Authorization"] if path.startswith(STAFF_ONLY) else f"Bearer {client.channel}"
            if "service" not in callers and ADMINS & set(callers):
                own = admins[min(ADMINS & set(callers))]
            for number, body in enumerate(bodies):
                url = fill(path, customer["customer_id"]) + (
                    "?max_age_ms=" + next(texts)[:20] if body is None else ""
                )
                headers = {"Authorization": own, "Idempotency-Key": f"inject-{asked}-{number}"}
                data = json.dumps(body).encode() if body is not None else None
                headers |= {"Content-Type": "application/json"}
                status, answer, _ = await client.send(method.upper(), url, data=data, headers=headers)
                asked += 1
                assert 200 <= status < 500, (path, body, answer)
                assert status != 401 or path in MAY_BE_UNKNOWN, (path, "nobody we know tried nothing")
                assert "syntax error" not in str(answer)
                assert "argon2" not in str(answer)
    assert asked > 100
    after = await cells.counts()
    changed = {name for name in after if after[name] != before[name]}
    # A person may be called like an attack: it is stored, sealed, and told as any other name.
    assert changed <= {"customers", "commands", "outbox", "staff_looks", "staff_pages", "staff_look_runs"}
    assert await cells.rows("select count(*) from core.customers where name is null") == [(0,), (0,)]
    assert sorted(await cells.rows(who)) == powers


async def test_no_parameter_of_any_route_reaches_sql(client: Any, core: Any, cells: Any) -> None:
    """Each part of a path, each query and each header that a route declares, one text after another."""
    _, customer, _ = await client.post("/v1/customers", make_person())
    portal = make_portal(core, core.router.staff)
    admins = {role: (await seat(portal, f"one.{role}", Role(role)))["Authorization"] for role in ADMINS}
    who = "select staff, roles from access.accounts where cardinality(roles) > 0"
    powers, tables = sorted(await cells.rows(who)), set(await cells.counts())
    tried: set[tuple[str, str]] = set()
    asked = sorted(parameters(), key=lambda one: is_last(one[0]))
    for ordinal, (path, method, place, name) in enumerate(asked):
        operation = APP.state.document["paths"][path][method]
        callers = set(operation["x-biyi-callers"])
        own = LI["Authorization"] if path.startswith(STAFF_ONLY) else f"Bearer {client.channel}"
        if "service" not in callers and ADMINS & callers:
            own = admins[min(ADMINS & callers)]
        body = None
        if "requestBody" in operation:
            body = json.dumps(operation["requestBody"]["content"]["application/json"]["example"]).encode()
        texts = CORPUS if place != "header" else [text for text in CORPUS if text.isprintable()][:2]
        sent = []
        for number, text in enumerate(texts):
            quoted = quote(text, safe="", errors="surrogatepass")
            url = fill(path.replace(f"{{{name}}}", quoted), customer["customer_id"])
            url += f"?{name}={quoted}" if place == "query" else ""
            headers = {"Authorization": own, "Idempotency-Key": f"{ordinal}-{number}-parameter"}
            headers |= {"Content-Type": "application/json"} | ({name: text} if place == "header" else {})
            sent.append(client.send(method.upper(), url, data=body, headers=headers))
        # Side by side: each waits for the database most of its time.
        for text, (status, answer, _) in zip(texts, await asyncio.gather(*sent), strict=True):
            assert 200 <= status < 500, (path, name, text, answer)
            assert status != 401 or path in MAY_BE_UNKNOWN, (path, name, "nobody we know tried nothing")
            assert "syntax error" not in str(answer)
            assert "argon2" not in str(answer)
        tried.add((place, name))
    assert {place for place, _ in tried} == {"path", "query", "header"}
    assert len(tried) > 15
    assert sorted(await cells.rows(who)) == powers
    assert set(await cells.counts()) == tables


def parameters() -> Iterator[tuple[str, str, str, str]]:
    """Return path, method, place and name of every parameter that a route declares.

    The client's name stands at every route and is read in one place, before any of them: it is there once.
    """
    for path, item in APP.state.document["paths"].items():
        for method, operation in item.items():
            for one in operation.get("parameters", []):
                if one["name"] != CLIENT_HEADER or path == "/v1/quotes":
                    yield path, method, one["in"], one["name"]


@pytest.mark.parametrize(
    "path", ["/v1/staff/sessions", "/v1/staff/searches", "/v1/staff/exports", "/v1/staff/approvals"]
)
async def test_bodies_meant_to_break_it_are_refused(client: Any, cells: Any, path: str) -> None:
    huge = json.dumps({"staff": "x" * 70_000}).encode()
    bodies = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 60_000,
        b'{"a":' * 5_000,
        b"\xff\xfe",
        b'{"method": "POST", "path": "/v1/write-offs", "body": {"a\\u0000": "\\ud800"}}',
        b'{"a": ' + b"9" * 60_000 + b"}",
        huge,
    ]
    before = await cells.counts()
    for body in bodies:
        headers = {"Content-Type": "application/json", "Biyi-Approval": "0" * 32}
        status, problem, _ = await client.send("POST", path, data=body, headers=headers)
        assert status in (400, 403, 413, 422), (body[:20], problem)
    assert await cells.counts() == before


async def test_secrets_of_a_login_come_back_nowhere(client: Any) -> None:
    secret = "My-Secret-Word-77"
    for body in (
        {"staff": "li.wei", "password": secret, "code": "12345"},
        {"staff": secret, "password": secret},
        {"staff": "li.wei", "password": [secret]},
        {"staff": "li.wei", "password": secret, "pass": secret},
    ):
        status, problem, _ = await client.send("POST", "/v1/staff/sessions", json=body)
        assert status == 422
        assert secret not in str(problem)
