"""Lower the rate of loans that were paid on time: a new version of the plan that is left, and a paper of it.

On time is what day-end saw: no evening found the loan past due. Asked for after each day-end, of every loan
that has come far enough; granted once a loan, by a command of its own. What was paid before stays as it was.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from core_app.commands import (
    Answer,
    Claim,
    Command,
    Done,
    finish_command,
    make_command,
    read_earlier_answer,
    run_command,
)
from core_app.core import Connection, LendingCore
from core_app.documents import Canonical, make_canonical
from core_app.errors import Kind, Refused, refuse_conflict, refuse_field
from core_app.ids import Letter
from core_app.loans import store
from core_app.loans.loan import Loan, paid_so_far, plan_columns, show_loan_row, with_lines
from core_app.loans.payoff import make_whole
from core_app.loans.reading import ALL_LINES, ask_locked, fetch_loan
from core_app.loans.reprice import RewardRule, plan_reward_from
from core_app.loans.schedule import Plan, show_plan
from core_app.loans.standing import make_lines
from core_app.loans.terms import fee_rule, plan_rule, reward_rule
from core_app.outbox import Told
from core_app.products.catalogue import read_published
from core_app.products.model import Product
from core_app.products.published import find_version
from core_app.router_line import ALLOW_A_MINUTE

_SELECT_PUBLISHED = "select document from core.product_versions"

_FIND = """
select l.loan_id from core.loans l
join unnest(%(products)s::text[], %(versions)s::integer[], %(periods)s::smallint[])
    as t (product, product_version, after_periods) using (product, product_version)
where l.settled_on is null and l.written_off_on is null and l.open_period > t.after_periods
    and not exists (select from core.rate_changes r where r.loan_id = l.loan_id)
    and not exists (select from core.loan_snapshots s where s.loan_id = l.loan_id and s.days_past_due > 0)
order by l.loan_id
"""

# The evening before the loan's day: without it nobody has looked whether it was paid on time.
_HISTORY = """
select exists (select from core.rate_changes r where r.loan_id = %(loan_id)s),
       exists (select from core.loan_snapshots s where s.loan_id = %(loan_id)s and s.days_past_due > 0),
       exists (select from core.loan_snapshots s
               where s.on_date = core.read_day(%(chunk)s::smallint, %(today)s::date) - 1
                   and s.loan_id = %(loan_id)s)
"""

_LOWER = """
update core.loans set rate_annual = %(rate_annual)s, plan_version = %(plan_version)s,
    interest_fen = %(interest_fen)s, fee_fen = %(fee_fen)s
where loan_id = %(loan_id)s
"""

_NOTE = """
insert into core.rate_changes (loan_id, plan_version, rate_before, rate_after, from_period, begins, document,
    document_sm3, decided_on, idempotency_key)
values (%(loan_id)s, %(plan_version)s, %(rate_before)s, %(rate_annual)s, %(from_period)s, %(begins)s,
    %(document)s, %(document_sm3)s, %(day)s, %(key)s)
"""

_SELECT_CHANGES = """
select l.loan_id, array(select r.document from core.rate_changes r where r.loan_id = l.loan_id
                        order by r.plan_version),
       array(select encode(r.document_sm3, 'hex') from core.rate_changes r where r.loan_id = l.loan_id
             order by r.plan_version)
from core.loans l where l.loan_id = %s
"""


async def grant_rewards(core: LendingCore, cell: str) -> tuple[str, ...]:
    """Grant every reward that is due in a cell and return the loans that got one; may be repeated.

    A loan that cannot be changed now (an instalment paid in part ahead) is asked for again the next time.
    """
    granted = []
    for loan_id in await _find(core, cell):
        command = make_command(core, f"reward-{loan_id}", "reward", {"loan_id": loan_id})
        try:
            await grant_reward(core, command, loan_id)
        except Refused as refusal:
            if refusal.kind is not Kind.CONFLICT:
                raise
        else:
            granted.append(loan_id)
    return tuple(granted)


async def _find(core: LendingCore, cell: str) -> list[str]:
    async def work(connection: Connection, _: int) -> list[str]:
        await connection.execute(ALLOW_A_MINUTE)
        rows = await (await connection.execute(_SELECT_PUBLISHED)).fetchall()
        known = [*core.catalogue.versions.values(), *(read_published(document) for (document,) in rows)]
        found = await connection.execute(_FIND, _columns(known))
        return [loan_id for (loan_id,) in await found.fetchall()]

    return (await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)).value


def _columns(products: Iterable[Product]) -> dict[str, list[Any]]:
    rules = [(product, rule) for product in products if (rule := reward_rule(product)) is not None]
    return {
        "products": [product.id for product, _ in rules],
        "versions": [product.version for product, _ in rules],
        "periods": [rule.after_periods for _, rule in rules],
    }


async def grant_reward(core: LendingCore, command: Command, loan_id: str) -> Done:
    """Lower a loan's rate from its first open instalment on, once; Refused (409) says what is missing."""
    cell = core.cell_of_id(Letter.LOAN, loan_id)
    if cell is None:
        raise refuse_field("loan_id", "no loan id", "the id of a loan")

    async def work(connection: Connection, claim: Claim) -> Answer:
        asked = await ask_locked(core, connection, loan_id, ALL_LINES)
        chunk = core.chunk_of_loan(loan_id)
        about = {"loan_id": loan_id, "chunk": chunk, "today": command.today}
        history = await connection.execute(_HISTORY, about)
        if (earlier := await read_earlier_answer(connection, claim)) is not None:
            return earlier
        loan = await fetch_loan(core, connection, loan_id, asked, ALL_LINES)
        if loan is None:
            raise refuse_field("loan_id", "no such loan", "the id of a loan")
        product = await find_version(core, connection, loan.row.product, loan.row.product_version)
        rule = _check(loan, reward_rule(product), await history.fetchone() or (True, True, False))
        rows = await connection.execute(store.SELECT_PLAN, [loan_id, loan.row.plan_version])
        whole = make_whole(await rows.fetchall())
        left = tuple(line for line in whole.plan if line.period >= loan.row.open_period)
        if left[0].total_fen != loan.lines[0].planned_fen + loan.lines[0].fee_fen:
            found = "an instalment paid in part ahead of its day"
            raise refuse_conflict("loan_id", found, "the rest of that instalment paid, first")
        plan = plan_reward_from(left, (loan.lines[0].begins, loan.row.rate_annual), rule, plan_rule(product))
        plan = fee_rule(product).charge(plan, loan.row.principal_fen)
        after = _apply(loan, plan, rule)
        paper = _make_paper(loan, after, plan, sum(line.interest_fen for line in left))
        await _write(connection, loan, after, plan, (paper, command.key))
        body = {**json.loads(paper.text), "document_sm3": paper.sm3.hex()}
        told = {"customer_id": loan.row.customer_id, "rate_annual": body["rate_after"]}
        told |= {"from_period": body["from_period"], "loan": show_loan_row(after)}
        return await finish_command(connection, claim, 201, body, Told("loan.repriced", loan_id, told))

    return await run_command(core, cell, command, work)


