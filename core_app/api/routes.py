"""The routes of /v1: a checked body in, one service call, its answer out."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from compliance.access.roles import Party, Role
from core_app.api import bodies, loan_bodies
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
from core_app.api.shedding import Turns
from core_app.api.summary_shortcut import answer_summary
from core_app.customers.service import check_person, register_customer, show_customer
from core_app.decisions.quote import Asker, LoanWish, quote_loan
from core_app.decisions.scoring import PartnerScore
from core_app.decisions.service import Wish, apply_for_loan
from core_app.funding.debits import agree_to_debits
from core_app.funding.show import show_funding
from core_app.ids import is_customer_id
from core_app.loans.bill import pay_bill, show_bill
from core_app.loans.contract import Confirmed, sign_contract
from core_app.loans.coupon import CouponRepayment, repay_with_coupon
from core_app.loans.draw import DrawWish, WantedDraw, want_draw
from core_app.loans.merchant import Merchant
from core_app.loans.prepay import PrepayWish, prepay_loan, show_payoff
from core_app.loans.prepayment import Mode
from core_app.loans.reading import show_loan
from core_app.loans.repay import WantedRepayment, want_repayment
from core_app.loans.reversal import reverse_repayment
from core_app.loans.reward import show_rate_changes
from core_app.loans.together import GroupQueue
from core_app.loans.write_off import write_off_loan
from core_app.read_models.read import show_loan_summary

router = APIRouter(prefix="/v1", default_response_class=Response, route_class=GuardedRoute)

_CLIENTS = (Party.CHANNEL, Party.CUSTOMER)


@router.post("/customers", summary="Register a customer", **registered(bodies.CustomerAnswer))
@allow(Party.CHANNEL)
async def post_customer(request: Request, key: IdempotencyKey, body: bodies.CustomerRequest) -> Response:
    """Register a person. The same person has the same customer_id, whatever the key."""
    core = core_of(request)
    person = check_person(body.name, body.id_number, body.phone)
    return respond(await register_customer(core, command_of(core, key, "customer", body), person))


@router.get("/customers/{customer_id}", summary="Show a customer, masked", **shown(bodies.MaskedCustomer))
@allow(*_CLIENTS)
async def get_customer(request: Request, customer_id: Annotated[str, Path(max_length=64)]) -> Response:
    """Show a customer with name, ID number and phone masked."""
    return respond(await show_customer(core_of(request), customer_id))


@router.post(
    "/quotes",
    summary="Price a loan",
    responses={200: {"model": bodies.QuoteAnswer}, **problems(400, 413, 422, 503)},
)
@allow(*_CLIENTS)
async def post_quote(request: Request, body: bodies.QuoteRequest) -> Response:
    """Price a loan drawn today: schedule, all-in cost, cost table. Nothing is recorded; no key is needed.

    With a customer it is the price of the customer's segment, and says where it comes from.
    A rule that forbids the loan is named with what was found, its limit, the day and its source.
    """
    wish = LoanWish(body.product, body.amount_fen, body.periods, body.purpose)
    return respond(await quote_loan(core_of(request), wish, Asker(body.customer_id, body.coupon_id)))


@router.post("/applications", summary="Apply for a loan", **created(bodies.ApplicationAnswer))
@allow(*_CLIENTS)
async def post_application(
    request: Request, key: IdempotencyKey, body: bodies.ApplicationRequest
) -> Response:
    """Apply and get the decision at once; a refusal is recorded and says its reasons."""
    core = core_of(request)
    wish = Wish(
        body.customer_id,
        body.product,
        body.amount_fen,
        body.periods,
        purpose=body.purpose,
        channel=body.channel,
        region=body.region,
        authorisation=body.bureau_authorisation,
        evidence=body.evidence.model_dump(exclude_none=True) if body.evidence else {},
        partner=PartnerScore(**body.partner_score.model_dump()) if body.partner_score else None,
        monthly_income_fen=body.monthly_income_fen,
    )
    command = command_of(core, key, "application", body)
    if not is_customer_id(body.customer_id):  # refused there, in words of its own
        return respond(await apply_for_loan(core, command, wish))
    turns: Turns = request.app.state.turns
    async with turns.take(core.cell_of_customer(body.customer_id), len(core.router.cells)):
        return respond(await apply_for_loan(core, command, wish))


@router.post(
    "/contracts",
    summary="Sign the contract of an approved application",
    **created(bodies.ContractAnswer),
)
@allow(*_CLIENTS)
async def post_contract(request: Request, key: IdempotencyKey, body: bodies.ContractRequest) -> Response:
    """Sign once; the limits are checked again, since other contracts may have been signed since."""
    core = core_of(request)
    command = command_of(core, key, "contract", body)
    confirmed = Confirmed(body.cost_table_sm3, body.cost_table_read_seconds)
    return respond(await sign_contract(core, command, body.application_id, confirmed))


@router.post("/draws", summary="Draw a contract's amount", **created(bodies.DrawAnswer))
@allow(*_CLIENTS)
async def post_draw(request: Request, key: IdempotencyKey, body: bodies.DrawRequest) -> Response:
    """Pay out the whole amount of a contract, once; under a line, a part of it while there is room."""
    core = core_of(request)
    payee = body.merchant
    merchant = Merchant(payee.merchant_id, payee.kind, payee.order_id) if payee else None
    wish = DrawWish(body.contract_id, body.amount_fen, merchant)
    queue: GroupQueue[WantedDraw] = request.app.state.draws
    return respond(await queue.post(want_draw(core, command_of(core, key, "draw", body), wish)))


@router.post("/repayments", summary="Repay a loan", **created(bodies.RepaymentAnswer))
@allow(*_CLIENTS)
async def post_repayment(request: Request, key: IdempotencyKey, body: bodies.RepaymentRequest) -> Response:
    """Book a repayment, by instalment: penalty, interest, principal. A coupon is used up with it, once."""
    core = core_of(request)
    command = command_of(core, key, "repayment", body)
    if body.coupon_id is not None:
        wish = CouponRepayment(body.loan_id, body.amount_fen, body.coupon_id)
        return respond(await repay_with_coupon(core, command, wish))
    queue: GroupQueue[WantedRepayment] = request.app.state.repayments
    return respond(await queue.post(want_repayment(core, command, body.loan_id, body.amount_fen)))


@router.get(
    "/customers/{customer_id}/bills/{product}",
    summary="Show a customer's newest bill",
    **shown(loan_bodies.BillAnswer),
)
@allow(*_CLIENTS)
async def get_bill(
    request: Request,
    customer_id: Annotated[str, Path(max_length=64)],
    product: Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{2,39}$", examples=["instalment-12"])],
) -> Response:
    """Show the bill that merges all tickets of a product, and what is still open of it."""
    return respond(await show_bill(core_of(request), customer_id, product))


@router.post("/bill-repayments", summary="Pay a bill", **created(loan_bodies.BillRepaymentAnswer, 404))
@allow(*_CLIENTS)
async def post_bill_repayment(
    request: Request, key: IdempotencyKey, body: loan_bodies.BillRepaymentRequest
) -> Response:
    """Pay one amount on a bill; it is booked on the bill's loans, the oldest due date first."""
    core = core_of(request)
    command = command_of(core, key, "bill-repayment", body)
    return respond(await pay_bill(core, command, body.customer_id, body.product, body.amount_fen))


