"""Take an application, decide it step by step, keep it with everything it rested on: one transaction."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from psycopg import AsyncCursor
from psycopg.types.json import Jsonb

from compliance.protection.fields import CUSTOMER_ID_NUMBER
from core_app.business_calendar import age_on
from core_app.commands import (
    Answer,
    Claim,
    Command,
    Done,
    finish_command,
    read_earlier_answer,
    run_command,
)
from core_app.core import Connection, LendingCore
from core_app.customers.identity import birth_date
from core_app.customers.segments import find_income_misfit, find_misfit
from core_app.customers.verify import read_held
from core_app.decisions import store
from core_app.decisions.evidence import Evidence, index_evidence
from core_app.decisions.inquiry import Inquired, inquire, keep_answers
from core_app.decisions.quote import (
    LoanWish,
    check_entrance,
    check_form,
    check_wish,
    find_other_reasons,
    show_cost_table,
)
from core_app.decisions.rules import Decision, Reason, Room, decide_application
from core_app.decisions.scoring import Brought, PartnerScore, find_inputs, score_applicant
from core_app.decisions.steps import (
    FraudFacts,
    Judged,
    Membership,
    Outcome,
    ScoreFacts,
    Step,
    StepResult,
    close_step,
    judge_fraud,
    judge_identity,
    judge_pre_screen,
    judge_score,
    skip_step,
)
from core_app.decisions.variables.evaluate import compute_values
from core_app.decisions.windows import count_here, keep_evidence
from core_app.disclosure.charges import compute_charges
from core_app.disclosure.cost_table import make_cost_table
from core_app.errors import Kind, Refused, refuse_field
from core_app.ids import Letter, is_customer_id
from core_app.ledger.dimensions import UNKNOWN
from core_app.limits.hold import path_of
from core_app.limits.store import ask_nodes, fetch_nodes
from core_app.limits.tree import CUSTOMER, NodeRow, compute_room_fen, find_breaches
from core_app.money import round_half_up
from core_app.outbox import Told
from core_app.products.model import Product
from core_app.products.price import find_price, price_product
from core_app.products.published import ask_on_sale


@dataclass(frozen=True, slots=True)
class Wish:
    """What a customer applies for; `purpose` is the use of the money, when one is named.

    `channel` is the entrance it came by, `region` the province it came from, as far as known.
    `authorisation` is the id of the written authorisation to inquire at the bureau. `evidence` is device
    evidence by kind, in clear for as long as one request.
    """

    customer_id: str
    product: str
    amount_fen: int
    periods: int
    purpose: str | None = None
    channel: str | None = None
    region: str | None = None
    authorisation: str | None = None
    evidence: Mapping[str, str] = field(default_factory=dict, repr=False)
    partner: PartnerScore | None = None
    monthly_income_fen: int | None = field(default=None, repr=False)

    @property
    def loan(self) -> LoanWish:
        """Return the loan that is wished for, whoever wishes for it."""
        return LoanWish(self.product, self.amount_fen, self.periods, self.purpose)

    @property
    def filled_in(self) -> frozenset[str]:
        """Return the fields of the form that have a value."""
        fields = {
            "purpose": self.purpose,
            "channel": self.channel,
            "region": self.region,
            "bureau_authorisation": self.authorisation,
            "partner_score": self.partner,
            "monthly_income_fen": self.monthly_income_fen,
            "evidence": self.evidence or None,
        }
        return frozenset(name for name, value in fields.items() if value is not None)

    def as_told(self) -> dict[str, Any]:
        """Return what others may know of it: no evidence, no authorisation."""
        return {"customer_id": self.customer_id, **asdict(self.loan)}


@dataclass(frozen=True, slots=True)
class _Sent:
    """Questions sent in one flight at the start of the transaction, not yet read."""

    applicant: AsyncCursor[Any]
    nodes: AsyncCursor[Any]
    history: AsyncCursor[Any]


@dataclass(slots=True)
class _Steps:
    """The steps of one application as they are taken, each timed from the end of the one before."""

    product: Product
    read_elapsed: Callable[[], float]
    begun: float
    taken: list[StepResult] = field(default_factory=list)
    tier: str | None = None
    grade: store.Grade | None = None
    counted: bool = False
    """Windows were counted, and are locked."""

    @property
    def failed(self) -> tuple[Reason, ...]:
        """Return the reasons of the step that failed, none while all passed."""
        return tuple(reason for step in self.taken for reason in step.reasons)

    def close(self, step: str, judged: Judged) -> StepResult:
        """Keep a step's result; the clock of the next one begins now."""
        now = self.read_elapsed()
        result = close_step(step, judged, round(1e6 * (now - self.begun)), self.product)
        self.begun = now
        self.taken.append(result)
        return result


