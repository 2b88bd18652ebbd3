"""The routes of reviews of staff behaviour: who is to be looked at, why, what was decided, by two people.

Subjects are tokens: their names take two people. Whoever reviews is an administrator of security or audit,
so no reviewer works with customers; every act is in the audit chain and is itself scored.
"""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from compliance.access.roles import Role
from core_app.api import review_bodies as bodies
from core_app.api import risk_bodies
from core_app.api.access_routes import answer
from core_app.api.answering import IdempotencyKey, problems
from core_app.api.guard import GuardedRoute, allow, portal_of, staff_of
from core_app.staff import review_service as reviews

router = APIRouter(prefix="/v1/staff", default_response_class=Response, route_class=GuardedRoute)

CaseId = Annotated[str, Path(pattern=r"^W-[0-9a-f]{32}$", examples=["W-0123456789abcdef0123456789abcdef"])]
Day = Annotated[risk_bodies.Day | None, Query(description="Only this day's cases.", examples=["2026-04-30"])]
_REVIEWERS = (Role.AUDIT_ADMIN, Role.SECURITY_ADMIN)
_ON_ONE = problems(404, 422, 503)
_ON_ACT = problems(400, 404, 409, 413, 422, 503)


@router.get("/cases", summary="List cases", responses={200: {"model": bodies.CaseList}, **problems(422, 503)})
@allow(*_REVIEWERS)
async def get_cases(
    request: Request, day: Day = None, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> Response:
    """List who is to be looked at, the newest day first, in the queue's order, with the review's state."""
    return answer(200, {"cases": await reviews.list_published(portal_of(request), day, limit)})


@router.get(
    "/case-burden",
    summary="Show how reviews fall on roles and branches",
    responses={200: {"model": bodies.BurdenList}, **problems(422, 503)},
)
@allow(*_REVIEWERS)
async def get_case_burden(request: Request, days: Annotated[int, Query(ge=1, le=366)] = 90) -> Response:
    """Count cases, people and closed reviews without a finding, by role and branch."""
    return answer(200, {"burden": await reviews.show_burden(portal_of(request), days)})


@router.get(
    "/watch-list",
    summary="Show who stands on a watch list",
    responses={200: {"model": bodies.WatchList}, **problems(422, 503)},
)
@allow(*_REVIEWERS)
async def get_watch_list(request: Request) -> Response:
    """Show who is looked at whatever the evidence (a leaver's notice), as of the newest published day."""
    return answer(200, await reviews.show_watched(portal_of(request)))


@router.get(
    "/cases/{case_id}", summary="Show a case", responses={200: {"model": bodies.CaseDetail}, **_ON_ONE}
)
@allow(*_REVIEWERS)
async def get_case(request: Request, case_id: CaseId) -> Response:
    """Show a case with its reasons (value, own usual, peers' usual, since when, which log lines) and acts."""
    return answer(200, await reviews.show_case(portal_of(request), case_id))


@router.get(
    "/cases/{case_id}/timeline",
    summary="Show what a case's subject did and what was decided before",
    responses={200: {"model": bodies.TimelineAnswer}, **_ON_ONE},
)
@allow(*_REVIEWERS)
async def get_timeline(request: Request, case_id: CaseId) -> Response:
    """Show the events of the case's day in order, and the subject's cases of other days."""
    return answer(200, await reviews.show_timeline(portal_of(request), case_id))


@router.post(
    "/cases/{case_id}/acts",
    summary="Open a review, propose a disposition, confirm or reject it",
    responses={200: {"model": bodies.CaseDetail}, **_ON_ACT},
)
@allow(*_REVIEWERS)
async def post_act(
    request: Request, case_id: CaseId, body: bodies.ActRequest, idempotency_key: IdempotencyKey
) -> Response:
    """Take one step. A disposition counts once another reviewer than its proposer has confirmed it."""
    step = reviews.Step(
        case_id, body.kind, idempotency_key, body.disposition, body.family, body.until, body.comment
    )
    return answer(200, await reviews.act(portal_of(request), staff_of(request), step))


@router.post(
    "/cases/{case_id}/unmaskings",
    summary="Learn whose behaviour it is",
    responses={200: {"model": bodies.UnmaskingAnswer}, **_ON_ACT},
)
@allow(*_REVIEWERS, approved_by=Role.SECURITY_ADMIN)
async def post_case_unmasking(request: Request, case_id: CaseId, idempotency_key: IdempotencyKey) -> Response:
    """Name the subject of an open case. Two people learn it and are noted: who asks, and who approved."""
    approval: str = request.state.approval
    found = await reviews.unmask(portal_of(request), staff_of(request), case_id, approval, idempotency_key)
    return answer(200, found)