@router.post(
    "/prepayments",
    summary="Prepay a loan, in full or in part",
    **created(loan_bodies.PrepaymentAnswer),
)
@allow(*_CLIENTS)
async def post_prepayment(
    request: Request, key: IdempotencyKey, body: loan_bodies.PrepaymentRequest
) -> Response:
    """Settle a loan before its end, or prepay principal: the term or the instalment stays as it was."""
    core = core_of(request)
    wish = PrepayWish(body.loan_id, Mode(body.mode), body.amount_fen)
    return respond(await prepay_loan(core, command_of(core, key, "prepayment", body), wish))


@router.post(
    "/debit-agreements",
    summary="Agree to have instalments collected, or end that",
    **created(loan_bodies.DebitAgreementAnswer),
)
@allow(*_CLIENTS)
async def post_debit_agreement(
    request: Request, key: IdempotencyKey, body: loan_bodies.DebitAgreementRequest
) -> Response:
    """Keep the newest agreement of a customer; what falls due on a later day is collected by it."""
    core = core_of(request)
    command = command_of(core, key, "debit-agreement", body)
    return respond(await agree_to_debits(core, command, body.customer_id, body.agreement))


@router.post("/reversals", summary="Take a repayment back", **created(loan_bodies.ReversalAnswer))
@allow(Role.OPERATIONS)
async def post_reversal(request: Request, key: IdempotencyKey, body: loan_bodies.ReversalRequest) -> Response:
    """Reverse a repayment, once; balances are as if it had never been, later repayments are split anew."""
    core = core_of(request)
    command = command_of(core, key, "reversal", body)
    return respond(await reverse_repayment(core, command, body.repayment_id, body.reason))


