"""What repayments write, one or many of them in one statement: limits, entries, totals, outbox, answers."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from core_app.core import Connection

# One row of `r` a repayment; no two of one loan. Limits are given back as `core_app.limits.store` does it:
# the hold, the node `customer`, and the nodes below only after it.
_BOOK = """
with r as materialized (
    select * from json_to_recordset(%(rows)s::json) as r (
        key text, loan_id text, contract_id text, repayment_id text, kind text, booked_version smallint,
        amount_fen bigint, penalty_fen bigint, interest_fen bigint, principal_fen bigint, fee_fen bigint,
        prepayment_fee_fen bigint, recovered_own_fen bigint, day date, principal_paid_fen bigint,
        interest_paid_fen bigint, penalty_paid_fen bigint, fee_paid_fen bigint, fee_planned_fen bigint,
        open_period smallint, plan_version smallint, interest_planned_fen bigint,
        interest_fen_days bigint, interest_to date, settled_on date, accounts text[], amounts bigint[],
        funders text[], late_periods smallint[], late_fen_days bigint[], late_counted_to date[],
        late_paid bigint[], payload jsonb, response jsonb, digest text, epoch bigint, site text)
), given as (
    select r.contract_id, sum(r.principal_fen)::bigint as fen from r where r.principal_fen > 0
    group by r.contract_id
), held as (
    update core.limit_holds h
    set used_fen = h.used_fen - g.fen, reserved_fen = h.reserved_fen + case when h.line then g.fen else 0 end
    from given g where h.contract_id = g.contract_id
    returning h.customer_id, h.nodes, g.fen, case when h.line then g.fen else 0 end as again_fen
), moved as (
    select h.customer_id, n.node, sum(h.fen)::bigint as fen, sum(h.again_fen)::bigint as again_fen
    from held h, unnest(h.nodes) as n (node) group by h.customer_id, n.node
), top as (
    update core.limits l set used_fen = l.used_fen - m.fen, reserved_fen = l.reserved_fen + m.again_fen
    from moved m where l.customer_id = m.customer_id and l.node = m.node and m.node = 'customer'
    returning l.customer_id
), below as (
    update core.limits l set used_fen = l.used_fen - m.fen, reserved_fen = l.reserved_fen + m.again_fen
    from moved m, top
    where l.customer_id = m.customer_id and l.node = m.node and m.node <> 'customer'
        and m.customer_id = top.customer_id
), booked as (
    insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key,
        booked_on, funder)
    select r.repayment_id, e.account, e.amount_fen, 'CNY', r.loan_id, r.key, r.day, e.funder
    from r, unnest(r.accounts, r.amounts, r.funders) as e (account, amount_fen, funder)
), paid as (
    update core.loans l
    set principal_paid_fen = r.principal_paid_fen, interest_paid_fen = r.interest_paid_fen,
        penalty_paid_fen = r.penalty_paid_fen, fee_paid_fen = r.fee_paid_fen, fee_fen = r.fee_planned_fen,
        open_period = r.open_period,
        plan_version = r.plan_version, interest_fen = r.interest_planned_fen,
        interest_fen_days = r.interest_fen_days, interest_to = r.interest_to, settled_on = r.settled_on
    from r where l.loan_id = r.loan_id
), late as (
    insert into core.late_lines (loan_id, period, fen_days, counted_to, penalty_paid_fen)
    select r.loan_id, t.period, t.fen_days, t.counted_to, t.paid_fen
    from r, unnest(r.late_periods, r.late_fen_days, r.late_counted_to, r.late_paid)
        as t (period, fen_days, counted_to, paid_fen)
    on conflict (loan_id, period) do update set fen_days = excluded.fen_days,
        counted_to = excluded.counted_to, penalty_paid_fen = excluded.penalty_paid_fen
), noted as (
    insert into core.repayments (repayment_id, loan_id, kind, plan_version, amount_fen, penalty_fen,
        interest_fen, principal_fen, fee_fen, prepayment_fee_fen, recovered_own_fen, booked_on,
        idempotency_key)
    select r.repayment_id, r.loan_id, r.kind, r.booked_version, r.amount_fen, r.penalty_fen, r.interest_fen,
        r.principal_fen, r.fee_fen, r.prepayment_fee_fen, r.recovered_own_fen, r.day, r.key from r
), told as (
    insert into core.outbox (topic, key, payload, idempotency_key)
    select 'loan.repaid', r.loan_id, r.payload, r.key from r
)
"""

BOOK = (
    _BOOK
    + """
update core.commands c set status = 201, response = r.response from r where c.idempotency_key = r.key
"""
)

# Of commands whose keys were found free under the locks. One that was claimed since is a UniqueViolation.
BOOK_CLAIMING = (
    _BOOK
    + """
insert into core.commands (idempotency_key, request_sm3, kind, epoch, status, response, committed_by)
select r.key, decode(r.digest, 'hex'), 'repayment', r.epoch, 201, r.response, r.site from r order by r.key
"""
)


async def book(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write repayments of locked loans, and the answers of their claimed commands; costs no round trip.

    Each row has the columns of the statement's record up to `response`. Amounts in fen.
    """
    await connection.execute(BOOK, {"rows": as_json(rows)})


async def book_claiming(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write repayments and their commands, keys included, each under its own; else as `book`.

    psycopg's UniqueViolation when a key was claimed meanwhile: then nothing of it is written.
    """
    await connection.execute(BOOK_CLAIMING, {"rows": as_json(rows)})


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a statement's record set has them: dates as ISO texts, decimals as exact texts."""
    return json.dumps(rows, default=_as_text, ensure_ascii=False, separators=(",", ":"))


def _as_text(value: object) -> str:
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no text that a column could be read from")
