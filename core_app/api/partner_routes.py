"""The routes of the data standard and of partners' scores."""

import json

from fastapi import APIRouter, Request
from fastapi.responses import Response

from compliance.access.roles import Party
from core_app.api import partner_bodies as bodies
from core_app.api.answering import IdempotencyKey, command_of, core_of, created, problems, respond
from core_app.api.guard import GuardedRoute, allow
from core_app.partners.scores import check_record, keep_partner_score, read_dictionary

router = APIRouter(prefix="/v1", default_response_class=Response, route_class=GuardedRoute)


def _answer(body: object) -> Response:
    content = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Response(content, 200, media_type="application/json")


@router.get(
    "/data-standard",
    summary="Show the data standard for partners",
    responses={200: {"model": bodies.DataStandardAnswer}, **problems(422, 503)},
)
@allow(Party.CHANNEL)
async def get_data_standard(request: Request) -> Response:
    """Show every field of every record: names in Chinese and English, type, unit, codes, source."""
    return _answer(read_dictionary().model_dump(mode="json"))


@router.post(
    "/data-checks",
    summary="Check a record against the data standard",
    responses={200: {"model": bodies.DataCheckAnswer}, **problems(400, 413, 422, 503)},
)
@allow(Party.CHANNEL)
async def post_data_check(request: Request, body: bodies.DataCheckRequest) -> Response:
    """Say whether a record keeps to the standard, each fault by its path. Nothing is recorded."""
    return _answer(check_record(body.record, body.data))


@router.post("/partner-scores", summary="Send a partner's score", **created(bodies.PartnerScoreAnswer))
@allow(Party.CHANNEL)
async def post_partner_score(
    request: Request, key: IdempotencyKey, body: bodies.PartnerScoreRecordRequest
) -> Response:
    """Keep a score that keeps to the standard; scorecards take it by a variable that names its version."""
    core = core_of(request)
    command = command_of(core, key, "partner-score", body)
    return respond(await keep_partner_score(core, command, body.customer_id, body.data))
