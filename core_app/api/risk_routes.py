"""The routes of decisions, limits and windows."""

import json
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from compliance.access.roles import Party, Role
from core_app.api import risk_bodies
from core_app.api.answering import IdempotencyKey, command_of, core_of, created, problems, respond, shown
from core_app.api.guard import GuardedRoute, allow, need_own_name
from core_app.customers.placing import Place, place_customer
from core_app.decisions.evidence import index_evidence
from core_app.decisions.pre_screen import PreScreen, set_pre_screen
from core_app.decisions.service import show_application
from core_app.decisions.strategy import Strategy, set_strategy, show_back_test
from core_app.insight.rfm import show_tier
from core_app.limits.service import LimitChange, set_limit, show_limits, void_contract
from core_app.limits.tree import Level
from core_app.read_models.read import show_windows
from core_app.servicing.coupon_desk import Issue, issue_coupon, show_coupons

router = APIRouter(prefix="/v1", default_response_class=Response, route_class=GuardedRoute)

_CLIENTS = (Party.CHANNEL, Party.CUSTOMER)


@router.get(
    "/applications/{application_id}",
    summary="Show how an application was decided",
    **shown(risk_bodies.DecidedAnswer),
)
@allow(*_CLIENTS)
async def get_application(request: Request, application_id: Annotated[str, Path(max_length=64)]) -> Response:
    """Show the steps in order, each with its time, reasons, and the versions it rested on."""
    return respond(await show_application(core_of(request), application_id))


@router.post(
    "/windows",
    summary="Show how often device evidence was seen lately",
    responses={200: {"model": risk_bodies.WindowsAnswer}, **problems(400, 413, 422)},
)
@allow(Party.CHANNEL)
async def post_windows(request: Request, body: risk_bodies.WindowsRequest) -> Response:
    """Show counts by cell from this site's view, else from the primaries. Nothing is recorded.

    A POST, so that what is personal stands in no address. For showing only: decisions count for themselves.
    """
    core = core_of(request)
    evidence = index_evidence(core.vault.blind_index, body.evidence.model_dump(exclude_none=True))
    counted = await show_windows(core, request.app.state.cache, evidence, body.minutes)
    content = json.dumps(counted, sort_keys=True, separators=(",", ":"))
    return Response(content, 200, media_type="application/json")


@router.post("/limits", summary="Set a limit of a customer", **created(risk_bodies.LimitSetAnswer))
@allow(Role.CREDIT, Role.SUPERVISOR)
async def post_limit(request: Request, key: IdempotencyKey, body: risk_bodies.LimitRequest) -> Response:
    """Set, cut or take away a limit at one level, or grant a temporary increase, as staff.

    A cut holds at once for contracts and draws; what was drawn before it stands.
    """
    need_own_name(request, body.staff)
    core = core_of(request)
    change = LimitChange(
        customer_id=body.customer_id,
        level=Level(body.level),
        product=body.product,
        amount_fen=body.amount_fen,
        temporary_from=body.temporary_from,
        temporary_to=body.temporary_to,
        reason=body.reason,
        staff=body.staff,
    )
    return respond(await set_limit(core, command_of(core, key, "limit", body), change))


@router.post(
    "/pre-screens",
    summary="Put a customer on a product's list",
    **created(risk_bodies.PreScreenAnswer),
)
@allow(Role.CREDIT, Role.SUPERVISOR)
async def post_pre_screen(
    request: Request, key: IdempotencyKey, body: risk_bodies.PreScreenRequest
) -> Response:
    """Put a customer on the list of who is let in to a product, or take it off, as staff.

    It counts for products whose first step is `pre_screen`, from the next application on.
    """
    need_own_name(request, body.staff)
    core = core_of(request)
    wish = PreScreen(**body.model_dump())
    return respond(await set_pre_screen(core, command_of(core, key, "pre-screen", body), wish))


