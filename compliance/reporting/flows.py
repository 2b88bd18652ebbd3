"""The penetrating audit of fund flows: every yuan from funder to borrower to repayment to funder.

For each loan the books are compared with the orders, the shares and the repayments; whatever does not agree,
or is still on its way, is listed. What is not listed is reconciled to the fen.
"""

from dataclasses import dataclass

from psycopg.rows import dict_row

from compliance.reporting.snapshot import Connection

_FLOWS = """
with booked as (
    select e.loan_id,
        sum(e.amount_fen) filter (where e.account = '1002') as bank_fen,
        sum(e.amount_fen) filter (where e.account = '1303') as own_fen,
        sum(e.amount_fen) filter (where e.account = '1321') as held_fen,
        coalesce(sum(-e.amount_fen) filter (where e.account = '2241'), 0) as surplus_fen,
        coalesce(sum(-e.amount_fen) filter (where e.account in ('231401', '231402')), 0) as owed_fen
    from core.entries e where e.loan_id <> '' group by e.loan_id
), funded as (
    select f.loan_id, sum(f.principal_fen) as principal_fen,
        sum(f.principal_fen) filter (where f.funder <> 'own') as partner_fen
    from core.loan_funders f group by f.loan_id
), repaid as (
    select r.loan_id, sum(r.amount_fen) as amount_fen, sum(r.principal_fen + coalesce(k.principal_fen, 0))
        filter (where r.kind <> 'recovery') as principal_fen
    from core.repayments r
    left join (select repayment_id, sum(principal_fen) as principal_fen from core.corrections group by 1) k
        using (repayment_id)
    where not exists (select from core.reversals x where x.repayment_id = r.repayment_id) group by r.loan_id
), flow as (
    select l.loan_id, l.principal_fen, l.balance_fen, v.loan_id is not null as voided,
        w.loan_id is not null as written_off, coalesce(w.own_fen, 0) as lost_fen,
        f.principal_fen as funded_fen, coalesce(f.partner_fen, 0) as partner_fen,
        o.state as payout, o.amount_fen as ordered_fen, o.order_id,
        coalesce(b.bank_fen, 0) as bank_fen, coalesce(b.own_fen, 0) as own_fen,
        coalesce(b.held_fen, 0) as held_fen, coalesce(b.surplus_fen, 0) as surplus_fen,
        coalesce(b.owed_fen, 0) as owed_fen, coalesce(r.amount_fen, 0) as repaid_fen,
        coalesce(r.principal_fen, 0) as principal_repaid_fen
    from core.loans l left join funded f using (loan_id) left join booked b using (loan_id)
    left join repaid r using (loan_id) left join core.payout_orders o using (loan_id)
    left join core.draw_voids v using (loan_id) left join core.write_offs w using (loan_id)
)
"""
_EXCEPTIONS = (
    _FLOWS
    + """
select loan_id, rule, found::text, needed::text from flow cross join lateral (values
    ('funders gave what the borrower got', funded_fen, principal_fen,
        funded_fen is distinct from principal_fen),
    ('the payout is of the principal', ordered_fen, principal_fen,
        ordered_fen is distinct from principal_fen),
    ('bank: repaid and surplus less what was paid out', bank_fen,
        repaid_fen + surplus_fen - case when voided then 0 else principal_fen end,
        bank_fen <> repaid_fen + surplus_fen - case when voided then 0 else principal_fen end),
    ('ours and held for funders are what is owed', own_fen + held_fen,
        case when voided then 0 when written_off then held_fen else balance_fen end,
        own_fen + held_fen <> case when voided then 0 when written_off then held_fen else balance_fen end),
    ('principal: lent less repaid is the balance', balance_fen, principal_fen - principal_repaid_fen,
        not voided and not written_off and balance_fen <> principal_fen - principal_repaid_fen)
) as c (rule, found, needed, broken) where broken
union all
select loan_id, 'the payout is on its way: ' || payout, order_id, 'paid or voided' from flow
where payout in ('ordered', 'sent', 'unknown')
union all
select loan_id, 'the payout failed and the draw stands', order_id, 'voided' from flow
where payout = 'failed' and not voided
order by 1, 2
"""
)
_TOTALS = (
    _FLOWS
    + """
select count(*) as loans, coalesce(sum(funded_fen) filter (where not voided), 0)::bigint as funded_fen,
    coalesce(sum(partner_fen) filter (where not voided), 0)::bigint as by_partners_fen,
    coalesce(sum(ordered_fen) filter (where payout = 'paid'), 0)::bigint as paid_out_fen,
    coalesce(sum(repaid_fen), 0)::bigint as repaid_fen, coalesce(sum(surplus_fen), 0)::bigint as surplus_fen,
    coalesce(sum(owed_fen), 0)::bigint as owed_to_partners_fen,
    coalesce(sum(own_fen + held_fen), 0)::bigint as outstanding_fen
from flow
"""
)


@dataclass(frozen=True, slots=True)
class FlowException:
    """A loan whose money does not agree, or is on its way. Amounts in fen, as texts."""

    cell: str
    loan_id: str
    rule: str
    found: str
    needed: str


@dataclass(frozen=True, slots=True)
class Flows:
    """All loans' money, in fen, and what is not reconciled."""

    loans: int
    funded_fen: int
    by_partners_fen: int
    paid_out_fen: int
    repaid_fen: int
    surplus_fen: int
    owed_to_partners_fen: int
    outstanding_fen: int
    exceptions: tuple[FlowException, ...]

    @property
    def reconciled(self) -> int:
        """Return how many loans agree to the fen and have nothing on its way."""
        return self.loans - len({one.loan_id for one in self.exceptions})


async def trace_flows(connection: Connection, cell: str) -> Flows:
    """Trace one cell's loans, from one snapshot."""
    async with connection.transaction():
        await connection.execute("set transaction isolation level repeatable read, read only")
        rows = await (await connection.execute(_EXCEPTIONS.encode())).fetchall()
        cursor = connection.cursor(row_factory=dict_row)
        totals = await (await cursor.execute(_TOTALS.encode())).fetchone()
    exceptions = tuple(FlowException(cell, *map(str, row)) for row in rows)
    return Flows(**(totals or {}), exceptions=exceptions)