async def apply_for_loan(core: LendingCore, command: Command, wish: Wish) -> Done:
    """Decide an application. Approved or refused, it is recorded and answered with 201.

    Two round trips, three with device evidence; the bureau and other cells are asked before.
    """
    if not is_customer_id(wish.customer_id):
        raise refuse_field("body.customer_id", "a text that is no customer id", "a customer id")
    evidence = index_evidence(core.vault.blind_index, wish.evidence)
    inquired = await inquire(core, command, (wish.customer_id, wish.product), wish.authorisation, evidence)

    async def work(connection: Connection, claim: Claim) -> Answer:
        begun = core.read_elapsed()
        sent = await _send(core, connection, command, wish)
        chunk = core.chunk_of_customer(wish.customer_id)
        asked = await ask_on_sale(core, connection, wish.product, command.today, chunk)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        applicant = await store.fetch_applicant(sent.applicant)
        today = applicant.today
        product = check_wish(core, await asked.fetch(today), wish.loan, today)
        price = find_price(product, applicant.segment, wish.periods)
        product = price_product(product, applicant.segment, wish.periods)
        check_entrance(product, wish.channel)
        check_form(product, wish.filled_in)
        if applicant.id_number is None:
            raise refuse_field("body.customer_id", "no such customer", "a registered customer")
        nodes = await fetch_nodes(sent.nodes)
        steps = _Steps(product, core.read_elapsed, begun)
        gathered = _Gathered(applicant, inquired, evidence, await sent.history.fetchone())
        await _take_steps(core, connection, wish, gathered, steps)
        decision = _decide(core, applicant, wish, steps, nodes)
        row = _application_row(core, wish, product, decision)
        row |= {"region": wish.region or applicant.region or UNKNOWN, "segment": applicant.segment}
        application_id = row["application_id"]
        await connection.execute(store.INSERT_APPLICATION, row | {"decided_on": today, "key": command.key})
        await store.keep_steps(connection, application_id, steps.taken)
        about = {"customer_id": wish.customer_id, "application_id": application_id}
        await keep_evidence(connection, about, evidence, command.key, locked=steps.counted)
        await store.keep_inquiry(connection, about, wish.authorisation, inquired)
        await keep_answers(connection, core, (wish.customer_id, today, command.key), inquired)
        if steps.grade is not None:
            await store.keep_grade(connection, about | {"decided_on": today}, steps.grade)
        charges = compute_charges(product, wish.amount_fen, wish.periods, today)
        body = {
            "application_id": application_id,
            "decision": row["decision"],
            "reasons": [reason.as_plain() for reason in decision.reasons],
            "limit_fen": decision.limit_fen,
            "price": price.show(product),
        }
        told = Told("application.decided", application_id, body | wish.as_told())
        shown = show_cost_table(make_cost_table(product, charges, wish.periods))
        return await finish_command(connection, claim, 201, body | shown, told)

    return await run_command(core, core.cell_of_customer(wish.customer_id), command, work)


@dataclass(frozen=True, slots=True)
class _Gathered:
    """What the steps are judged from, but for the window counts."""

    applicant: store.Applicant
    inquired: Inquired
    evidence: tuple[Evidence, ...]
    history: tuple[Any, ...] | None


async def _send(core: LendingCore, connection: Connection, command: Command, wish: Wish) -> _Sent:
    chunk = core.chunk_of_customer(wish.customer_id)
    who = {"today": command.today, "chunk": chunk, "customer_id": wish.customer_id}
    applicant = await connection.execute(store.SELECT_APPLICANT, who)
    nodes = await ask_nodes(connection, wish.customer_id, (chunk, command.today))
    statement = core.risk.history
    history = await connection.execute(statement.text, statement.values | who)
    return _Sent(applicant, nodes, history)


async def _take_steps(
    core: LendingCore, connection: Connection, wish: Wish, gathered: _Gathered, steps: _Steps
) -> None:
    """Take the product's steps in order until one fails; windows are counted when it comes to them."""
    product, applicant = steps.product, gathered.applicant
    for name in product.risk.steps:
        if steps.failed:
            steps.taken.append(skip_step(name, product))
        elif name == Step.PRE_SCREEN:
            steps.close(name, judge_pre_screen(product, applicant.listed))
        elif name == Step.IDENTITY:
            age_years = _age(core, wish.customer_id, applicant)
            refused = applicant.refused_on
            since = None if refused is None else (applicant.today - refused).days
            held = None if core.vendors is None else read_held(applicant.evidence)
            judged = judge_identity(product, age_years, since, held)
            steps.close(name, _judge_offered(product, applicant.segment, wish, judged))
        elif name == Step.FRAUD:
            here, hour = await count_here(connection, gathered.evidence, product.risk.window_minutes)
            steps.counted = True
            facts = FraudFacts(here, gathered.inquired.elsewhere, hour, _membership(applicant))
            steps.close(name, judge_fraud(product, core.risk.policy, facts))
        elif name == Step.SCORE:
            _take_score(core, wish, gathered, steps)
        else:
            raise RuntimeError(f"product {product.reference}: risk.steps names {name}, which there is not")


def _judge_offered(product: Product, segment: str | None, wish: Wish, judged: Judged) -> Judged:
    """Return the judgement with whether the product is for the customer's segment and income."""
    misfits = (find_misfit(product, segment), find_income_misfit(product, wish.monthly_income_fen))
    reasons = [Reason(one.rule, one.found, one.needed) for one in misfits if one is not None]
    return Judged((*judged.reasons, *reasons), {**judged.facts, "segment": segment})


