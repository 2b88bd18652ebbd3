"""The statements of contracts, draws and repayments, and rows read back as values."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core_app.loans.loan import Loan, Row

SELECT_APPLICATION = """
select a.customer_id, a.product, a.product_version, a.amount_fen, a.periods, a.decision,
       a.purpose, a.tier_limit_fen, a.segment, core.enter_day(%s::smallint, %s::date)
from core.applications a where a.application_id = %s
"""

INSERT_CONTRACT = """
insert into core.contracts (contract_id, application_id, customer_id, product, product_version, amount_fen,
    periods, rate_annual, signed_on, idempotency_key)
values (%(contract_id)s, %(application_id)s, %(customer_id)s, %(product)s, %(product_version)s,
    %(amount_fen)s, %(periods)s, %(rate_annual)s, %(signed_on)s, %(key)s)
on conflict (application_id) do nothing
returning 1
"""

INSERT_COST_TABLE = """
insert into core.cost_tables (contract_id, document, document_sm3, confirmed, read_seconds, shown_on,
    idempotency_key)
values (%(contract_id)s, %(document)s, %(document_sm3)s, %(confirmed)s, %(read_seconds)s, %(shown_on)s,
    %(key)s)
"""

# The whole plan of a loan's current version, paid instalments included.
SELECT_PLAN = """
select i.period, i.due, i.principal_fen, i.interest_fen, i.fee_fen, i.begins
from core.instalments i where i.loan_id = %s and i.plan_version = %s order by i.period
"""

INSERT_PLAN = """
insert into core.instalments (loan_id, plan_version, period, begins, due, principal_fen, interest_fen,
    principal_before_fen, interest_before_fen, fee_fen, fee_before_fen, made_on)
select %(loan_id)s, %(plan_version)s, p.*, %(made_on)s
from unnest(%(periods)s::smallint[], %(begins)s::date[], %(dues)s::date[], %(principals)s::bigint[],
    %(interests)s::bigint[], %(principals_before)s::bigint[], %(interests_before)s::bigint[],
    %(fees)s::bigint[], %(fees_before)s::bigint[]) as p
"""

# What is rarer than a repayment is written statement by statement, in one pipeline.
UPDATE_LOAN = """
update core.loans
set principal_paid_fen = %(principal_paid_fen)s, interest_paid_fen = %(interest_paid_fen)s,
    penalty_paid_fen = %(penalty_paid_fen)s, fee_paid_fen = %(fee_paid_fen)s, fee_fen = %(fee_planned_fen)s,
    open_period = %(open_period)s,
    interest_fen = %(interest_planned_fen)s, interest_fen_days = %(interest_fen_days)s,
    interest_to = %(interest_to)s, settled_on = %(settled_on)s
where loan_id = %(loan_id)s
"""

UPSERT_LATE = """
insert into core.late_lines (loan_id, period, fen_days, counted_to, penalty_paid_fen)
select %(loan_id)s, *
from unnest(%(late_periods)s::smallint[], %(late_fen_days)s::bigint[], %(late_counted_to)s::date[],
    %(late_paid)s::bigint[])
on conflict (loan_id, period) do update set fen_days = excluded.fen_days,
    counted_to = excluded.counted_to, penalty_paid_fen = excluded.penalty_paid_fen
"""

INSERT_ENTRIES = """
insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key, booked_on,
    funder)
select e.transaction_id, e.account, e.amount_fen, 'CNY', %(loan_id)s, %(key)s, %(day)s, e.funder
from unnest(%(transactions)s::text[], %(accounts)s::text[], %(amounts)s::bigint[], %(funders)s::text[])
    as e (transaction_id, account, amount_fen, funder)
"""

SELECT_REPAYMENT = "select loan_id, kind, plan_version from core.repayments where repayment_id = %s"

# The repayments booked under a plan, as they are split now; `reversed` ones do not count any more.
SELECT_JOURNAL = """
select r.number, r.repayment_id, r.booked_on, r.amount_fen,
       r.penalty_fen + coalesce(c.penalty_fen, 0), r.interest_fen + coalesce(c.interest_fen, 0),
       r.principal_fen + coalesce(c.principal_fen, 0), r.fee_fen + coalesce(c.fee_fen, 0),
       x.repayment_id is not null
