"""The routes of campaigns and of events of our own pages."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from compliance.access.roles import Party, Role
from core_app.api import marketing_bodies as bodies
from core_app.api.answering import IdempotencyKey, command_of, core_of, created, respond
from core_app.api.guard import GuardedRoute, allow, need_own_name
from core_app.marketing.campaign import Campaign
from core_app.marketing.desk import set_campaign
from core_app.marketing.page_events import Happened, keep_page_events

router = APIRouter(prefix="/v1", default_response_class=Response, route_class=GuardedRoute)


@router.post("/page-events", summary="Tell of a customer's way", **created(bodies.PageEventsAnswer))
@allow(Party.CHANNEL, Party.CUSTOMER)
async def post_page_events(request: Request, key: IdempotencyKey, body: bodies.PageEventsRequest) -> Response:
    """Keep a batch of steps on our own pages, of a customer who agreed to it; whole or not at all.

    The consent is `page_events` (POST /v1/consents); its withdrawal deletes them. Refused (409) without it.
    """
    core = core_of(request)
    events = [Happened(event.name, event.at, event.dwell_ms) for event in body.events]
    command = command_of(core, key, "page-events", body)
    return respond(await keep_page_events(core, command, body.customer_id, events))


@router.post("/campaigns", summary="Set a campaign", **created(bodies.CampaignAnswer))
@allow(Role.OPERATIONS, approved_by=Role.SUPERVISOR)
async def post_campaign(request: Request, key: IdempotencyKey, body: bodies.CampaignRequest) -> Response:
    """Tell the customers of a segment of an offer, each once, with a coupon if it has one; takes two people.

    Told is who agreed to it (consent `marketing`), is not past due and does not rest in difficulty; chosen
    after each day-end. A score may say whom to tell first; nobody is refused anything by it.
    """
    need_own_name(request, body.staff)
    core = core_of(request)
    plain = body.model_dump()
    why = {name: plain.pop(name) for name in ("reason", "staff")}
    command = command_of(core, key, "campaign", body)
    return respond(await set_campaign(core, command, Campaign(**plain), why))