def _take_score(core: LendingCore, wish: Wish, gathered: _Gathered, steps: _Steps) -> None:
    risk, product, inquired = core.risk, steps.product, gathered.inquired
    aggregates = dict(zip(risk.history.names, gathered.history or (), strict=True))
    variables = compute_values(risk.registry, risk.variables, aggregates)
    brought = Brought(wish.amount_fen, wish.periods, wish.partner)
    inputs = find_inputs(product, brought, variables, inquired.answer.report)
    outside = risk.sources.find_inputs(inquired.sources)
    inputs |= {name: value for name, value in outside.items() if value is not None or name in risk.named}
    scored = score_applicant(risk.models_on(gathered.applicant.today, gathered.applicant.deciding), inputs)
    versions = {name: risk.registry.find(name).version for name in risk.variables}
    shown = scored.shown | {"variables": versions}
    if wish.partner is not None:
        shown["partner"] = asdict(wish.partner)
    if inquired.answer.report is not None and inquired.asked_on is not None:
        shown["bureau"] = {
            "asked_on": inquired.asked_on.isoformat(),
            "elapsed_ms": inquired.answer.elapsed_ms,
            "made": inquired.made,
        }
    missing = inquired.answer.missing
    facts = ScoreFacts(
        scored.main.points,
        gathered.applicant.earlier_tier,
        None if missing is None else str(missing),
        scored.main.worst,
        shown,
    )
    graded = judge_score(product, risk.policy, facts)
    result = steps.close(Step.SCORE, graded.judged)
    if result.outcome is Outcome.PASSED:
        steps.tier = graded.tier
    steps.grade = store.Grade(scored.main.points, str(graded.judged.facts["graded"]), risk.policy.version)


def _decide(
    core: LendingCore, applicant: store.Applicant, wish: Wish, steps: _Steps, nodes: Mapping[str, NodeRow]
) -> Decision:
    product, today = steps.product, applicant.today
    path = path_of(core, product, today)
    held = nodes.get(f"product:{product.id}")
    limit_fen = product.limits.customer_fen
    share = None if steps.tier is None else core.risk.policy.share_of(steps.tier)
    room = Room(
        tree_fen=compute_room_fen(path, nodes),
        product_max_fen=product.amount.max_fen,
        product_held_fen=held.held_fen - held.temporary_fen if held else 0,
        tier_limit_fen=None if share is None else round_half_up(share * limit_fen),
    )
    owed_fen = nodes[CUSTOMER].held_fen if CUSTOMER in nodes else 0
    others = find_other_reasons(core, product, wish.loan, today, owed_fen)
    breaches = find_breaches(path, nodes, wish.amount_fen, tier_limit_fen=room.tier_limit_fen)
    return decide_application(steps.failed, breaches, room, others)


def _membership(applicant: store.Applicant) -> Membership | None:
    if applicant.gang is None or applicant.gang_customers is None or applicant.gang_density is None:
        return None
    return Membership(applicant.gang, applicant.gang_customers, applicant.gang_density)


def _age(core: LendingCore, customer_id: str, applicant: store.Applicant) -> int:
    assert applicant.id_number is not None  # noqa: S101 - the caller has refused an unknown customer
    born = birth_date(core.vault.decrypt(CUSTOMER_ID_NUMBER, customer_id, applicant.id_number))
    if born is None:
        raise RuntimeError("a stored ID number without a birth date passed registration")
    return age_on(born, applicant.today)


def _application_row(core: LendingCore, wish: Wish, product: Product, decision: Decision) -> dict[str, Any]:
    slot = core.slot_of_customer(wish.customer_id)
    return wish.as_told() | {
        "application_id": core.new_id(Letter.APPLICATION, slot),
        "product_version": product.version,
        "channel": wish.channel or UNKNOWN,
        "decision": "approved" if decision.approved else "refused",
        "reasons": Jsonb([reason.as_plain() for reason in decision.reasons]),
        "limit_fen": decision.limit_fen,
        "tier_limit_fen": decision.tier_limit_fen,
    }


async def show_application(core: LendingCore, application_id: str) -> Done:
    """Return an application with the steps it was decided by; Refused (404) when there is none."""
    cell = core.cell_of_id(Letter.APPLICATION, application_id)
    if cell is None:
        raise Refused(Kind.NOT_FOUND, "There is no such application.")

    async def work(connection: Connection, epoch: int) -> Answer:
        rows = await connection.execute(store.SELECT_DECISION, [application_id])
        row = await rows.fetchone()
        if row is None:
            raise Refused(Kind.NOT_FOUND, "There is no such application.")
        names = ("customer_id", "product", "product_version", "amount_fen", "periods", "decision", "reasons")
        body = dict(zip((*names, "limit_fen"), row, strict=False)) | {
            "application_id": application_id,
            "decided_on": row[8].isoformat(),
            "segment": row[9],
            "steps": row[10],
        }
        return Answer(200, body, epoch, replayed=False)

    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, read.value)
