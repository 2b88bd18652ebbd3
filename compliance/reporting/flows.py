"""The penetrating audit of fund flows: every yuan from funder to borrower to repayment to funder.

For each loan the books are compared with the orders, the shares and the repayments, and each funder's part of
what was repaid with its share; for each partner and day, what it was told in settlement is compared with the
ledger. Whatever does not agree, or is still on its way, is listed; all else is reconciled to the fen. The
transfer between banks that a settlement asks for is not in the core: here the way ends at what is told.
"""

from dataclasses import dataclass

from psycopg.rows import dict_row

from compliance.reporting.snapshot import Connection

_FLOWS = """
with booked as (
    select e.loan_id,
        sum(e.amount_fen) filter (where e.account = '1002') as bank_fen,
        sum(e.amount_fen) filter (where e.account = '1303') as own_fen,
        coalesce(sum(e.amount_fen) filter (where e.account = '1002' and e.funder <> 'own'), 0)
            as partner_bank_fen,
        sum(e.amount_fen) filter (where e.account = '1321') as held_fen,
        coalesce(sum(-e.amount_fen) filter (where e.account = '2241'), 0) as surplus_fen,
        coalesce(sum(e.amount_fen) filter (where e.account = '6601'), 0) as coupon_fen,
        coalesce(sum(-e.amount_fen) filter (where e.account in ('231401', '231402')), 0) as owed_fen
    from core.entries e where e.loan_id <> '' group by e.loan_id
), funded as (
    select f.loan_id, sum(f.principal_fen) as principal_fen,
        sum(f.principal_fen) filter (where f.funder <> 'own') as partner_fen
    from core.loan_funders f group by f.loan_id
), repaid as (
    select r.loan_id, sum(r.amount_fen) as amount_fen,
        sum(r.principal_fen + coalesce(k.principal_fen, 0))
            filter (where r.kind <> 'recovery') as principal_fen,
        sum(r.principal_fen + coalesce(k.principal_fen, 0)) as all_principal_fen,
        sum(r.interest_fen + coalesce(k.interest_fen, 0)) as interest_fen,
        sum(r.penalty_fen + coalesce(k.penalty_fen, 0)) as penalty_fen
    from core.repayments r
    left join (select repayment_id, sum(principal_fen) as principal_fen, sum(interest_fen) as interest_fen,
            sum(penalty_fen) as penalty_fen from core.corrections group by 1) k using (repayment_id)
    where not exists (select from core.reversals x where x.repayment_id = r.repayment_id) group by r.loan_id
), flow as (
    select l.loan_id, l.principal_fen, l.balance_fen, v.loan_id is not null as voided,
        w.loan_id is not null as written_off, coalesce(w.own_fen, 0) as lost_fen,
        f.principal_fen as funded_fen, coalesce(f.partner_fen, 0) as partner_fen,
        o.state as payout, o.amount_fen as ordered_fen, o.order_id,
        coalesce(b.bank_fen, 0) as bank_fen, coalesce(b.own_fen, 0) as own_fen,
        coalesce(b.held_fen, 0) as held_fen, coalesce(b.surplus_fen, 0) as surplus_fen,
        coalesce(b.coupon_fen, 0) as coupon_fen,
        coalesce(b.owed_fen, 0) as owed_fen, coalesce(r.amount_fen, 0) as repaid_fen,
        coalesce(b.partner_bank_fen, 0) as partner_bank_fen,
        coalesce(r.principal_fen, 0) as principal_repaid_fen,
        coalesce(case when f.partner_fen > 0 then r.all_principal_fen
            - core.own_part(l.loan_id, r.all_principal_fen::bigint) end, 0) as partners_all_principal_fen,
        coalesce(case when f.partner_fen > 0 then r.interest_fen
            - core.own_part(l.loan_id, r.interest_fen::bigint) end, 0) as partners_interest_fen,
        coalesce(case when f.partner_fen > 0 then r.penalty_fen
            - core.own_part(l.loan_id, r.penalty_fen::bigint) end, 0) as partners_penalty_fen
    from core.loans l left join funded f using (loan_id) left join booked b using (loan_id)
    left join repaid r using (loan_id) left join core.payout_orders o using (loan_id)
    left join core.draw_voids v using (loan_id) left join core.write_offs w using (loan_id)
), collected as (
    select e.funder, e.booked_on as on_date,
        coalesce(sum(e.amount_fen) filter (where e.account = '1321' and (e.transaction_id = e.loan_id
            or v.loan_id is not null)), 0)::bigint as drawn_fen,
        coalesce(-sum(e.amount_fen) filter (where e.account = '1321' and e.transaction_id <> e.loan_id
            and v.loan_id is null), 0)::bigint as principal_fen,
        coalesce(-sum(e.amount_fen) filter (where e.account = '231401'), 0)::bigint as interest_fen,
        coalesce(-sum(e.amount_fen) filter (where e.account = '231402'), 0)::bigint as penalty_fen
    from core.entries e
    left join core.draw_voids v on v.loan_id = e.loan_id and v.idempotency_key = e.transaction_id
    where e.funder <> 'own' and e.loan_id <> '' group by 1, 2
), told as (
    select funder, on_date, s.lines is not null as told,
        coalesce(c.principal_fen + c.interest_fen + c.penalty_fen - c.drawn_fen, 0) as net_fen,
        coalesce(s.principal_fen + s.interest_fen + s.penalty_fen - s.drawn_fen, 0) as told_fen,
        concat_ws('/', coalesce(c.drawn_fen, 0), coalesce(c.principal_fen, 0), coalesce(c.interest_fen, 0),
            coalesce(c.penalty_fen, 0)) as booked,
        concat_ws('/', s.drawn_fen, s.principal_fen, s.interest_fen, s.penalty_fen) as settled
    from collected c full join core.settlements s using (funder, on_date)
), net as (
    select coalesce(sum(told_fen) filter (where told), 0)::bigint as settled_net_fen,
        coalesce(sum(net_fen) filter (where not told), 0)::bigint as unsettled_net_fen
    from told
)
"""
_EXCEPTIONS = (
    _FLOWS
    + """
select 'loan', loan_id, rule, found::text, needed::text from flow cross join lateral (values
    ('funders gave what the borrower got', funded_fen, principal_fen,
        funded_fen is distinct from principal_fen),
    ('the payout is of the principal', ordered_fen, principal_fen,
        ordered_fen is distinct from principal_fen),
    ('bank: repaid and surplus less what was paid out', bank_fen,
        repaid_fen + surplus_fen - coupon_fen - case when voided then 0 else principal_fen end,
        bank_fen <> repaid_fen + surplus_fen - coupon_fen - case when voided then 0 else principal_fen end),
    ('ours and held for funders are what is owed', own_fen + held_fen,
        case when voided then 0 when written_off then held_fen else balance_fen end,
        own_fen + held_fen <> case when voided then 0 when written_off then held_fen else balance_fen end),
    ('principal: lent less repaid is the balance', balance_fen, principal_fen - principal_repaid_fen,
        not voided and not written_off and balance_fen <> principal_fen - principal_repaid_fen),
    ('funders: what partners lent less their part of what was repaid is held', held_fen,
        case when voided then 0 else partner_fen - partners_all_principal_fen end,
        held_fen <> case when voided then 0 else partner_fen - partners_all_principal_fen end),
    ('funders: interest and penalty collected for partners are owed to them', owed_fen,
        partners_interest_fen + partners_penalty_fen,
        owed_fen <> partners_interest_fen + partners_penalty_fen),
    ('funders: what partners paid in and got is at their bank line', partner_bank_fen,
        owed_fen - held_fen, partner_bank_fen <> owed_fen - held_fen)
) as c (rule, found, needed, broken) where broken
union all
select 'settlement', funder || ' ' || on_date, 'what the partner was told is what is booked of the day',
    settled, booked from told where told and settled <> booked
union all
select 'settlement', funder || ' ' || on_date, 'the day is not settled with the partner yet', 'nothing told',
    booked || ' (biyi settlement write)' from told where not told and booked <> '0/0/0/0'
union all
select 'loan', loan_id, 'the payout is on its way: ' || payout, order_id, 'paid or voided' from flow
where payout in ('ordered', 'sent', 'unknown')
union all
select 'loan', loan_id, 'the payout failed and the draw stands', order_id, 'voided' from flow
where payout = 'failed' and not voided
order by 1, 2, 3
"""
)
_TOTALS = (
    _FLOWS
    + """
select count(loan_id) as loans, coalesce(sum(funded_fen) filter (where not voided), 0)::bigint as funded_fen,
    coalesce(sum(partner_fen) filter (where not voided), 0)::bigint as by_partners_fen,
    coalesce(sum(ordered_fen) filter (where payout = 'paid'), 0)::bigint as paid_out_fen,
    coalesce(sum(repaid_fen), 0)::bigint as repaid_fen, coalesce(sum(surplus_fen), 0)::bigint as surplus_fen,
    coalesce(sum(owed_fen), 0)::bigint as owed_to_partners_fen,
    coalesce(sum(own_fen + held_fen), 0)::bigint as outstanding_fen,
    max(settled_net_fen) as settled_net_fen, max(unsettled_net_fen) as unsettled_net_fen
from net left join flow on true
"""
)


