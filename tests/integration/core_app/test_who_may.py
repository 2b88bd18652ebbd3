"""Who may call what: every route against every kind of caller, and what a declaration is held to."""

import asyncio
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import Response

from compliance.access.bearer import Claims, make_bearer
from compliance.access.roles import ADMINISTRATORS, Party, Role
from core_app.api.app import make_app
from core_app.api.guard import Allowed, GuardedRoute, Undeclared, allow, allowed_of, check_routes, walk_routes
from core_app.settings import ApiSettings
from core_app.staff.portal import make_portal
from tests.integration.core_app.conftest import serve_api
from tests.integration.core_app.lending import make_person
from tests.integration.core_app.people import seat

NOBODY: Any = None  # listing routes asks no core
APP = make_app(NOBODY, ApiSettings())
ROUTES = [
    (method, route.path, allowed_of(route))
    for route in walk_routes(APP)
    for method in sorted(route.methods or ())
    if route.path.startswith("/v1/") and method != "HEAD"
]
FOREVER_S = 4_000_000_000
MOVES_MONEY = (
    *("/v1/draws", "/v1/repayments", "/v1/prepayments", "/v1/bill-repayments", "/v1/debit-agreements"),
    *("/v1/reversals", "/v1/write-offs"),
)
"""Every route after which an amount stands on another account, or will be collected."""


def test_anyone_may_log_in_and_nothing_else() -> None:
    open_ones = {path for _, path, declared in ROUTES if declared and Party.ANYONE in declared.callers}
    assert open_ones == {"/v1/staff/sessions"}


def test_no_route_is_for_staff_and_for_others() -> None:
    for _, path, declared in ROUTES:
        assert declared is not None
        assert not (declared.roles and declared.callers - declared.roles), path


def test_administrators_reach_no_customer() -> None:
    for _, path, declared in ROUTES:
        assert declared is not None
        if "looks" not in path and not declared.any_scope and "approval" not in path:
            mixed = declared.roles & ADMINISTRATORS and declared.roles - ADMINISTRATORS
            assert not mixed or path == "/v1/staff/heartbeats", path


def test_staff_move_money_in_two_ways_and_each_is_operations_alone() -> None:
    """Taking a repayment back, and a loan out of the books; whoever decides on limits may not."""
    named = {path: declared.roles for _, path, declared in ROUTES if declared and path in MOVES_MONEY}
    staff = {path: roles for path, roles in named.items() if roles}
    assert set(named) == set(MOVES_MONEY)
    assert staff == {"/v1/reversals": {Role.OPERATIONS}, "/v1/write-offs": {Role.OPERATIONS}}


def test_what_takes_two_people_takes_another_role_or_person() -> None:
    two = {
        path: str(declared.approved_by) for _, path, declared in ROUTES if declared and declared.approved_by
    }
    assert two == {
        "/v1/write-offs": "supervisor",
        "/v1/campaigns": "supervisor",
        "/v1/coupons": "supervisor",
        "/v1/segments": "supervisor",
        "/v1/strategies": "supervisor",
        "/v1/staff/exports": "supervisor",
        "/v1/staff/complaints/{complaint_id}/special-extensions": "supervisor",
        "/v1/staff/customers/{customer_id}/unmaskings": "supervisor",
        "/v1/staff/accounts/{staff}/roles": "security_admin",
        "/v1/staff/accounts/{staff}/enable": "security_admin",
        "/v1/staff/accounts/{staff}/reset": "security_admin",
        "/v1/staff/cases/{case_id}/unmaskings": "security_admin",
    }


async def endpoint(wallet_id: str) -> Response:
    return Response(wallet_id)


def planted(route_class: type, *marks: Any) -> FastAPI:
    router = APIRouter(prefix="/v1", route_class=route_class)
    marked = endpoint
    for mark in marks:
        marked = mark(marked)
    router.add_api_route("/wallets/{wallet_id}", marked, methods=["GET"])
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(router)
    return app


