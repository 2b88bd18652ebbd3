"""The routes of sessions, one's own account, administrators, and approvals by a second person."""

import datetime as dt
import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.routing import Match

from compliance.access import accounts, approvals, own_account, signing_in
from compliance.access.errors import AccessRefused, Why
from compliance.access.roles import Party, Role
from core_app.api import access_bodies as bodies
from core_app.api.answering import problems
from core_app.api.guard import (
    GuardedRoute,
    allow,
    allowed_of,
    make_asked,
    origin_of,
    portal_of,
    staff_of,
    walk_routes,
)

router = APIRouter(prefix="/v1/staff", default_response_class=Response, route_class=GuardedRoute)

Terminal = Annotated[
    str | None,
    Header(
        alias="Biyi-Terminal",
        pattern=r"^[a-z]{1,12}(-[a-z0-9]{1,8}){0,3}$",
        description="The work place that the session is opened at.",
        examples=["branch-7-12"],
    ),
]
Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9._-]{1,39}$", examples=["li.wei"])]
Limit = Annotated[int, Query(ge=1, le=500)]
_ANYBODY = tuple(Role)
_ON_ACT = problems(400, 404, 409, 413, 422, 503)
_ON_LIST = problems(422, 503)


def answer(status: int, body: Mapping[str, Any]) -> Response:
    """Return an answer that nobody may keep."""
    content = json.dumps(body, sort_keys=True, separators=(",", ":"), default=_plain)
    return Response(content, status, {"Cache-Control": "no-store"}, media_type="application/json")


