"""The routes of complaints: in by the web or the hotline, worked on by staff, shown after a recorded look."""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from compliance.access.roles import Party, Role
from core_app.api import complaint_bodies as bodies
from core_app.api.answering import IdempotencyKey, command_of, core_of, created, problems, respond
from core_app.api.collection_routes import command_by
from core_app.api.guard import GuardedRoute, allow, staff_of
from core_app.api.staff_bodies import LookRequest
from core_app.api.staff_routes import By, check_purpose, staff_core
from core_app.servicing.complaint_desk import Intake, Wanted, act_on, take_complaint
from core_app.servicing.complaint_list import list_complaints, read_complaint
from core_app.servicing.complaints import Act, Source
from core_app.staff.looks import Subject, Wish
from core_app.staff.service import look

router = APIRouter(prefix="/v1", default_response_class=Response, route_class=GuardedRoute)

ComplaintId = Annotated[str, Path(max_length=64)]
_DESK = (Role.SERVICE, Role.SUPERVISOR)


@router.post("/complaints", summary="Complain", **created(bodies.ComplaintAnswer))
@allow(Party.CHANNEL, Party.CUSTOMER)
async def post_complaint(request: Request, key: IdempotencyKey, body: bodies.ComplaintRequest) -> Response:
    """Take a complaint from the web; the answer says by when it is answered and decided."""
    core = core_of(request)
    intake = Intake(**body.model_dump(), source=Source.WEB, staff=None)
    return respond(await take_complaint(core, command_of(core, key, "complaint", body), intake))


@router.post(
    "/staff/complaints", summary="Take a complaint at the hotline", **created(bodies.ComplaintAnswer)
)
@allow(*_DESK)
async def post_hotline_complaint(
    request: Request, key: IdempotencyKey, body: bodies.ComplaintRequest
) -> Response:
    """Write down what somebody says at the hotline; the clocks are the same."""
    intake = Intake(**body.model_dump(), source=Source.HOTLINE, staff=staff_of(request).staff)
    command = command_by(request, key, "hotline-complaint", body)
    return respond(await take_complaint(core_of(request), command, intake))


@router.get(
    "/staff/complaints",
    summary="List complaints, the most urgent first",
    responses={200: {"model": bodies.ComplaintList}, **problems(422, 503)},
)
@allow(*_DESK)
async def get_complaints(
    request: Request,
    state: Annotated[Literal["open", "replied", "closed"] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """List complaints of all cells with their clocks, without words and without whose they are."""
    return _json(200, {"complaints": await list_complaints(core_of(request), state, limit)})


@router.post(
    "/staff/complaints/{complaint_id}/looks",
    status_code=201,
    summary="Look at a complaint and who complains, masked",
    responses={201: {"model": bodies.ComplaintLook}, **problems(400, 404, 413, 422, 503)},
)
@allow(*_DESK)
async def post_complaint_look(
    request: Request, viewer: By, complaint_id: ComplaintId, body: LookRequest
) -> Response:
    """Show a complaint with its words and all that was done; recorded as a look at its customer.

    A public post is nobody's: there is no look to record.
    """
    check_purpose(request, body.purpose)
    found = await read_complaint(core_of(request), complaint_id)
    customer_id, fields = found["customer_id"], tuple(dict.fromkeys(body.fields))
    seen: dict[str, Any] = {"look_id": None, "customer_id": None, "person": {}}
    if customer_id is not None:
        wish = Wish(
            Subject.CUSTOMER, customer_id, fields, clear=False, purpose=body.purpose, case_id=body.case_id
        )
        seen = dict((await look(staff_core(request), viewer, wish)).answer.body)
    return _json(
        201, {name: seen[name] for name in ("look_id", "customer_id", "person")} | {"complaint": found}
    )


@router.post(
    "/staff/complaints/{complaint_id}/acts",
    summary="Do something with a complaint",
    **created(bodies.ActAnswer, 404),
)
@allow(*_DESK)
async def post_complaint_act(
    request: Request, key: IdempotencyKey, complaint_id: ComplaintId, body: bodies.ActRequest
) -> Response:
    """Answer first, extend as complex, draft a reply, release another's draft, reopen, close."""
    wanted = Wanted(complaint_id, Act(body.act), body.words, staff_of(request).staff)
    command = command_by(request, key, "complaint-act", body, complaint_id=complaint_id)
    return respond(await act_on(core_of(request), command, wanted))


@router.post(
    "/staff/complaints/{complaint_id}/special-extensions",
    summary="Extend a complaint by 30 days more",
    **created(bodies.ActAnswer, 404),
)
@allow(*_DESK, approved_by=Role.SUPERVISOR)
async def post_special_extension(
    request: Request, key: IdempotencyKey, complaint_id: ComplaintId, body: bodies.ExtensionRequest
) -> Response:
    """Extend a complex case as special: the law asks for the approval of headquarters, so it takes two."""
    staff = staff_of(request).staff
    wanted = Wanted(complaint_id, Act.EXTEND_SPECIAL, body.words, staff, request.state.approval)
    command = command_by(request, key, "complaint-special", body, complaint_id=complaint_id)
    return respond(await act_on(core_of(request), command, wanted))


def _json(status: int, body: dict[str, Any]) -> Response:
    content = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return Response(content, status, {"Cache-Control": "no-store"}, media_type="application/json")
