"""The routes of the staff portal: every look at personal data is recorded before it is shown.

Who looks is who the session belongs to. Values are masked unless the look is an unmasking; what is shown of
several customers at once (search, list, export) is masked strictly.
"""

import datetime as dt
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from compliance.access.errors import AccessRefused, Why
from compliance.access.quota import spend
from compliance.access.roles import Role
from core_app.api import staff_bodies as bodies
from core_app.api.answering import problems, respond, shown
from core_app.api.guard import GuardedRoute, allow, portal_of, staff_of
from core_app.api.staff_bodies import EndRequest, LookAnswer, LookList, LookRecord, LookRequest, UnmaskRequest
from core_app.core import LendingCore
from core_app.errors import refuse_field
from core_app.staff.looks import Kind, Purpose, Subject, Viewer, Wish, find_purpose_fault
from core_app.staff.pages import (
    FIELDS,
    Action,
    Page,
    Shown,
    assign,
    count_assigned,
    make_csv,
    search,
    show_customers,
)
from core_app.staff.service import Listing, beat_looks, end_look, list_looks, look, show_look

router = APIRouter(prefix="/v1/staff", default_response_class=Response, route_class=GuardedRoute)

ObjectId = Annotated[str, Path(max_length=64)]
_ON_LOOK = {201: {"model": LookAnswer}, **problems(400, 404, 413, 422, 503)}
_ON_PAGE = problems(400, 413, 422, 503)
_LOOKERS = (Role.SERVICE, Role.CREDIT, Role.COLLECTION, Role.OPERATIONS, Role.SUPERVISOR)
_READERS = (*_LOOKERS, Role.AUDIT_ADMIN)


def _viewer(request: Request) -> Viewer:
    session = staff_of(request)
    where = session.origin
    role = "+".join(sorted(session.roles))
    approval = request.state.approval
    return Viewer(session.staff, role, session.branch, where.terminal, where.address, approval)


def staff_core(request: Request) -> LendingCore:
    """Return the core that logs in as the portal's own database role."""
    return portal_of(request).core


By = Annotated[Viewer, Depends(_viewer)]


def check_purpose(request: Request, purpose: Purpose, *, clear: bool = False) -> None:
    """Refuse (422) a purpose that the roles of the session do not look for."""
    needed = find_purpose_fault(staff_of(request).roles, purpose, clear=clear)
    if needed is not None:
        raise refuse_field("body.purpose", "a purpose that is not for this look or these roles", needed)


async def _look(
    request: Request, viewer: Viewer, subject: Subject, subject_id: str, body: LookRequest
) -> Response:
    check_purpose(request, body.purpose)
    fields = tuple(dict.fromkeys(body.fields))
    wish = Wish(subject, subject_id, fields, clear=False, purpose=body.purpose, case_id=body.case_id)
    return respond(await look(staff_core(request), viewer, wish))


@router.post(
    "/customers/{customer_id}/looks",
    status_code=201,
    summary="Look at a customer, masked",
    responses=_ON_LOOK,
)
@allow(*_READERS)
async def post_customer_look(
    request: Request, viewer: By, customer_id: ObjectId, body: LookRequest
) -> Response:
    """Show a customer's personal fields masked. The look is recorded in the transaction that reads.

    Not a GET, and without a key: whoever asks again is shown again, so it is recorded again.
    """
    return await _look(request, viewer, Subject.CUSTOMER, customer_id, body)


@router.post("/loans/{loan_id}/looks", status_code=201, summary="Look at a loan, masked", responses=_ON_LOOK)
@allow(*_READERS)
async def post_loan_look(request: Request, viewer: By, loan_id: ObjectId, body: LookRequest) -> Response:
    """Show a loan and its customer's personal fields masked; recorded like a look at the customer."""
    return await _look(request, viewer, Subject.LOAN, loan_id, body)


@router.post(
    "/applications/{application_id}/looks",
    status_code=201,
    summary="Look at an application, masked",
    responses=_ON_LOOK,
)
@allow(*_READERS)
async def post_application_look(
    request: Request, viewer: By, application_id: ObjectId, body: LookRequest
) -> Response:
    """Show an application and its customer's personal fields masked; recorded likewise."""
    return await _look(request, viewer, Subject.APPLICATION, application_id, body)


@router.post(
    "/customers/{customer_id}/unmaskings",
    status_code=201,
    summary="Look at a customer's personal fields in clear",
    responses=_ON_LOOK,
)
@allow(*_LOOKERS, approved_by=Role.SUPERVISOR, always=False)
async def post_unmasking(
    request: Request, viewer: By, customer_id: ObjectId, body: UnmaskRequest
) -> Response:
    """Show the named fields in clear: a look of its own, and only for purposes that need clear values.

    So many a day; for more a supervisor has to approve each (`Biyi-Approval`).
    """
    check_purpose(request, body.purpose, clear=True)
    if viewer.approval is None:
        await spend(portal_of(request).desk, staff_of(request), "clear_look", 1)
    wish = Wish(
        Subject.CUSTOMER,
        customer_id,
        tuple(dict.fromkeys(body.fields)),
        clear=True,
        purpose=body.purpose,
        case_id=body.case_id,
        kind=Kind.UNMASK,
    )
    return respond(await look(staff_core(request), viewer, wish))