def _check(loan: Loan, rule: RewardRule | None, history: tuple[Any, ...]) -> RewardRule:
    changed, was_late, seen = history
    row = loan.row
    for bad, found, needed in (
        (rule is None, "a product without a reward", "pricing.reward"),
        (loan.daily is not None, "a loan repaid anytime", "a loan with instalments"),
        (bool(row.settled_on or row.written_off_on), "a loan that has ended", "a loan with instalments left"),
        (changed, "a loan whose rate was lowered", "another loan"),
        (rule is not None and row.open_period <= rule.after_periods, "too few instalments paid", "more paid"),
        (was_late or bool(loan.days_past_due), "a loan that was past due", "every instalment paid on time"),
        (not seen, "a loan that no day-end has looked at", "day-end of the day before"),
    ):
        if bad:
            raise refuse_conflict("loan_id", found, needed)
    assert rule is not None  # noqa: S101 - the first line has refused it
    return rule


def _apply(loan: Loan, plan: Plan, rule: RewardRule) -> Loan:
    row = replace(
        loan.row,
        rate_annual=rule.lower(loan.row.rate_annual),
        plan_version=loan.row.plan_version + 1,
        interest_fen=loan.row.interest_paid_fen + sum(line.interest_fen for line in plan),
        fee_fen=loan.row.fee_paid_fen + sum(line.fee_fen for line in plan),
    )
    lines = make_lines(plan, loan.lines[0].begins)
    terms = replace(loan.terms, rate_annual=row.rate_annual)
    return replace(with_lines(replace(loan, terms=terms), row, lines), complete=True)


def _make_paper(loan: Loan, after: Loan, plan: Plan, interest_before_fen: int) -> Canonical:
    """Return what the borrower is shown of the change, in place of what the cost table said."""
    return make_canonical(
        {
            "loan_id": loan.loan_id,
            "rate_before": str(loan.row.rate_annual.normalize()),
            "rate_after": str(after.row.rate_annual.normalize()),
            "from_period": plan[0].period,
            "begins": loan.lines[0].begins.isoformat(),
            "interest_saved_fen": interest_before_fen - sum(line.interest_fen for line in plan),
            "schedule": show_plan(plan),
            "why": {
                "zh": "按时还款，利率下调。",
                "en": "The rate falls because every instalment was paid on time.",
            },
        }
    )


async def _write(
    connection: Connection, loan: Loan, after: Loan, plan: Plan, kept: tuple[Canonical, str]
) -> None:
    paper, key = kept
    begins = loan.lines[0].begins
    version = {"loan_id": loan.loan_id, "plan_version": after.row.plan_version, "made_on": loan.today}
    await connection.execute(store.INSERT_PLAN, plan_columns(plan, begins, paid_so_far(loan)) | version)
    changed = version | {"rate_annual": after.row.rate_annual, "interest_fen": after.row.interest_fen}
    changed["fee_fen"] = after.row.fee_fen
    await connection.execute(_LOWER, changed)
    noted = {
        "rate_before": loan.row.rate_annual,
        "from_period": plan[0].period,
        "begins": begins,
        "document": paper.text,
        "document_sm3": paper.sm3,
        "day": loan.today,
        "key": key,
    }
    await connection.execute(_NOTE, changed | noted)


async def show_rate_changes(core: LendingCore, loan_id: str) -> Done:
    """Return every change of a loan's rate as the borrower was shown it; Refused (404) without a loan."""
    cell = core.cell_of_id(Letter.LOAN, loan_id)
    if cell is None:
        raise Refused(Kind.NOT_FOUND, "There is no such loan.")

    async def work(connection: Connection, epoch: int) -> Answer:
        row = await (await connection.execute(_SELECT_CHANGES, [loan_id])).fetchone()
        if row is None:
            raise Refused(Kind.NOT_FOUND, "There is no such loan.")
        changes = [
            {**json.loads(document), "document_sm3": sm3}
            for document, sm3 in zip(row[1], row[2], strict=True)
        ]
        return Answer(200, {"loan_id": loan_id, "changes": changes}, epoch, replayed=False)

    read = await core.router.read(cell, work, deadline_seconds=core.deadline_seconds)
    return Done(cell, read.value)