@router.post("/write-offs", summary="Write a loan off", **created(loan_bodies.WriteOffAnswer))
@allow(Role.OPERATIONS, approved_by=Role.SUPERVISOR)
async def post_write_off(
    request: Request, key: IdempotencyKey, body: loan_bodies.WriteOffRequest
) -> Response:
    """Take a loan out of the books; the debt stays, and what is paid on it later is a recovery."""
    core = core_of(request)
    command = command_of(core, key, "write-off", body)
    return respond(await write_off_loan(core, command, body.loan_id, body.reason))


@router.get(
    "/loans/{loan_id}/payoff",
    summary="Show what settles a loan today",
    responses={200: {"model": loan_bodies.PayoffAnswer}, **problems(404, 409, 422, 503)},
)
@allow(*_CLIENTS)
async def get_payoff(request: Request, loan_id: Annotated[str, Path(max_length=64)]) -> Response:
    """Show penalty, interest, principal and fee of paying everything today."""
    return respond(await show_payoff(core_of(request), loan_id))


@router.get(
    "/loans/{loan_id}/rate-changes",
    summary="Show how a loan's rate has changed",
    **shown(loan_bodies.RateChangesAnswer),
)
@allow(*_CLIENTS)
async def get_rate_changes(request: Request, loan_id: Annotated[str, Path(max_length=64)]) -> Response:
    """Show each lower rate with the schedule that came with it, as the borrower was shown it."""
    return respond(await show_rate_changes(core_of(request), loan_id))


@router.get("/loans/{loan_id}", summary="Show where a loan stands", **shown(bodies.LoanAnswer))
@allow(*_CLIENTS)
async def get_loan(request: Request, loan_id: Annotated[str, Path(max_length=64)]) -> Response:
    """Show balance and next due date, read from the primary."""
    return respond(await show_loan(core_of(request), loan_id))


@router.get(
    "/loans/{loan_id}/funding",
    summary="Show whose money a loan is and where its payout stands",
    **shown(bodies.FundingAnswer),
)
@allow(*_CLIENTS)
async def get_funding(request: Request, loan_id: Annotated[str, Path(max_length=64)]) -> Response:
    """Show each funder's part of every instalment, to the fen, and the payout's state."""
    return respond(await show_funding(core_of(request), loan_id))


@router.get(
    "/loans/{loan_id}/summary",
    summary="Show where a loan stood, from this site's cache",
    **shown(bodies.LoanSummaryAnswer),
)
@allow(*_CLIENTS)
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
    summary = await show_loan_summary(core_of(request), request.app.state.cache, loan_id, max_age_ms)
    return answer_summary(summary)
