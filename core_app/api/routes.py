"""The routes of /v1: a checked body in, one service call, its answer out."""

import json
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from core_app.api import bodies
from core_app.api.answering import ON_READ as _ON_READ
from core_app.api.answering import ON_WRITE as _ON_WRITE
from core_app.api.answering import IdempotencyKey
from core_app.api.answering import command_of as _command
from core_app.api.answering import core_of as _core
from core_app.api.answering import problems as _problems
from core_app.api.answering import respond as _respond
from core_app.customers.service import check_person, register_customer, show_customer
from core_app.decisions.quote import LoanWish, quote_loan
from core_app.decisions.service import Wish, apply_for_loan
from core_app.loans.contract import Confirmed, sign_contract
from core_app.loans.service import draw_loan, repay_loan, show_loan
from core_app.read_models.read import show_loan_summary

router = APIRouter(prefix="/v1", default_response_class=Response)


@router.post(
    "/customers",
    status_code=201,
    summary="Register a customer",
    responses={
        201: {"model": bodies.CustomerAnswer},
        200: {"model": bodies.CustomerAnswer, "description": "This person was registered before."},
        **_ON_WRITE,
    },
)
async def post_customer(request: Request, key: IdempotencyKey, body: bodies.CustomerRequest) -> Response:
    """Register a person. The same person has the same customer_id, whatever the key."""
    core = _core(request)
    person = check_person(body.name, body.id_number, body.phone)
    return _respond(await register_customer(core, _command(core, key, "customer", body), person))


@router.get(
    "/customers/{customer_id}",
    summary="Show a customer, masked",
    responses={200: {"model": bodies.MaskedCustomer}, **_ON_READ},
)
async def get_customer(request: Request, customer_id: Annotated[str, Path(max_length=64)]) -> Response:
    """Show a customer with name, ID number and phone masked."""
    return _respond(await show_customer(_core(request), customer_id))


@router.post(
    "/quotes",
    summary="Price a loan",
    responses={200: {"model": bodies.QuoteAnswer}, **_problems(400, 413, 422, 503)},
)
async def post_quote(request: Request, body: bodies.QuoteRequest) -> Response:
    """Price a loan drawn today: schedule, all-in cost, cost table. Nothing is recorded; no key is needed.

    A rule that forbids the loan is named with what was found, its limit, the day and its source.
    """
    wish = LoanWish(body.product, body.amount_fen, body.periods, body.purpose)
    return _respond(await quote_loan(_core(request), wish))


@router.post(
    "/applications",
    status_code=201,
    summary="Apply for a loan",
    responses={201: {"model": bodies.ApplicationAnswer}, **_ON_WRITE},
)
async def post_application(
    request: Request, key: IdempotencyKey, body: bodies.ApplicationRequest
) -> Response:
    """Apply and get the decision at once; a refusal is recorded and says its reasons."""
    core = _core(request)
    wish = Wish(body.customer_id, body.product, body.amount_fen, body.periods, body.purpose)
    return _respond(await apply_for_loan(core, _command(core, key, "application", body), wish))


@router.post(
    "/contracts",
    status_code=201,
    summary="Sign the contract of an approved application",
    responses={201: {"model": bodies.ContractAnswer}, **_ON_WRITE},
)
async def post_contract(request: Request, key: IdempotencyKey, body: bodies.ContractRequest) -> Response:
    """Sign once; the limits are checked again, since other contracts may have been signed since."""
    core = _core(request)
    command = _command(core, key, "contract", body)
    confirmed = Confirmed(body.cost_table_sm3, body.cost_table_read_seconds)
    return _respond(await sign_contract(core, command, body.application_id, confirmed))


@router.post(
    "/draws",
    status_code=201,
    summary="Draw a contract's amount",
    responses={201: {"model": bodies.DrawAnswer}, **_ON_WRITE},
)
async def post_draw(request: Request, key: IdempotencyKey, body: bodies.DrawRequest) -> Response:
    """Pay out the whole amount of a contract, once."""
    core = _core(request)
    return _respond(await draw_loan(core, _command(core, key, "draw", body), body.contract_id))


@router.post(
    "/repayments",
    status_code=201,
    summary="Repay a loan",
    responses={201: {"model": bodies.RepaymentAnswer}, **_ON_WRITE},
)
async def post_repayment(request: Request, key: IdempotencyKey, body: bodies.RepaymentRequest) -> Response:
    """Book a repayment, by instalment: penalty, interest, principal."""
    core = _core(request)
    command = _command(core, key, "repayment", body)
    return _respond(await repay_loan(core, command, body.loan_id, body.amount_fen))


@router.get(
    "/loans/{loan_id}",
    summary="Show where a loan stands",
    responses={200: {"model": bodies.LoanAnswer}, **_ON_READ},
)
async def get_loan(request: Request, loan_id: Annotated[str, Path(max_length=64)]) -> Response:
    """Show balance and next due date, read from the primary."""
    return _respond(await show_loan(_core(request), loan_id))


@router.get(
    "/loans/{loan_id}/summary",
    summary="Show where a loan stood, from this site's cache",
    responses={200: {"model": bodies.LoanSummaryAnswer}, **_ON_READ},
)
async def get_loan_summary(
    request: Request,
    loan_id: Annotated[str, Path(max_length=64)],
    max_age_ms: Annotated[
        int | None, Query(ge=0, description="Go to the primary for anything older than this.")
    ] = None,
) -> Response:
    """Show a loan with version and age; from the primary when the cache does not have it.

    For showing only: whoever decides about money asks `GET /v1/loans/{loan_id}`.
    """
    summary = await show_loan_summary(_core(request), request.app.state.cache, loan_id, max_age_ms)
    headers = {
        "Biyi-Cell": summary.cell,
        "Biyi-Epoch": str(summary.epoch),
        "Age": str(summary.body["age_ms"] // 1000),
    }
    content = json.dumps(summary.body, sort_keys=True, separators=(",", ":"))
    return Response(content, 200, headers, media_type="application/json")