def _plain(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds")
    raise TypeError(type(value).__name__)


_DONE = {"done": True}


@router.post(
    "/sessions",
    status_code=201,
    summary="Log in",
    responses={201: {"model": bodies.LoginAnswer}, **problems(400, 413, 422, 503)},
)
@allow(Party.ANYONE)
async def post_session(request: Request, body: bodies.LoginRequest, terminal: Terminal = None) -> Response:
    """Open a session, ending the account's other one. Every failure gets the same answer (401)."""
    attempt = signing_in.Attempt(body.staff, body.password, body.code)
    entered = await signing_in.log_in(portal_of(request).desk, attempt, origin_of(request, terminal))
    shown = {"token": entered.token, "staff": entered.staff, "roles": entered.roles, "scope": entered.scope}
    return answer(201, shown)


@router.get(
    "/me", summary="Show whose session this is", responses={200: {"model": bodies.MeAnswer}, **_ON_LIST}
)
@allow(*_ANYBODY, any_scope=True)
async def get_me(request: Request) -> Response:
    """Show name, branch, roles, and what has to be done first, if anything."""
    session = staff_of(request)
    return answer(
        200,
        {"staff": session.staff, "branch": session.branch, "roles": session.roles, "scope": session.scope},
    )


@router.get(
    "/standing",
    summary="Show whose session this is without using it",
    responses={200: {"model": bodies.MeAnswer}, **_ON_LIST},
)
@allow(*_ANYBODY, any_scope=True, uses=False)
async def get_standing(request: Request) -> Response:
    """Show what `/me` shows; the session goes on idling, for pages that refresh themselves."""
    return await get_me(request)


@router.post("/logout", summary="Log out", responses={200: {"model": bodies.DoneAnswer}, **_ON_LIST})
@allow(*_ANYBODY, any_scope=True)
async def post_logout(request: Request) -> Response:
    """End the session at once."""
    await signing_in.log_out(portal_of(request).desk, staff_of(request))
    return answer(200, _DONE)


@router.post(
    "/password",
    summary="Change one's own password",
    responses={200: {"model": bodies.DoneAnswer}, **problems(400, 409, 413, 422, 503)},
)
@allow(*_ANYBODY, any_scope=True)
async def post_password(request: Request, body: bodies.PasswordRequest) -> Response:
    """Change the password; all sessions end, log in anew with it."""
    desk, session = portal_of(request).desk, staff_of(request)
    await own_account.change_password(desk, session, body.old_password, body.new_password)
    return answer(200, _DONE)


@router.post(
    "/totp",
    status_code=201,
    summary="Set up one's own second factor",
    responses={201: {"model": bodies.SecondFactorAnswer}, **problems(409, 422, 503)},
)
@allow(*_ANYBODY, any_scope=True)
async def post_totp(request: Request) -> Response:
    """Make a secret for an authenticator app; it counts once a code of it was confirmed."""
    portal, session = portal_of(request), staff_of(request)
    if session.scope == "password":
        raise AccessRefused(Why.FORBIDDEN, "The password has to be changed first (POST /v1/staff/password).")
    secret, uri = await own_account.begin_second_factor(portal.desk, session)
    return answer(201, {"secret": secret, "uri": uri})


@router.post(
    "/totp-confirmations",
    summary="Confirm one's own second factor",
    responses={200: {"model": bodies.DoneAnswer}, **problems(400, 409, 413, 422, 503)},
)
@allow(*_ANYBODY, any_scope=True)
async def post_totp_confirmation(request: Request, body: bodies.CodeRequest) -> Response:
    """Prove with a code that the secret arrived; the session ends, log in anew with a code."""
    await own_account.confirm_second_factor(portal_of(request).desk, staff_of(request), body.code)
    return answer(200, _DONE)


@router.post(
    "/accounts",
    status_code=201,
    summary="Make an account",
    responses={201: {"model": bodies.FirstPasswordAnswer}, **problems(400, 409, 413, 422, 503)},
)
@allow(Role.SYSTEM_ADMIN)
async def post_account(request: Request, body: bodies.AccountRequest) -> Response:
    """Make an account without any role; the first password is told once and good only to be changed."""
    password = await accounts.add_account(portal_of(request).desk, staff_of(request), body.staff, body.branch)
    return answer(201, {"staff": body.staff, "password": password})


@router.get("/accounts", summary="List accounts", responses={200: {"model": bodies.AccountList}, **_ON_LIST})
@allow(Role.SYSTEM_ADMIN, Role.SECURITY_ADMIN, Role.AUDIT_ADMIN)
async def get_accounts(request: Request) -> Response:
    """List every account: roles, locks, age of the password, second factor, last use."""
    return answer(200, {"accounts": await accounts.list_accounts(portal_of(request).desk)})


@router.post(
    "/accounts/{staff}/roles",
    summary="Give an account its roles",
    responses={200: {"model": bodies.DoneAnswer}, **_ON_ACT},
)
@allow(Role.SYSTEM_ADMIN, approved_by=Role.SECURITY_ADMIN)
async def post_roles(request: Request, staff: Name, body: bodies.RolesRequest) -> Response:
    """Set exactly these roles; its sessions end. Administrators exclude every other role."""
    desk, by = portal_of(request).desk, staff_of(request)
    await accounts.set_roles(desk, by, staff, body.roles, request.state.approval)
    return answer(200, _DONE)


@router.post(
    "/accounts/{staff}/unlock",
    summary="Unlock an account",
    responses={200: {"model": bodies.DoneAnswer}, **_ON_ACT},
)
@allow(Role.SECURITY_ADMIN)
async def post_unlock(request: Request, staff: Name) -> Response:
    """Let a locked or long unused account log in again, with the password it has."""
    await accounts.unlock(portal_of(request).desk, staff_of(request), staff)
    return answer(200, _DONE)


@router.post(
    "/accounts/{staff}/disable",
    summary="Disable an account",
    responses={200: {"model": bodies.DoneAnswer}, **_ON_ACT},
)
@allow(Role.SYSTEM_ADMIN, Role.SECURITY_ADMIN)
async def post_disable(request: Request, staff: Name) -> Response:
    """Shut an account; its sessions end with the next request."""
    await accounts.disable(portal_of(request).desk, staff_of(request), staff)
    return answer(200, _DONE)


@router.post(
    "/accounts/{staff}/enable",
    summary="Enable an account",
    responses={200: {"model": bodies.DoneAnswer}, **_ON_ACT},
)
@allow(Role.SYSTEM_ADMIN, approved_by=Role.SECURITY_ADMIN)
async def post_enable(request: Request, staff: Name) -> Response:
    """Open a disabled account again."""
    await accounts.enable(portal_of(request).desk, staff_of(request), staff, request.state.approval)
    return answer(200, _DONE)


@router.post(
    "/accounts/{staff}/reset",
    summary="Reset an account's password and second factor",
    responses={200: {"model": bodies.FirstPasswordAnswer}, **_ON_ACT},
)
@allow(Role.SYSTEM_ADMIN, approved_by=Role.SECURITY_ADMIN)
async def post_reset(request: Request, staff: Name) -> Response:
    """Give a new first password and take the second factor away; its sessions end."""
    desk, by = portal_of(request).desk, staff_of(request)
    password = await accounts.reset(desk, by, staff, request.state.approval)
    return answer(200, {"staff": staff, "password": password})


@router.get(
    "/changes", summary="List acts on accounts", responses={200: {"model": bodies.ChangeList}, **_ON_LIST}
)
@allow(Role.AUDIT_ADMIN, Role.SECURITY_ADMIN)
async def get_changes(request: Request, limit: Limit = 100) -> Response:
    """List what was done to which account, by whom, with which approval; the newest first."""
    return answer(200, {"changes": await accounts.list_changes(portal_of(request).desk, limit)})


@router.post(
    "/approvals",
    status_code=201,
    summary="Ask a second person to approve a request",
    responses={201: {"model": bodies.ApprovalAnswer}, **problems(400, 404, 413, 422, 503)},
)
@allow(*_ANYBODY)
async def post_approval(request: Request, body: bodies.ApprovalRequest) -> Response:
    """Ask for approval of one request, to the letter: of a route that takes two people, by its caller."""
    session = staff_of(request)
    route, parameters = _find_route(request, body.method, body.path)
    declared = allowed_of(route)
    if declared is None or declared.approved_by is None:
        raise AccessRefused(Why.INVALID, "body.path: needs a route that takes two people", "body.path")
    if not declared.roles.intersection(session.roles):
        raise AccessRefused(Why.FORBIDDEN, "Only who may call a route asks for its approval.")
    asked = make_asked(route, body.path, parameters, body.body)
    row = await approvals.ask_approval(portal_of(request).desk, session, asked, declared.approved_by)
    return answer(201, row)


@router.get(
    "/approvals", summary="List approvals", responses={200: {"model": bodies.ApprovalList}, **_ON_LIST}
)
@allow(Role.SUPERVISOR, Role.SECURITY_ADMIN, Role.AUDIT_ADMIN)
async def get_approvals(
    request: Request,
    open: Annotated[bool, Query(description="Only those that wait for a decision.")] = False,
    limit: Limit = 100,
) -> Response:
    """List what was asked, by whom, who decided, and whether it was used."""
    rows = await approvals.list_approvals(portal_of(request).desk, only_open=open, limit=limit)
    return answer(200, {"approvals": rows})


@router.post(
    "/approvals/{approval_id}/decision",
    summary="Approve or refuse as the second person",
    responses={200: {"model": bodies.ApprovalAnswer}, **_ON_ACT},
)
@allow(Role.SUPERVISOR, Role.SECURITY_ADMIN)
async def post_decision(
    request: Request,
    approval_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=["0123456789abcdef" * 2])],
    body: bodies.Decision,
) -> Response:
    """Decide once. Not who asked, not who it is about, and only the role that the route names."""
    desk = portal_of(request).desk
    row = await approvals.decide_approval(desk, staff_of(request), approval_id, granted=body.granted)
    return answer(200, row)


def _find_route(request: Request, method: str, path: str) -> tuple[APIRoute, dict[str, Any]]:
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    for route in walk_routes(request.app):
        matched, child = route.matches(scope)
        if matched is Match.FULL and isinstance(route, APIRoute):
            return route, child["path_params"]
    raise AccessRefused(Why.NOT_FOUND, "There is no such route.")
