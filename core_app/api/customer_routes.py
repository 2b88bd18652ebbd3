"""The routes of identity, consents, offers, reviews of limits, and products on sale."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from compliance.access.roles import Party
from core_app.api import bodies, customer_bodies
from core_app.api.answering import (
    IdempotencyKey,
    command_of,
    core_of,
    created,
    problems,
    registered,
    respond,
    shown,
)
from core_app.api.guard import GuardedRoute, allow
from core_app.customers.by_card import register_by_card
from core_app.customers.verify import verify_identity
from core_app.decisions.consents import Consent, keep_consent
from core_app.decisions.increase import review_limit
from core_app.decisions.offers import show_offers
from core_app.decisions.quote import LoanWish, show_products

router = APIRouter(prefix="/v1", default_response_class=Response, route_class=GuardedRoute)

_CLIENTS = (Party.CHANNEL, Party.CUSTOMER)


@router.post(
    "/identity-checks",
    summary="Have a customer's identity checked",
    **created(customer_bodies.IdentityCheckAnswer, 404),
)
@allow(*_CLIENTS)
async def post_identity_check(
    request: Request, key: IdempotencyKey, body: customer_bodies.IdentityCheckRequest
) -> Response:
    """Ask the vendors for what products need and is not passed; one that does not answer gives way to the
    next.

    A registration does this by itself; without a pass there is no limit.
    """
    core = core_of(request)
    return respond(
        await verify_identity(core, command_of(core, key, "identity-check", body), body.customer_id)
    )


@router.post(
    "/card-registrations",
    summary="Register a customer by the picture of an ID card",
    **registered(bodies.CustomerAnswer),
)
@allow(Party.CHANNEL)
async def post_card(request: Request, key: IdempotencyKey, body: customer_bodies.CardRequest) -> Response:
    """Read the card and register who is on it; what was read is checked as if typed, and never answered."""
    core = core_of(request)
    command = command_of(core, key, "card", body)
    return respond(await register_by_card(core, command, body.image, body.phone))


@router.post(
    "/consents",
    summary="Agree that an outside source is asked, or end that",
    **created(customer_bodies.ConsentAnswer),
)
@allow(*_CLIENTS)
async def post_consent(
    request: Request, key: IdempotencyKey, body: customer_bodies.ConsentRequest
) -> Response:
    """Keep the newest consent for a source; a withdrawal deletes what was fetched under the one before."""
    core = core_of(request)
    consent = Consent(body.customer_id, body.source, body.granted, body.reference)
    return respond(await keep_consent(core, command_of(core, key, "consent", body), consent))


@router.post(
    "/offers",
    summary="Show which products fit a wish, best first",
    responses={200: {"model": customer_bodies.OffersAnswer}, **problems(400, 413, 422, 503)},
)
@allow(*_CLIENTS)
async def post_offers(request: Request, body: customer_bodies.OffersRequest) -> Response:
    """Rank the products on sale for a customer, with reasons for and against. Nothing is recorded."""
    wish = LoanWish("", body.amount_fen, body.periods, body.purpose)
    return respond(await show_offers(core_of(request), body.customer_id, wish, body.channel))


@router.post("/limit-increases", summary="Ask for a higher limit", **created(customer_bodies.ReviewAnswer))
@allow(*_CLIENTS)
async def post_limit_increase(
    request: Request, key: IdempotencyKey, body: customer_bodies.ReviewRequest
) -> Response:
    """Let the limit-increase model decide at once; granted or not, it is recorded with its reasons."""
    core = core_of(request)
    command = command_of(core, key, "limit-increase", body)
    return respond(await review_limit(core, command, body.customer_id, body.product))


@router.get("/products", summary="Show the products on sale", **shown(customer_bodies.ProductsAnswer))
@allow(*_CLIENTS)
async def get_products(request: Request) -> Response:
    """Show each product's bounds, the application form that it asks to be filled in, and its flow."""
    return respond(await show_products(core_of(request)))
