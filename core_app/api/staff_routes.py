"""The routes of the staff portal: every look at personal data is recorded before it is shown.

`Biyi-Staff` is what the caller says. Until access control signs it (a later issue), these routes belong
behind an entrance that only the portal reaches; the record then is as true as the portal is.
"""

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import Response

from core_app.api.answering import ON_READ, core_of, problems, respond
from core_app.api.staff_bodies import EndRequest, LookAnswer, LookList, LookRecord, LookRequest, UnmaskRequest
from core_app.staff.looks import Subject, Viewer, Wish
from core_app.staff.service import Listing, end_look, list_looks, look, show_look

router = APIRouter(prefix="/v1/staff", default_response_class=Response)

StaffId = Annotated[
    str,
    Header(
        alias="Biyi-Staff",
        pattern=r"^[a-z][a-z0-9._-]{1,39}$",
        description="Who looks. Recorded as said; access control will sign it.",
        examples=["li.wei"],
    ),
]
Terminal = Annotated[
    str | None,
    Header(
        alias="Biyi-Terminal",
        pattern=r"^[a-z]{1,12}(-[a-z0-9]{1,8}){0,3}$",
        description="The work place.",
        examples=["branch-7-12"],
    ),
]
ObjectId = Annotated[str, Path(max_length=64)]
_ON_LOOK = {201: {"model": LookAnswer}, **problems(400, 404, 413, 422, 503)}


def _viewer(request: Request, staff: StaffId, terminal: Terminal = None) -> Viewer:
    return Viewer(staff, terminal, request.client.host if request.client else None)


By = Annotated[Viewer, Depends(_viewer)]


async def _look(
    request: Request, viewer: Viewer, subject: Subject, subject_id: str, body: LookRequest
) -> Response:
    fields = tuple(dict.fromkeys(body.fields))
    wish = Wish(subject, subject_id, fields, clear=False, purpose=body.purpose, case_id=body.case_id)
    return respond(await look(core_of(request), viewer, wish))


@router.post(
    "/customers/{customer_id}/looks",
    status_code=201,
    summary="Look at a customer, masked",
    responses=_ON_LOOK,
)
async def post_customer_look(
    request: Request, viewer: By, customer_id: ObjectId, body: LookRequest
) -> Response:
    """Show a customer's personal fields masked. The look is recorded in the transaction that reads.

    Not a GET, and without a key: whoever asks again is shown again, so it is recorded again.
    """
    return await _look(request, viewer, Subject.CUSTOMER, customer_id, body)


@router.post("/loans/{loan_id}/looks", status_code=201, summary="Look at a loan, masked", responses=_ON_LOOK)
async def post_loan_look(request: Request, viewer: By, loan_id: ObjectId, body: LookRequest) -> Response:
    """Show a loan and its customer's personal fields masked; recorded like a look at the customer."""
    return await _look(request, viewer, Subject.LOAN, loan_id, body)


@router.post(
    "/applications/{application_id}/looks",
    status_code=201,
    summary="Look at an application, masked",
    responses=_ON_LOOK,
)
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
async def post_unmasking(
    request: Request, viewer: By, customer_id: ObjectId, body: UnmaskRequest
) -> Response:
    """Show the named fields in clear: a look of its own, and only for purposes that need clear values."""
    fields = tuple(dict.fromkeys(body.fields))
    wish = Wish(Subject.CUSTOMER, customer_id, fields, clear=True, purpose=body.purpose, case_id=body.case_id)
    return respond(await look(core_of(request), viewer, wish))


@router.post(
    "/looks/{look_id}/end",
    summary="Say how long a look lasted",
    responses={200: {"model": LookRecord}, **problems(400, 404, 409, 413, 422, 503)},
)
async def post_look_end(request: Request, staff: StaffId, look_id: ObjectId, body: EndRequest) -> Response:
    """End one's own look, once; the same again is answered the same, another dwell is refused."""
    return respond(await end_look(core_of(request), staff, look_id, body.dwell_ms))


@router.get(
    "/looks/{look_id}",
    summary="Show the record of a look",
    responses={200: {"model": LookRecord}, **ON_READ},
)
async def get_look(request: Request, look_id: ObjectId) -> Response:
    """Show who looked at whose data, which fields, what for, when, from where, and how long."""
    return respond(await show_look(core_of(request), look_id))


@router.get(
    "/looks",
    summary="List the newest looks, or those that never ended",
    responses={200: {"model": LookList}, **problems(422, 503)},
)
async def get_looks(
    request: Request,
    open: Annotated[bool, Query(description="Only looks without an end.")] = False,
    older_than_seconds: Annotated[int, Query(ge=0, le=31_536_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """List records of all cells, the newest first; they hold no personal data of customers."""
    looks = await list_looks(core_of(request), Listing(open, older_than_seconds, limit))
    return Response(json.dumps(looks, sort_keys=True, separators=(",", ":")), media_type="application/json")
