-- Fees that fall due with instalments, one-off and of each period. Runs as biyi_owner.
--
-- A fee is a component like interest: planned by instalment, paid in order, so that one total says where the
-- loan stands. What is collected for a payee is owed to it; ours is earned by the days of the period.

insert into core.accounts (account, name_en, name_zh) values
    ('112201', 'Fees receivable', '应收账款——手续费及佣金'),
    ('224101', 'Fees owed to payees', '其他应付款——代收费用');

alter table core.loans
    add column fee_fen      bigint not null default 0 check (fee_fen >= 0),
    add column fee_paid_fen bigint not null default 0,
    add constraint loans_fee_paid check (fee_paid_fen between 0 and fee_fen);
alter table core.instalments
    add column fee_fen        bigint not null default 0 check (fee_fen >= 0),
    add column fee_before_fen bigint not null default 0;
-- Of a repayment's fees, those for prepaying; every fee so far was one.
alter table core.repayments add column prepayment_fee_fen bigint not null default 0;
alter table core.repayments disable trigger repayments_append_only;
update core.repayments set prepayment_fee_fen = fee_fen where fee_fen > 0;
alter table core.repayments enable trigger repayments_append_only;
alter table core.repayments
    add constraint repayments_prepayment_fee check (prepayment_fee_fen between 0 and fee_fen);
alter table core.corrections add column fee_fen bigint not null default 0;
alter table core.statement_lines add column fee_fen bigint not null default 0;
-- Ours alone, whoever funds the loan.
alter table core.loan_snapshots
    add column fee_receivable_fen  bigint not null default 0,
    add column fee_off_balance_fen bigint not null default 0;
alter table core.closings add column fee_receivable_fen bigint not null default 0;

alter type core.standing
    add attribute fee_fen bigint, add attribute fee_paid_fen bigint,
    add attribute fees bigint[], add attribute fees_before bigint[];
create or replace function core.read_loan(wanted text, chunk smallint, calendar date, lines integer)
returns setof core.standing language sql stable as $$
    select core.read_day($2, $3), l.contract_id, l.customer_id, l.product, l.product_version, l.drawn_on,
           l.rate_annual, l.principal_fen, l.interest_fen, l.principal_paid_fen, l.interest_paid_fen,
           l.penalty_paid_fen, l.plan_version, l.open_period, l.anytime, l.interest_fen_days, l.interest_to,
           l.settled_on, l.written_off_on, o.periods, o.begins, o.dues, o.principals, o.interests,
           o.principals_before, o.interests_before, o.fen_days, o.counted_to, o.penalties_paid,
           l.fee_fen, l.fee_paid_fen, o.fees, o.fees_before
    from core.loans l, lateral (
        select array_agg(i.period order by i.period) as periods, array_agg(i.begins order by i.period) as begins,
               array_agg(i.due order by i.period) as dues,
               array_agg(i.principal_fen order by i.period) as principals,
               array_agg(i.interest_fen order by i.period) as interests,
               array_agg(i.principal_before_fen order by i.period) as principals_before,
               array_agg(i.interest_before_fen order by i.period) as interests_before,
               array_agg(coalesce(i.fen_days, 0) order by i.period) as fen_days,
               array_agg(coalesce(i.counted_to, i.due) order by i.period) as counted_to,
               array_agg(coalesce(i.penalty_paid_fen, 0) order by i.period) as penalties_paid,
               array_agg(i.fee_fen order by i.period) as fees,
               array_agg(i.fee_before_fen order by i.period) as fees_before
        from (
            select p.*, t.fen_days, t.counted_to, t.penalty_paid_fen
            from core.instalments p left join core.late_lines t on t.loan_id = p.loan_id and t.period = p.period
            where p.loan_id = l.loan_id and p.plan_version = l.plan_version and p.period >= l.open_period
            order by p.period limit $4
        ) as i
    ) as o
    where l.loan_id = $1
$$;

-- What is ours, earned by the days over and not paid, of an instalment's fee: `open_fen` of `whole_fen` are
-- open, `once_fen` of it is the one-off fee, which is paid first. The same as core_app/loans/fees.py.
create function core.fee_receivable(whole_fen bigint, open_fen bigint, once_fen bigint, once_own boolean,
    period_own boolean, days_over integer, days_whole integer) returns bigint
language sql immutable parallel safe as $$
    select greatest(0, core.round_half_up(w.own_fen * days_over, days_whole) - (w.own_fen - o.own_fen))
    from (select case when once_own then once_fen else 0 end
                 + case when period_own then whole_fen - once_fen else 0 end as own_fen) as w,
         (select greatest(0, once_fen - (whole_fen - open_fen)) as once_open_fen) as f,
         lateral (select case when once_own then f.once_open_fen else 0 end
                         + case when period_own then open_fen - f.once_open_fen else 0 end as own_fen) as o
$$;

grant update (fee_fen, fee_paid_fen) on core.loans to biyi_app, biyi_payer;
