"""The statements of contracts, draws and repayments, and rows read back as values."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from core_app.loans.schedule import Instalment

SELECT_APPLICATION = """
select a.customer_id, a.product, a.product_version, a.amount_fen, a.periods, a.decision,
       a.purpose, a.tier_limit_fen, coalesce(b.on_date, %s::date)
from core.applications a, core.business_date b where a.application_id = %s
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

LOCK_CONTRACT = """
select k.customer_id, k.product, k.product_version, k.amount_fen, k.periods, k.rate_annual, k.status,
       coalesce(b.on_date, %s::date)
from core.contracts k, core.business_date b where k.contract_id = %s for update of k
"""

# A draw in one statement: the loan, its plan, its entries, the contract's status.
INSERT_DRAW = """
with loan as (
    insert into core.loans (loan_id, contract_id, customer_id, product, product_version, drawn_on,
        principal_fen, interest_fen, idempotency_key)
    values (%(loan_id)s, %(contract_id)s, %(customer_id)s, %(product)s, %(product_version)s, %(day)s,
        %(principal_fen)s, %(interest_fen)s, %(key)s)
), plan as (
    insert into core.instalments (loan_id, period, due, principal_fen, interest_fen)
    select %(loan_id)s, *
    from unnest(%(periods)s::smallint[], %(dues)s::date[], %(principals)s::bigint[], %(interests)s::bigint[])
), booked as (
    insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key,
        booked_on, funder)
    select %(loan_id)s, e.account, e.amount_fen, 'CNY', %(loan_id)s, %(key)s, %(day)s, e.funder
    from unnest(%(accounts)s::text[], %(amounts)s::bigint[], %(funders)s::text[])
         as e (account, amount_fen, funder)
)
update core.contracts set status = 'drawn' where contract_id = %(contract_id)s
"""

_LOAN_COLUMNS = """
l.customer_id, l.product, l.product_version, l.principal_fen, l.interest_fen, l.principal_paid_fen,
l.interest_paid_fen, l.drawn_on, coalesce(b.on_date, %s::date), p.periods, p.dues, p.principals, p.interests
from core.loans l, core.business_date b,
     lateral (select array_agg(i.period order by i.period), array_agg(i.due order by i.period),
                     array_agg(i.principal_fen order by i.period), array_agg(i.interest_fen order by i.period)
              from core.instalments i where i.loan_id = l.loan_id) as p (periods, dues, principals, interests)
where l.loan_id = %s
"""

SELECT_LOAN = "select" + _LOAN_COLUMNS

# The plan is read beside the lock in one statement: its rows never change, so a plan from before a
# wait for the lock is still the plan, while the loan's own columns are re-read after the wait.
LOCK_LOAN = "select" + _LOAN_COLUMNS + "for update of l"

# A repayment in one statement, so that posting costs one round trip after the lock.
INSERT_REPAYMENT = """
with booked as (
    insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key,
        booked_on, funder)
    select %(repayment_id)s, e.account, e.amount_fen, 'CNY', %(loan_id)s, %(key)s, %(day)s, e.funder
    from unnest(%(accounts)s::text[], %(amounts)s::bigint[], %(funders)s::text[])
         as e (account, amount_fen, funder)
), paid as (
    update core.loans
    set interest_paid_fen = interest_paid_fen + %(interest_fen)s,
        principal_paid_fen = principal_paid_fen + %(principal_fen)s,
        penalty_paid_fen = penalty_paid_fen + %(penalty_fen)s
    where loan_id = %(loan_id)s
), noted as (
    insert into core.repayments (repayment_id, loan_id, amount_fen, penalty_fen, interest_fen, principal_fen,
        booked_on, idempotency_key)
    values (%(repayment_id)s, %(loan_id)s, %(amount_fen)s, %(penalty_fen)s, %(interest_fen)s,
        %(principal_fen)s, %(day)s, %(key)s)
), told as (
    insert into core.outbox (topic, key, payload, idempotency_key)
    values ('loan.repaid', %(loan_id)s, %(payload)s, %(key)s)
)
update core.commands set status = 201, response = %(response)s where idempotency_key = %(key)s
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
    today: dt.date


@dataclass(frozen=True, slots=True)
class LoanRow:
    """A loan as stored, with its plan; `today` is the business date of the read."""

    customer_id: str
    product: str
    product_version: int
    principal_fen: int
    interest_fen: int
    principal_paid_fen: int
    interest_paid_fen: int
    drawn_on: dt.date
    today: dt.date
    plan: tuple[Instalment, ...]

    @property
    def outstanding_fen(self) -> int:
        """Return all that is still to be paid by the plan, due or not."""
        return self.principal_fen + self.interest_fen - self.principal_paid_fen - self.interest_paid_fen


@dataclass(frozen=True, slots=True)
class ContractRow:
    """A contract as stored; `today` is the business date of the read."""

    customer_id: str
    product: str
    product_version: int
    amount_fen: int
    periods: int
    rate_annual: Decimal
    status: str
    today: dt.date


def read_loan_row(row: Sequence[object]) -> LoanRow:
    """Turn a row of SELECT_LOAN or LOCK_LOAN into a value."""
    *columns, periods, dues, principals, interests = row
    plan = tuple(map(Instalment, periods, dues, principals, interests))  # type: ignore[call-overload]
    return LoanRow(*columns, plan)  # type: ignore[arg-type, call-arg]