from core.repayments r
left join core.reversals x using (repayment_id)
left join lateral (
    select sum(c.penalty_fen)::bigint as penalty_fen, sum(c.interest_fen)::bigint as interest_fen,
           sum(c.principal_fen)::bigint as principal_fen, sum(c.fee_fen)::bigint as fee_fen
    from core.corrections c where c.repayment_id = r.repayment_id
) as c on true
where r.loan_id = %s and r.plan_version = %s and r.kind = 'repayment' order by r.number
"""

INSERT_REVERSAL = """
insert into core.reversals (repayment_id, reason, reversed_on, idempotency_key) values (%s, %s, %s, %s)
"""

INSERT_CORRECTIONS = """
insert into core.corrections (repayment_id, idempotency_key, penalty_fen, interest_fen, principal_fen,
    fee_fen, corrected_on)
select c.repayment_id, %(key)s, c.penalty_fen, c.interest_fen, c.principal_fen, c.fee_fen, %(day)s
from unnest(%(repayments)s::text[], %(penalties)s::bigint[], %(interests)s::bigint[],
        %(principals)s::bigint[], %(fees)s::bigint[])
    as c (repayment_id, penalty_fen, interest_fen, principal_fen, fee_fen)
"""

WRITE_OFF = """
with written_off as (
    update core.loans set written_off_on = %(day)s where loan_id = %(loan_id)s
)
insert into core.write_offs (loan_id, principal_fen, own_fen, days_past_due, reason, written_off_on,
    idempotency_key)
values (%(loan_id)s, %(principal_fen)s, %(own_fen)s, %(days_past_due)s, %(reason)s, %(day)s, %(key)s)
"""


@dataclass(frozen=True, slots=True)
class ApplicationRow:
    """An application as stored; `today` is the business date of the read."""

    customer_id: str
    product: str
    product_version: int
    amount_fen: int
    periods: int
    decision: str
    purpose: str | None
    tier_limit_fen: int | None
    segment: str | None
    """The segment it was priced by."""
    today: dt.date


def new_row(drawn: Mapping[str, Any]) -> Row:
    """Return the row of a loan just drawn, from the columns that a draw writes."""
    return Row(
        today=drawn["day"],
        contract_id=drawn["contract_id"],
        customer_id=drawn["customer_id"],
        product=drawn["product"],
        product_version=drawn["product_version"],
        drawn_on=drawn["day"],
        rate_annual=drawn["rate_annual"],
        principal_fen=drawn["principal_fen"],
        interest_fen=drawn["interest_fen"],
        principal_paid_fen=0,
        interest_paid_fen=0,
        penalty_paid_fen=0,
        plan_version=1,
        open_period=1,
        anytime=drawn["anytime"],
        interest_fen_days=0,
        interest_to=drawn["interest_to"],
        settled_on=None,
        written_off_on=None,
        periods=drawn["periods"],
        begins=drawn["begins"],
        dues=drawn["dues"],
        principals=drawn["principals"],
        interests=drawn["interests"],
        principals_before=drawn["principals_before"],
        interests_before=drawn["interests_before"],
        fen_days=[0] * len(drawn["periods"]),
        counted_to=drawn["dues"],
        penalties_paid=[0] * len(drawn["periods"]),
        fee_fen=drawn["fee_fen"],
        fees=drawn["fees"],
        fees_before=drawn["fees_before"],
    )


def state_columns(loan: Loan) -> dict[str, Any]:
    """Return what a command may change of a loan's row."""
    row, daily = loan.row, loan.daily
    return {
        "loan_id": loan.loan_id,
        "contract_id": row.contract_id,
        "principal_paid_fen": row.principal_paid_fen,
        "interest_paid_fen": row.interest_paid_fen,
        "penalty_paid_fen": row.penalty_paid_fen,
        "fee_paid_fen": row.fee_paid_fen,
        "fee_planned_fen": row.fee_fen,
        "open_period": row.open_period,
        "plan_version": row.plan_version,
        "interest_planned_fen": row.interest_fen,
        "interest_fen_days": daily.fen_days if daily else row.interest_fen_days,
        "interest_to": daily.counted_to if daily else row.interest_to,
        "settled_on": row.settled_on,
    }
