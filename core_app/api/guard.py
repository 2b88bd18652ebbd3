"""Who may call a route: declared at the route in one line, checked before the request's body is read.

    @router.post("/repayments", ...)
    @allow(Party.CHANNEL, Party.CUSTOMER)
    async def post_repayment(...)

A route without a declaration keeps the application from starting (`check_routes`). Staff come with a token of
a session, channels and customers with a signed one; both as `Authorization: Bearer`.
"""

import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route

from compliance.access.approvals import Asked, use_approval
from compliance.access.bearer import Claims, read_bearer
from compliance.access.desk import Origin, Session
from compliance.access.errors import AccessRefused, Why
from compliance.access.roles import Party, Role
from compliance.access.rules import Scope, find_scope_fault
from compliance.access.signing_in import TOKEN_PREFIX, authenticate
from core_app.acting import ACTOR
from core_app.api.metrics import HOLDER
from core_app.api.ownership import check_owner, find_unowned
from core_app.commands import KEY_NEEDED, is_key
from core_app.core import LendingCore
from core_app.errors import CoreError, refuse_field
from core_app.staff.portal import Portal
from replication.tls import kind_of

APPROVAL_HEADER = "Biyi-Approval"
BROWSER_HEADER = "Biyi-Browser-Address"
"""In what a web console asks: the address of the browser it speaks for."""
CONSOLE = "console"
_ATTRIBUTE = "biyi_allowed"
_NO_ROUTE = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json"})
"""Paths outside /v1: they hold nothing of anybody; `/metrics` asks for a certificate by itself."""
F = TypeVar("F", bound=Callable[..., Any])
Caller = Session | Claims | None


class Undeclared(CoreError):
    """A route does not say who may call it."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Who may call a route. `approved_by`: the role of a second person; `always`: not without.

    `uses` False: a call is no use of the session, which goes on idling.
    """

    callers: frozenset[Party | Role]
    approved_by: Role | None = None
    always: bool = True
    any_scope: bool = False
    uses: bool = True

    @property
    def roles(self) -> frozenset[Role]:
        """Return the roles of staff among the callers."""
        return frozenset(caller for caller in self.callers if isinstance(caller, Role))


def allow(
    *callers: Party | Role,
    approved_by: Role | None = None,
    always: bool = True,
    any_scope: bool = False,
    uses: bool = True,
) -> Callable[[F], F]:
    """Declare who may call the route below. `any_scope`: also while one's own account is not in order."""
    declared = Allowed(frozenset(callers), approved_by, always, any_scope, uses)

    def mark(endpoint: F) -> F:
        setattr(endpoint, _ATTRIBUTE, declared)
        return endpoint

    return mark


def declared_for(endpoint: object) -> Allowed | None:
    """Return what the function behind a route declares, None when it does not."""
    return getattr(endpoint, _ATTRIBUTE, None)


def allowed_of(route: BaseRoute) -> Allowed | None:
    """Return what a route declares, None when it does not."""
    return declared_for(getattr(route, "endpoint", None))


def walk_routes(app: FastAPI) -> Iterator[Route]:
    """Yield every route of an application, with its whole path."""
    pending: list[BaseRoute] = list(app.routes)
    for route in pending:
        included = getattr(route, "original_router", None)
        if included is not None:
            pending.extend(included.routes)
        elif isinstance(route, Route):
            yield route


def check_routes(app: FastAPI) -> None:
    """Undeclared when a route of /v1 does not say who may call it, or cannot be held to it."""
    for route in walk_routes(app):
        if route.path in _NO_ROUTE:
            continue
        declared = allowed_of(route)
        if declared is None or not declared.callers or not isinstance(route, GuardedRoute):
            raise Undeclared(
                f"{route.path}: does not say who may call it; needs @allow(...) below the route's own "
                "line, on a router with route_class=GuardedRoute (core_app/api/guard.py)"
            )
        if Party.CUSTOMER in declared.callers and (unowned := find_unowned(route)):
            raise Undeclared(
                f"{route.path}: a customer may call it, but whose {', '.join(unowned)} is cannot be told; "
                "needs an entry in core_app/api/ownership.py, or @allow without Party.CUSTOMER"
            )


