"""The statements of draws, one or many of them in one: lock, read under the locks, write."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from core_app.limits.store import NODE_COLUMNS
from core_app.limits.tree import NodeRow

LOCK = "select core.lock_drawn(%s::text[], %s::smallint[], %s::date)"

# Sent behind the locks, with a snapshot of its own: no draw beside it is missed.
READ = f"""
select k.contract_id, k.customer_id, k.product, k.product_version, k.amount_fen, k.periods, k.rate_annual,
       k.status, d.today, h.reserved_fen, h.valid_to, n.nodes, c.today, c.open, paid.loan_id is not null
from unnest(%(contracts)s::text[], %(chunks)s::smallint[], %(merchants)s::text[], %(orders)s::text[])
         as w (contract_id, chunk, merchant_id, order_id)
    join core.contracts k on k.contract_id = w.contract_id
    cross join lateral (select core.read_day(w.chunk, %(today)s::date) as today) as d
    left join core.limit_holds h on h.contract_id = k.contract_id
    left join core.entrusted_payments paid
        on paid.merchant_id = w.merchant_id and paid.order_id = w.order_id
    cross join lateral (
        select json_agg(json_build_array({NODE_COLUMNS.format(row="l", today="d.today")})) as nodes
        from core.limits l where l.customer_id = k.customer_id and l.node = any (h.nodes)
    ) as n
    cross join lateral (
        select count(*) filter (where l.drawn_on = d.today) as today,
               count(*) filter (where l.balance_fen > 0) as open
        from core.loans l where l.customer_id = k.customer_id and l.product = k.product
    ) as c
"""  # noqa: S608 - put together of constants

# One row of `r` a draw; no two of one customer. A line stays open. Limits in their order: the hold, the node
# `customer`, and the nodes below only after it.
WRITE = """
with r as materialized (
    select * from json_to_recordset(%(rows)s::json) as r (
        key text, digest text, epoch bigint, site text, loan_id text, contract_id text, customer_id text,
        product text, product_version integer, rate_annual numeric, day date, amount_fen bigint,
        principal_fen bigint, interest_fen bigint, anytime boolean, interest_to date,
        periods smallint[], begins date[], dues date[], principals bigint[], interests bigint[],
        principals_before bigint[], interests_before bigint[], fees bigint[], fees_before bigint[],
        fee_fen bigint, accounts text[], amounts bigint[], entry_funders text[],
        funders text[], versions integer[], shares numeric[], funder_principals bigint[],
        funder_interests bigint[], settle_in_days integer, passed_over jsonb,
        payout_id text, payee_kind text, payee text, kinds text[], patience interval,
        merchant_id text, merchant_kind text, order_id text, payload jsonb, response jsonb)
), held as (
    update core.limit_holds h
    set reserved_fen = h.reserved_fen - r.amount_fen, used_fen = h.used_fen + r.amount_fen
    from r where h.contract_id = r.contract_id
    returning h.customer_id, h.nodes, r.amount_fen as fen
), top as (
    update core.limits l set reserved_fen = l.reserved_fen - h.fen, used_fen = l.used_fen + h.fen
    from held h where l.customer_id = h.customer_id and l.node = 'customer'
    returning l.customer_id
), below as (
    update core.limits l set reserved_fen = l.reserved_fen - h.fen, used_fen = l.used_fen + h.fen
    from held h, top
    where l.customer_id = h.customer_id and l.node = any (h.nodes) and l.node <> 'customer'
        and top.customer_id = h.customer_id
), loan as (
    insert into core.loans (loan_id, contract_id, customer_id, product, product_version, rate_annual,
        drawn_on, principal_fen, interest_fen, fee_fen, anytime, under_line, interest_to, idempotency_key,
        channel, region)
    select r.loan_id, r.contract_id, r.customer_id, r.product, r.product_version, r.rate_annual, r.day,
        r.principal_fen, r.interest_fen, r.fee_fen, r.anytime, r.anytime, r.interest_to, r.key, a.channel,
        a.region
    from r join core.contracts k using (contract_id) join core.applications a using (application_id)
), plan as (
    insert into core.instalments (loan_id, period, begins, due, principal_fen, interest_fen,
        principal_before_fen, interest_before_fen, fee_fen, fee_before_fen)
    select r.loan_id, p.* from r,
        unnest(r.periods, r.begins, r.dues, r.principals, r.interests, r.principals_before,
            r.interests_before, r.fees, r.fees_before) as p
), booked as (
    insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key,
        booked_on, funder)
    select r.loan_id, e.account, e.amount_fen, 'CNY', r.loan_id, r.key, r.day, e.funder
    from r, unnest(r.accounts, r.amounts, r.entry_funders) as e (account, amount_fen, funder)
), drawn as (
    update core.contracts k set status = 'drawn' from r
    where k.contract_id = r.contract_id and not r.anytime
), funded as (
    insert into core.loan_funders (loan_id, place, funder, funder_version, share, principal_fen,
        interest_fen, settle_in_days, passed_over, idempotency_key)
    select r.loan_id, f.place - 1, f.funder, f.version, f.share, f.principal_fen, f.interest_fen,
        r.settle_in_days, r.passed_over, r.key
    from r, unnest(r.funders, r.versions, r.shares, r.funder_principals, r.funder_interests)
        with ordinality as f (funder, version, share, principal_fen, interest_fen, place)
), entrusted as (
    insert into core.entrusted_payments (loan_id, merchant_id, merchant_kind, order_id, amount_fen,
        idempotency_key)
    select r.loan_id, r.merchant_id, r.merchant_kind, r.order_id, r.amount_fen, r.key
    from r where r.merchant_id is not null
), ordered as (
    insert into core.payout_orders (order_id, loan_id, amount_fen, payee_kind, payee, channel_kinds,
        give_up_at, epoch, changed_by, idempotency_key)
    select r.payout_id, r.loan_id, r.amount_fen, r.payee_kind, r.payee, r.kinds, now() + r.patience, r.epoch,
        r.site, r.key from r
), told as (
    insert into core.outbox (topic, key, payload, idempotency_key)
    select 'loan.drawn', r.loan_id, r.payload, r.key from r
)
insert into core.commands (idempotency_key, request_sm3, kind, epoch, status, response, committed_by)
select r.key, decode(r.digest, 'hex'), 'draw', r.epoch, 201, r.response, r.site from r order by r.key
"""


@dataclass(frozen=True, slots=True)
class ContractRow:
    """A locked contract with what it holds of the limits; `today` is the business date of the read."""

    contract_id: str
    customer_id: str
    product: str
    product_version: int
    amount_fen: int
    periods: int
    rate_annual: Decimal
    status: str
    today: dt.date
    reserved_fen: int
    """What is left of its amount."""
    valid_to: dt.date
    nodes: tuple[NodeRow, ...]
    """The nodes it counts at, as they are before the draw."""
    draws_today: int
    """Draws of its customer under its product on `today`; and how many have any principal left."""
    draws_open: int
    order_paid: bool
    """The merchant's order that is to be paid was paid before."""


def read_contract(columns: Sequence[Any]) -> ContractRow:
    """Turn a row of READ into a contract."""
    row = ContractRow(*columns)
    nodes: Any = row.nodes  # a list of lists, or null
    return replace(row, nodes=tuple(NodeRow(*node) for node in nodes or ()))