@dataclass(frozen=True, slots=True)
class FlowException:
    """A loan or a settlement whose money does not agree, or is on its way. Amounts in fen, as texts.

    `key`: a loan's id, or a partner and a day; a settlement's amounts are drawn/principal/interest/penalty.
    """

    cell: str
    what: str
    key: str
    rule: str
    found: str
    needed: str


@dataclass(frozen=True, slots=True)
class Flows:
    """All loans' money, in fen, and what is not reconciled.

    `settled_net_fen`: what partners were told that we owe them; negative: they owe us what was drawn.
    """

    loans: int
    funded_fen: int
    by_partners_fen: int
    paid_out_fen: int
    repaid_fen: int
    surplus_fen: int
    owed_to_partners_fen: int
    outstanding_fen: int
    settled_net_fen: int
    unsettled_net_fen: int
    exceptions: tuple[FlowException, ...]

    @property
    def reconciled(self) -> int:
        """Return how many loans agree to the fen and have nothing on its way."""
        return self.loans - len({one.key for one in self.exceptions if one.what == "loan"})


async def trace_flows(connection: Connection, cell: str) -> Flows:
    """Trace one cell's loans, from one snapshot."""
    async with connection.transaction():
        await connection.execute("set transaction isolation level repeatable read, read only")
        rows = await (await connection.execute(_EXCEPTIONS.encode())).fetchall()
        cursor = connection.cursor(row_factory=dict_row)
        totals = await (await cursor.execute(_TOTALS.encode())).fetchone()
    exceptions = tuple(FlowException(cell, *map(str, row)) for row in rows)
    return Flows(**(totals or {}), exceptions=exceptions)