@router.post("/segments", summary="Put a customer into a segment", **created(risk_bodies.SegmentAnswer))
@allow(Role.CREDIT, approved_by=Role.SUPERVISOR)
async def post_segment(request: Request, key: IdempotencyKey, body: risk_bodies.SegmentRequest) -> Response:
    """Put a customer into a segment for some days, or out of all; takes two people, for it sets prices.

    It counts from the next quote and application on; what was applied for before keeps its price.
    """
    need_own_name(request, body.staff)
    core = core_of(request)
    wish = Place(**body.model_dump())
    return respond(await place_customer(core, command_of(core, key, "segment", body), wish))


@router.post("/coupons", summary="Issue a coupon", **created(risk_bodies.CouponAnswer))
@allow(Role.OPERATIONS, approved_by=Role.SUPERVISOR)
async def post_coupon(request: Request, key: IdempotencyKey, body: risk_bodies.CouponRequest) -> Response:
    """Issue a coupon to a customer; takes two people, for it is our money.

    It takes something off the interest of one repayment, where the product takes its kind: never off fees.
    """
    need_own_name(request, body.staff)
    core = core_of(request)
    wish = Issue(**body.model_dump())
    return respond(await issue_coupon(core, command_of(core, key, "coupon", body), wish))


@router.get(
    "/customers/{customer_id}/coupons",
    summary="Show a customer's coupons",
    **shown(risk_bodies.CouponsAnswer),
)
@allow(*_CLIENTS)
async def get_coupons(request: Request, customer_id: Annotated[str, Path(max_length=64)]) -> Response:
    """Show every coupon: what it gives, when it may be used, and the repayment it was used in."""
    return respond(await show_coupons(core_of(request), customer_id))


@router.get(
    "/customers/{customer_id}/rfm",
    summary="Show a customer's tier by recency, frequency and amount",
    **shown(risk_bodies.RfmAnswer),
)
@allow(Party.CHANNEL)
async def get_rfm(
    request: Request,
    customer_id: Annotated[str, Path(max_length=64)],
    day: Annotated[
        risk_bodies.Day | None, Query(description="Evening; absent: the newest.", examples=["2026-11-30"])
    ] = None,
) -> Response:
    """Show the tier that day-end kept, on the newest evening or on an earlier one."""
    return respond(await show_tier(core_of(request), customer_id, day))


@router.get("/strategies/back-test", summary="Test a model back", **shown(risk_bodies.BackTestAnswer))
@allow(Role.CREDIT, Role.SUPERVISOR)
async def get_back_test(
    request: Request,
    model: Annotated[
        str,
        Query(max_length=64, description="Champion or challenger.", examples=["credit-challenger"]),
    ],
) -> Response:
    """Show what a model would have decided of the applications of the last days, beside the other one.

    Each decision keeps what both said; of the loans, those that were ever past due or are written off count.
    Nothing is recorded.
    """
    return respond(await show_back_test(core_of(request), model))


@router.post("/strategies", summary="Let a model decide", **created(risk_bodies.StrategyAnswer))
@allow(Role.CREDIT, approved_by=Role.SUPERVISOR)
async def post_strategy(request: Request, key: IdempotencyKey, body: risk_bodies.StrategyRequest) -> Response:
    """Let the challenger decide from a business date on, or the champion again; takes two people.

    It is tested back first, and kept with that. The other model goes on beside it, kept of each decision.
    """
    need_own_name(request, body.staff)
    core = core_of(request)
    wish = Strategy(**body.model_dump())
    return respond(await set_strategy(core, command_of(core, key, "strategy", body), wish))


@router.get(
    "/customers/{customer_id}/limits",
    summary="Show a customer's tree of limits",
    **shown(risk_bodies.LimitsAnswer),
)
@allow(*_CLIENTS)
async def get_limits(request: Request, customer_id: Annotated[str, Path(max_length=64)]) -> Response:
    """Show every level: its limit, what is reserved by contracts and used by draws, and the room left."""
    return respond(await show_limits(core_of(request), customer_id))


@router.post("/voids", summary="Give up a contract that was not drawn", **created(risk_bodies.VoidAnswer))
@allow(*_CLIENTS)
async def post_void(request: Request, key: IdempotencyKey, body: risk_bodies.VoidRequest) -> Response:
    """Give up a signed contract; what it reserved may be lent again."""
    core = core_of(request)
    return respond(await void_contract(core, command_of(core, key, "void", body), body.contract_id))
