"""The routes of collections: the work list, a call asked for, what came of it, a rest in difficulty.

What shows a debtor's affairs is recorded as every look of the portal's, before it is shown.
"""

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel

from compliance.access.roles import Role
from core_app.api import collection_bodies as bodies
from core_app.api.answering import IdempotencyKey, core_of, created, problems, respond
from core_app.api.guard import GuardedRoute, allow, staff_of
from core_app.api.staff_routes import By, staff_core
from core_app.commands import Command, make_command
from core_app.servicing.by_staff import Ending, ask_contact, end_contact
from core_app.servicing.by_staff import Request as ContactWish
from core_app.servicing.hardship import Hardship, grant_rest
from core_app.servicing.worklist import show_worklist
from core_app.staff.looks import Purpose, Subject, Wish
from core_app.staff.service import look

router = APIRouter(prefix="/v1/staff/collection", default_response_class=Response, route_class=GuardedRoute)

_COLLECTORS = (Role.COLLECTION, Role.SUPERVISOR)


def command_by(request: Request, key: str, kind: str, body: BaseModel, **path: str) -> Command:
    """Return the command of a body, of what its path names, and of whose session it is."""
    plain: dict[str, Any] = body.model_dump(mode="json", exclude_defaults=True)
    return make_command(core_of(request), key, kind, plain | path | {"staff": staff_of(request).staff})


@router.post(
    "/worklists",
    status_code=201,
    summary="Show the calls that are open for oneself",
    responses={201: {"model": bodies.WorklistAnswer}, **problems(400, 413, 422, 503)},
)
@allow(*_COLLECTORS)
async def post_worklist(request: Request, viewer: By, body: bodies.WorklistRequest) -> Response:
    """Show open calls of customers assigned to oneself; each row is recorded as a look at the loan."""
    shown = await show_worklist(staff_core(request), viewer, body.limit)
    content = json.dumps({"page_id": shown.page_id, "rows": shown.rows}, sort_keys=True)
    return Response(content, 201, {"Cache-Control": "no-store"}, media_type="application/json")


@router.post("/contacts", summary="Ask for a call to a debtor", **created(bodies.ContactAnswer, 404))
@allow(*_COLLECTORS)
async def post_contact(
    request: Request, viewer: By, key: IdempotencyKey, body: bodies.ContactRequest
) -> Response:
    """Ask whether a call may be made now; on record either way, with the rules that refuse it.

    The words hold the overdue amount, so asking is recorded as a look at the loan too.
    """
    wish = Wish(Subject.LOAN, body.loan_id, (), clear=False, purpose=Purpose.COLLECTION, case_id=None)
    await look(staff_core(request), viewer, wish)
    wanted = ContactWish(body.loan_id, body.whom, body.script, body.task_id, viewer.staff)
    return respond(await ask_contact(core_of(request), command_by(request, key, "contact", body), wanted))


@router.post("/outcomes", summary="Say what came of a call", **created(bodies.OutcomeAnswer, 404))
@allow(*_COLLECTORS)
async def post_outcome(request: Request, key: IdempotencyKey, body: bodies.OutcomeRequest) -> Response:
    """End one's own call, once; the task it was for is done."""
    ending = Ending(**body.model_dump(), staff=staff_of(request).staff)
    return respond(await end_contact(core_of(request), command_by(request, key, "outcome", body), ending))


@router.post("/hardships", summary="Let a loan rest", **created(bodies.HardshipAnswer, 404))
@allow(Role.SERVICE, *_COLLECTORS)
async def post_hardship(request: Request, key: IdempotencyKey, body: bodies.HardshipRequest) -> Response:
    """Grant the rest that the product promises to who is in difficulty: nobody contacts them meanwhile."""
    wish = Hardship(body.loan_id, body.reason, staff_of(request).staff)
    return respond(await grant_rest(core_of(request), command_by(request, key, "hardship", body), wish))