class GuardedRoute(APIRoute):
    """A route that admits only whom it declares."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """Return the handler, behind the check."""
        handle = super().get_route_handler()
        declared = allowed_of(self)

        async def guarded(request: Request) -> Response:
            if declared is None:
                raise Undeclared(self.path)
            caller = await _admit(request, declared, self)
            request.state.caller = caller
            ACTOR.set(name_caller(caller))
            return await handle(request)

        return guarded


def name_caller(caller: Caller) -> str:
    """Return how the audit names a caller; a customer by the pseudonym, nobody by "".

    >>> name_caller(Claims(Party.CHANNEL, "app", 0))
    'channel:app'
    """
    if isinstance(caller, Session):
        return f"staff:{caller.staff}"
    return f"{caller.party}:{caller.subject}" if caller is not None else ""


def check_session(declared: Allowed, session: Session) -> None:
    """FORBIDDEN unless the session's owner may call a route that declares this."""
    if declared.any_scope:
        return
    if session.scope is not Scope.FULL:
        detail = find_scope_fault(session.roles, session.scope, totp_confirmed=False)
        raise AccessRefused(Why.FORBIDDEN, f"Not yet: {detail}.")
    if not declared.roles.intersection(session.roles):
        needed = ", ".join(sorted(declared.roles)) or "none"
        raise AccessRefused(Why.FORBIDDEN, f"Needs one of the roles: {needed}.")


def staff_of(request: Request) -> Session:
    """Return the session of a route that only staff may call."""
    session: Session = request.state.caller
    return session


def need_own_name(request: Request, staff: str) -> None:
    """Refused (422) unless `staff` of a body is who asks."""
    if staff != staff_of(request).staff:
        raise refuse_field("body.staff", "another name than the session's", "one's own name")


def portal_of(request: Request) -> Portal:
    """Return the staff portal; UNAUTHENTICATED where this process has none."""
    portal: Portal | None = request.app.state.portal
    if portal is None:
        raise AccessRefused(Why.UNAUTHENTICATED, "This entrance serves no staff.")
    return portal


def origin_of(request: Request, terminal: str | None = None) -> Origin:
    """Return where a request came from; of a console's, where the browser is that it speaks for.

    Only who shows a console's certificate is believed: an address binds a session.
    """
    address = request.client.host if request.client else None
    if kind_of(request.scope.get(HOLDER, "")) == CONSOLE:
        address = request.headers.get(BROWSER_HEADER) or address
    return Origin(address, terminal)


async def _admit(request: Request, declared: Allowed, route: APIRoute) -> Caller:
    if Party.ANYONE in declared.callers:
        return None
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise AccessRefused(Why.UNAUTHENTICATED, "Needs the header Authorization: Bearer <token>.")
    if token.startswith(TOKEN_PREFIX):
        return await _admit_staff(request, declared, route, token)
    core: LendingCore = request.app.state.core
    claims = read_bearer(core.vault.request_digest, token, time.time())
    if claims is None:
        raise AccessRefused(Why.UNAUTHENTICATED, "The token is not one of ours, was changed, or is over.")
    if claims.party not in declared.callers:
        raise AccessRefused(Why.FORBIDDEN, f"A {claims.party} may not do this.")
    if claims.party is Party.CUSTOMER:
        await check_owner(core, request, claims.subject)
    return claims


async def _admit_staff(request: Request, declared: Allowed, route: APIRoute, token: str) -> Session:
    portal = portal_of(request)
    session = await authenticate(portal.desk, token, origin_of(request), uses=declared.uses)
    check_session(declared, session)
    await _approve(request, declared, route, session)
    return session


async def _approve(request: Request, declared: Allowed, route: APIRoute, session: Session) -> None:
    """Hold the request to its approval; `request.state.approval` is the id, None where none was needed."""
    approval = request.headers.get(APPROVAL_HEADER)
    request.state.approval = approval if declared.approved_by is not None else None
    if declared.approved_by is None or (approval is None and not declared.always):
        return
    if approval is None:
        raise AccessRefused(
            Why.FORBIDDEN,
            f"Takes two people: ask for it at POST /v1/staff/approvals; when a {declared.approved_by} has "
            f"approved it, send it again with the header {APPROVAL_HEADER}.",
        )
    try:
        body = await request.json() if await request.body() else {}
        asked = make_asked(route, request.url.path, request.path_params, body)
        asked.canonical()
    except (ValueError, RecursionError) as error:
        raise AccessRefused(Why.INVALID, "body: needs a JSON object", "body") from error
    # Without a key a use is a use: nothing binds a repeat to it.
    key = request.headers.get("Idempotency-Key") or uuid.uuid4().hex
    if not is_key(key):  # before it is written down
        raise AccessRefused(Why.INVALID, f"needs {KEY_NEEDED}", "header.Idempotency-Key")
    await use_approval(portal_of(request).desk, session, approval, asked, key)


def make_asked(route: APIRoute, path: str, parameters: dict[str, Any], body: Any) -> Asked:
    """Return the request that an approval is of."""
    name = f"{'/'.join(sorted(route.methods or ()))} {route.path}"
    return Asked(name, path, body if isinstance(body, dict) else {}, parameters.get("staff"))
