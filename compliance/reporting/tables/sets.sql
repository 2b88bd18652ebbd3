-- What every table is computed from, as of the evening of {day}: named sets, put before each table's query.
-- {since} is the evening of the last filing (exclusive); amounts in fen. Own share only for joint loans: what we
-- have lent is our part of the principal less our part of all that was paid, as the ledger splits it. What happened
-- after the evening (a repayment, a new plan, a lower rate, a reversal) changes nothing of it.
products as (
    select * from unnest({products}::text[], {versions}::integer[], {names}::text[], {account_types}::text[],
        {repay_modes}::text[], {frequencies}::text[], {merged}::boolean[], {methods}::text[])
        as p (product, product_version, product_name, account_type, repay_mode, frequency, merged, method)
),
-- Settled that evening, and open again since: a repayment of theirs was reversed later.
reopened as not materialized (
    select b.loan_id, max(r.booked_on) as settled_on
    from (
        select distinct b.loan_id from core.reversals x join core.repayments b using (repayment_id)
        where x.reversed_on > {day} and b.booked_on <= {day} and not exists (
            select from core.loan_snapshots s where s.loan_id = b.loan_id and s.on_date = {day})
    ) as b join core.repayments r on r.loan_id = b.loan_id and r.booked_on <= {day}
    where not exists (
        select from core.reversals y where y.repayment_id = r.repayment_id and y.reversed_on <= {day})
    group by b.loan_id
),
loan as (
    select l.loan_id, l.contract_id, l.customer_id, l.product, l.product_version, l.drawn_on, l.principal_fen,
        l.region, l.channel, l.anytime, l.plan_version > 1 as replanned,
        case when l.plan_version = 1 then l.rate_annual else coalesce((
            select c.rate_before from core.rate_changes c where c.loan_id = l.loan_id and c.decided_on > {day}
            order by c.plan_version limit 1), l.rate_annual) end as rate_annual,
        case when l.settled_on <= {day} then l.settled_on else u.settled_on end as settled_on,
        case when l.written_off_on <= {day} then l.written_off_on end as written_off_on,
        o.share, o.principal_fen as own_fen, coalesce(s.balance_fen, 0) as balance_fen,
        case when s.loan_id is null then 0 when o.share = 1 then s.balance_fen
            else o.principal_fen - core.own_part(l.loan_id, l.principal_fen - s.balance_fen) end as own_balance_fen,
        s.loan_id is not null as stood, s.days_past_due, s.asset_class, s.principal_overdue_fen,
        s.interest_overdue_fen, s.interest_receivable_fen, s.off_balance_fen, s.non_accrual, s.next_due
    from core.loans l
    join core.loan_funders o on o.loan_id = l.loan_id and o.funder = 'own'
    left join core.loan_snapshots s on s.loan_id = l.loan_id and s.on_date = {day}
    left join reopened u on u.loan_id = l.loan_id
    where l.drawn_on <= {day}
        and (l.settled_on is null or l.settled_on > {since})
        and not exists (select from reopened e where e.loan_id = l.loan_id and e.settled_on <= {since})
        and (l.written_off_on is null or l.written_off_on > {since})
        and not exists (select from core.draw_voids v where v.loan_id = l.loan_id and v.voided_on <= {day})
),
-- Every loan's plan by one pass over all instalments, without a join. Only for loans that never had another plan.
-- What falls due next is read off the axis on which each instalment says what comes before it: both its ends grow
-- from period to period, so the least of them after the evening are those of the first one after it.
plans as (
    select i.loan_id, max(i.due) as maturity, count(*) as periods, count(*) filter (where i.due <= {day}) as passed,
        count(*) filter (where i.due < {day}) as fallen, min(i.due) filter (where i.due > {day}) as next_due,
        min(i.principal_before_fen + i.principal_fen) filter (where i.due > {day})
            - min(i.principal_before_fen) filter (where i.due > {day}) as next_principal_fen,
        min(i.interest_before_fen + i.interest_fen) filter (where i.due > {day})
            - min(i.interest_before_fen) filter (where i.due > {day}) as next_interest_fen
    from core.instalments i group by i.loan_id
),
ledger as (
    select e.account, coalesce(sum(e.amount_fen) filter (where e.booked_on <= {since}), 0) as opening_fen,
        coalesce(sum(e.amount_fen) filter (where e.booked_on > {since} and e.amount_fen > 0), 0) as debit_fen,
        coalesce(-sum(e.amount_fen) filter (where e.booked_on > {since} and e.amount_fen < 0), 0) as credit_fen,
        sum(e.amount_fen) as closing_fen,
        coalesce(sum(e.amount_fen) filter (where e.booked_on >= date_trunc('year', {day}::date)), 0) as year_fen
    from core.entries e where e.booked_on <= {day} group by e.account
)