@router.post(
    "/looks/{look_id}/end",
    summary="Say how long a look lasted",
    responses={200: {"model": LookRecord}, **problems(400, 404, 409, 413, 422, 503)},
)
@allow(*_READERS)
async def post_look_end(request: Request, look_id: ObjectId, body: EndRequest) -> Response:
    """End one's own look, once; the same again is answered the same, another dwell is refused."""
    return respond(await end_look(staff_core(request), staff_of(request).staff, look_id, body.dwell_ms))


@router.get("/looks/{look_id}", summary="Show the record of a look", **shown(LookRecord))
@allow(Role.AUDIT_ADMIN, Role.SUPERVISOR)
async def get_look(request: Request, look_id: ObjectId) -> Response:
    """Show who looked at whose data, which fields, what for, when, from where, and how long."""
    return respond(await show_look(staff_core(request), look_id))


@router.get(
    "/looks",
    summary="List the newest looks, or those that never ended",
    responses={200: {"model": LookList}, **problems(422, 503)},
)
@allow(Role.AUDIT_ADMIN, Role.SUPERVISOR)
async def get_looks(
    request: Request,
    open: Annotated[bool, Query(description="Only looks without an end.")] = False,
    older_than_seconds: Annotated[int, Query(ge=0, le=31_536_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """List records of all cells, the newest first; they hold no personal data of customers."""
    looks = await list_looks(staff_core(request), Listing(open, older_than_seconds, limit))
    return Response(json.dumps(looks, sort_keys=True, separators=(",", ":")), media_type="application/json")


@router.post(
    "/heartbeats",
    summary="Say that looks are still on the screen",
    responses={200: {"model": bodies.BeatAnswer}, **_ON_PAGE},
)
@allow(*_READERS, uses=False)
async def post_heartbeat(request: Request, body: bodies.BeatRequest) -> Response:
    """Note how long one's own looks have been shown so far, so that a page that dies still has a dwell.

    Pages send it by themselves: it is no use of the session, which goes on idling.
    """
    staff = staff_of(request).staff
    noted = await beat_looks(staff_core(request), staff, body.look_ids, body.dwell_ms)
    return _json(200, {"noted": noted})


@router.post(
    "/searches",
    status_code=201,
    summary="Search customers by a whole phone or ID number",
    responses={201: {"model": bodies.PageAnswer}, **_ON_PAGE},
)
@allow(*_LOOKERS)
async def post_search(request: Request, viewer: By, body: bodies.SearchRequest) -> Response:
    """Find customers by blind index, strictly masked; the search and each hit are recorded.

    A POST, so that what is searched for stands in no address.
    """
    check_purpose(request, body.purpose)
    page = Page(Action.SEARCH, body.purpose, body.case_id, body.by)
    return _page(await search(staff_core(request), viewer, page, body.value))


@router.post(
    "/assigned",
    status_code=201,
    summary="Show the customers assigned to oneself",
    responses={201: {"model": bodies.PageAnswer}, **_ON_PAGE},
)
@allow(*_LOOKERS)
async def post_assigned(request: Request, viewer: By, body: bodies.AssignedRequest) -> Response:
    """Show one's own list, strictly masked; each row is recorded as a look."""
    check_purpose(request, body.purpose)
    page = Page(Action.LIST, body.purpose, body.case_id)
    return _page(await show_customers(staff_core(request), viewer, page, None, body.limit))


@router.post(
    "/exports",
    status_code=201,
    summary="Export customers, masked, with a watermark",
    responses={201: {"model": bodies.ExportAnswer}, **_ON_PAGE},
)
@allow(*_LOOKERS, approved_by=Role.SUPERVISOR)
async def post_export(request: Request, viewer: By, body: bodies.ExportRequest) -> Response:
    """Write the named customers, or one's own list, as CSV; takes two people, and so many rows a day.

    Every line carries a mark made with our key of who took it, when, and whose row it is.
    """
    check_purpose(request, body.purpose)
    portal, core = portal_of(request), staff_core(request)
    most = portal.desk.limits.export_rows
    ids = body.customer_ids
    rows = await count_assigned(core, viewer.staff, most + 1) if ids is None else len(set(ids))
    if rows > most:
        raise AccessRefused(Why.INVALID, f"{rows} customers: needs at most {most} in one export", "body")
    if rows > 0:
        await spend(portal.desk, staff_of(request), "export_rows", rows)
    page = Page(Action.EXPORT, body.purpose, body.case_id)
    shown = await show_customers(core, viewer, page, ids, most)
    at = dt.datetime.now(dt.UTC)  # noqa: TID251 - a shell: the watermark says when
    return _json(201, {"page_id": shown.page_id, "csv": make_csv(core, viewer, shown, FIELDS, at)})


@router.post(
    "/assignments",
    summary="Assign customers to somebody",
    responses={200: {"model": bodies.AssignmentAnswer}, **_ON_PAGE},
)
@allow(Role.SUPERVISOR)
async def post_assignment(request: Request, viewer: By, body: bodies.AssignmentRequest) -> Response:
    """Make customers somebody's for some days (0: no longer); what looks are for is judged by it."""
    done = await assign(staff_core(request), viewer.staff, body.staff, body.customer_ids, body.days)
    return _json(200, {"assigned": done})


def _page(shown: Shown) -> Response:
    rows = [
        {"look_id": row.look_id, "customer_id": row.customer_id, "person": row.person} for row in shown.rows
    ]
    return _json(201, {"page_id": shown.page_id, "rows": rows})


def _json(status: int, body: dict[str, Any]) -> Response:
    content = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return Response(content, status, {"Cache-Control": "no-store"}, media_type="application/json")