def test_a_route_without_declaration_or_guard_keeps_the_application_from_starting() -> None:
    from fastapi.routing import APIRoute

    async def fresh(wallet_id: str) -> Response:
        return Response(wallet_id)

    router = APIRouter(prefix="/v1", route_class=GuardedRoute)
    router.add_api_route("/new/{wallet_id}", fresh, methods=["POST"])
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(router)
    with pytest.raises(Undeclared, match=r"/v1/new/.*: does not say who"):
        check_routes(app)
    with pytest.raises(Undeclared, match="does not say who"):
        check_routes(planted(APIRoute, allow(Party.CHANNEL)))
    with pytest.raises(Undeclared, match="whose wallet_id is cannot be told"):
        check_routes(planted(GuardedRoute, allow(Party.CUSTOMER)))
    check_routes(planted(GuardedRoute, allow(Party.CHANNEL)))


def fill(path: str, customer_id: str) -> str:
    """Return the path with ids that lead nowhere, but for the customer's own."""
    nothing = "0" * 32
    values = {
        "customer_id": customer_id,
        "loan_id": f"L000-{nothing}",
        "application_id": f"A000-{nothing}",
        "look_id": f"S000-{nothing}",
        "staff": "nobody.here",
        "approval_id": nothing,
        "product": "instalment-12",
        "case_id": f"W-{nothing}",
        "complaint_id": f"G000-{nothing}",
    }
    return path.format_map(values)


async def test_every_route_answers_exactly_those_whom_it_declares(core: Any) -> None:
    portal = make_portal(core, core.router.staff)
    sign = core.vault.request_digest
    async with serve_api(core, None, portal=portal) as client:
        _, registered, _ = await client.post("/v1/customers", make_person())
        own = registered["customer_id"]
        callers: dict[Party | Role, dict[str, str]] = {}
        for role in Role:
            callers[role] = await seat(portal, f"one.{role}", role)
        for party, subject in ((Party.CHANNEL, "app"), (Party.CUSTOMER, own)):
            token = make_bearer(sign, Claims(party, subject, FOREVER_S))
            callers[party] = {"Authorization": f"Bearer {token}"}
        asked, wrong = 0, []

        async def knock(method: str, path: str, declared: Allowed, caller: Party | Role | None) -> None:
            """Ask one route as one caller, None: without a token."""
            nonlocal asked
            headers = callers[caller] if caller is not None else {"Authorization": ""}
            status, problem, _ = await client.send(method, fill(path, own), headers=headers, json={})
            asked += 1
            may = caller in declared.callers or Party.ANYONE in declared.callers
            refused = status in (401, 403) and "two people" not in problem.get("detail", "")
            if may == refused or status >= 500 or (caller is None and not may and status != 401):
                wrong.append((method, path, str(caller), status))

        for method, path, declared in ROUTES:
            assert declared is not None
            if path == "/v1/staff/logout":
                continue  # it would end the sessions that the rest is asked with
            # Sessions of different people do not wait for each other: one commit for all of them.
            await asyncio.gather(*(knock(method, path, declared, caller) for caller in (None, *callers)))
        kinds = set(callers) | {Party.ANYONE}
    assert wrong == []
    assert kinds == {*Role, *Party}, "every kind of caller was tried"
    assert asked == (len(ROUTES) - 1) * (len(callers) + 1)


async def test_logging_out_is_for_staff_only(core: Any) -> None:
    """The one route left out above: it ends the session it is asked with."""
    portal = make_portal(core, core.router.staff)
    async with serve_api(core, None, portal=portal) as client:
        for party in (Party.CHANNEL, Party.CUSTOMER):
            token = make_bearer(core.vault.request_digest, Claims(party, "C" + "0" * 24, FOREVER_S))
            headers = {"Authorization": f"Bearer {token}"}
            assert (await client.send("POST", "/v1/staff/logout", headers=headers))[0] == 403
        assert (await client.send("POST", "/v1/staff/logout", headers={"Authorization": ""}))[0] == 401
        for role in Role:
            headers = await seat(portal, f"one.{role}", role)
            assert (await client.send("POST", "/v1/staff/logout", headers=headers))[0] in (200, 204)
            assert (await client.send("POST", "/v1/staff/logout", headers=headers))[0] == 401
