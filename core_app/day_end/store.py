"""The statements of day-end: set-based, over the loans of one chunk of slots.

They compute what `core_app.loans.standing`, `classification` and `provision` compute, from the same rows;
tests/integration/core_app/test_day_end_arithmetic.py compares the two to the fen.
"""

# Exclusive against core.enter_day: every command of the chunk is either committed, and dated the day that
# ends, or waits and will be dated the next.
LOCK_CHUNK = "select pg_advisory_xact_lock(1684371817, %s)"

# The router's sessions plan a statement once for all values, which costs a small chunk less than planning it
# for its own range: without a value the planner takes a range for a two-hundredth of a table, about a chunk
# of a cell. A table that is empty at the first chunk would be read whole at every later one, so what has an
# index is read by it.
BY_INDEX = "set local enable_seqscan = off"

MOVE_CHUNK = """
update core.day_end_chunks c set on_date = %(day)s::date + 1
from core.business_date b
where c.chunk = %(chunk)s and greatest(b.on_date, c.on_date) = %(day)s
returning 1
"""

# A chunk's evening: one row a loan, and the bills that are made that day. A line is an open instalment
# whose period has begun, or the first open one; a loan has begun at most one period every 28 days, and one
# more when a bill day makes the first one longer.
CLOSE_CHUNK = """
with terms as (
    select * from unnest(%(products)s::text[], %(versions)s::integer[], %(day_counts)s::integer[],
        %(multiples)s::numeric[], %(on_interest)s::boolean[], %(grace_days)s::integer[],
        %(non_accrual_after)s::integer[], %(accrue_daily)s::boolean[], %(bill_dues)s::date[],
        %(once_shares)s::numeric[], %(once_own)s::boolean[], %(period_own)s::boolean[])
        as t (product, product_version, day_count, multiple, on_interest, grace_days, non_accrual_after,
            accrue_daily, bill_due, once_share, once_own, period_own)
), held as materialized (
    select l.*, t.day_count, t.multiple, t.on_interest, t.grace_days, t.non_accrual_after, t.accrue_daily,
           t.bill_due, t.once_own, t.period_own,
           case when l.fee_fen > 0 then core.round_half_up(l.principal_fen * t.once_share, 1)
           else 0 end as once_fen
    from core.loans l left join terms t using (product, product_version)
    where l.loan_id >= %(first)s and l.loan_id < %(last)s and l.written_off_on is null
        and (l.settled_on is null or l.settled_on = %(day)s)
), opened as (
    select h.loan_id, h.customer_id, h.product, h.rate_annual, h.day_count, h.multiple, h.on_interest,
           h.grace_days, h.accrue_daily, h.bill_due, h.anytime, i.period, i.due,
           t.fen_days, coalesce(t.counted_to, i.due) as counted_to, t.penalty_paid_fen,
           least(i.principal_fen,
               greatest(0, i.principal_before_fen + i.principal_fen - h.principal_paid_fen)) as principal_fen,
           case when h.anytime then core.round_half_up((h.interest_fen_days + h.balance_fen
               * greatest(0, least(%(day)s::date, i.due) - h.interest_to)) * h.rate_annual, h.day_count)
               - h.interest_paid_fen
           else least(i.interest_fen,
               greatest(0, i.interest_before_fen + i.interest_fen - h.interest_paid_fen))
           end as interest_fen,
           i.interest_fen as whole_fen,
           least(i.fee_fen, greatest(0, i.fee_before_fen + i.fee_fen - h.fee_paid_fen)) as fee_fen,
           i.fee_fen as whole_fee_fen, h.once_own, h.period_own,
           case when i.period = 1 then least(i.fee_fen, h.once_fen) else 0 end as once_fen,
           case when h.accrue_daily then greatest(0, least(%(day)s::date, i.due) - i.begins)
           when i.due <= %(day)s then i.due - i.begins else 0 end as days_over,
           i.due - i.begins as days_whole
    from held h
    join core.instalments i on i.loan_id = h.loan_id and i.plan_version = h.plan_version
        and i.period between h.open_period
            and greatest(h.open_period, (%(day)s::date - h.drawn_on) / 28 + 2)
    left join core.late_lines t on t.loan_id = i.loan_id and t.period = i.period
    where i.begins <= %(day)s or i.period = h.open_period
), lines as materialized (
    select o.*, f.own_receivable_fen as fee_receivable_fen,
           case when %(day)s::date - o.due <= o.grace_days then 0 else greatest(0, core.round_half_up(
               (coalesce(o.fen_days, 0)
                   + (o.principal_fen + case when o.on_interest then o.interest_fen else 0 end)
                   * greatest(0, %(day)s::date - o.counted_to)) * o.rate_annual * o.multiple, o.day_count)
               - coalesce(o.penalty_paid_fen, 0)) end as penalty_fen,
           case when not o.anytime then greatest(0, core.round_half_up(
               o.whole_fen * o.days_over, o.days_whole) - (o.whole_fen - o.interest_fen))
           when o.accrue_daily or o.due <= %(day)s then o.interest_fen else 0 end as receivable_fen
    from opened o, lateral (
        select case when o.whole_fee_fen = 0 then 0 else core.fee_receivable(o.whole_fee_fen, o.fee_fen,
            o.once_fen, o.once_own, o.period_own, o.days_over, o.days_whole) end as own_receivable_fen
    ) as f
), stood as (
    select n.loan_id,
           sum(n.principal_fen) filter (where n.due < %(day)s) as principal_overdue_fen,
           sum(n.interest_fen) filter (where n.due < %(day)s) as interest_overdue_fen,
           sum(n.penalty_fen) as penalty_fen,
           sum(n.receivable_fen) as receivable_fen,
           sum(n.fee_receivable_fen) as fee_receivable_fen,
           %(day)s::date - min(n.due) filter (where n.due < %(day)s and n.principal_fen + n.interest_fen > 0)
               as days_past_due,
           min(n.due) filter (where n.principal_fen + n.interest_fen + n.fee_fen + n.penalty_fen > 0)
               as next_due
    from lines n group by n.loan_id
), aged as (
    select h.*, coalesce(s.principal_overdue_fen, 0) as principal_overdue_fen,
           coalesce(s.interest_overdue_fen, 0) as interest_overdue_fen,
           coalesce(s.penalty_fen, 0) as penalty_fen, coalesce(s.receivable_fen, 0) as receivable_fen,
           coalesce(s.fee_receivable_fen, 0) as fee_receivable_fen,
           coalesce(s.days_past_due, 0) as days_past_due, s.next_due,
           coalesce(s.days_past_due, 0) > h.non_accrual_after as non_accrual
    from held h left join stood s using (loan_id)
), billed as (
    insert into core.statement_lines (customer_id, product, made_on, loan_id, period, due, penalty_fen,
        interest_fen, principal_fen, fee_fen)
    select n.customer_id, n.product, %(day)s, n.loan_id, n.period, n.due, n.penalty_fen, n.interest_fen,
           n.principal_fen, n.fee_fen
    from lines n
    where n.due <= n.bill_due and n.principal_fen + n.interest_fen + n.fee_fen + n.penalty_fen > 0
), bills as (
    insert into core.statements (customer_id, product, made_on, due, amount_fen, tickets)
    select n.customer_id, n.product, %(day)s, max(n.bill_due),
           sum(n.principal_fen + n.interest_fen + n.fee_fen + n.penalty_fen), count(distinct n.loan_id)
    from lines n
    where n.due <= n.bill_due and n.principal_fen + n.interest_fen + n.fee_fen + n.penalty_fen > 0
    group by n.customer_id, n.product
), kept as (
    insert into core.loan_snapshots (on_date, loan_id, customer_id, product, product_version, balance_fen,
        principal_overdue_fen, interest_overdue_fen, penalty_fen, days_past_due, asset_class, by_60_days,
        non_accrual, interest_receivable_fen, penalty_receivable_fen, off_balance_fen, next_due,
        fee_receivable_fen, fee_off_balance_fen)
    select %(day)s, a.loan_id, a.customer_id, a.product, a.product_version, a.balance_fen,
           a.principal_overdue_fen, a.interest_overdue_fen, a.penalty_fen, a.days_past_due,
           case when a.days_past_due >= %(loss_from)s then 'loss'
                when a.days_past_due >= %(doubtful_from)s then 'doubtful'
                when a.days_past_due >= %(substandard_from)s then 'substandard'
                when a.days_past_due >= %(special_mention_from)s then 'special_mention'
                else 'normal' end,
           a.days_past_due >= %(npl_60_from)s, a.non_accrual,
           case when a.non_accrual then 0 else a.receivable_fen end,
           case when a.non_accrual then 0 else a.penalty_fen end,
           case when a.non_accrual then a.receivable_fen + a.penalty_fen else 0 end,
           a.next_due,
           case when a.non_accrual then 0 else a.fee_receivable_fen end,
           case when a.non_accrual then a.fee_receivable_fen else 0 end
    from aged a
    returning 1
)
select count(*) from kept
"""

# A chunk's day in the books, from its snapshots, with our own part of joint loans: what is receivable and
# set aside is brought to its figure by the difference to the chunk's closing before. Write-offs took from
# the provision and recoveries gave to it since then.
BOOK_CHUNK = """
with exposed as (
    select s.product, l.channel, l.region, s.asset_class, s.by_60_days, s.balance_fen > 0 as owed,
           s.fee_receivable_fen, s.fee_off_balance_fen, a.*
    from core.loan_snapshots s
    join core.loans l on l.loan_id = s.loan_id and l.loan_id >= %(first)s and l.loan_id < %(last)s
    left join core.loan_funders f
        on f.loan_id = s.loan_id and f.place = 0 and f.funder = 'own' and f.share = 1
    cross join lateral (
        select case when f.loan_id is null then core.own_part(s.loan_id, s.balance_fen)
                    else s.balance_fen end as balance_fen,
               case when f.loan_id is null then core.own_part(s.loan_id, s.interest_receivable_fen)
                    else s.interest_receivable_fen end as interest_receivable_fen,
               case when f.loan_id is null then core.own_part(s.loan_id, s.penalty_receivable_fen)
                    else s.penalty_receivable_fen end as penalty_receivable_fen,
               case when f.loan_id is null then core.own_part(s.loan_id, s.off_balance_fen)
                    else s.off_balance_fen end as off_balance_fen
    ) as a
    where s.on_date = %(day)s and s.loan_id >= %(first)s and s.loan_id < %(last)s
), evening as (
    select s.product, s.channel, s.region, count(*) filter (where s.owed) as loans,
           coalesce(sum(s.balance_fen) filter (where s.asset_class = 'normal'), 0) as normal_fen,
           coalesce(sum(s.balance_fen) filter (where s.asset_class = 'special_mention'), 0)
               as special_mention_fen,
           coalesce(sum(s.balance_fen) filter (where s.asset_class = 'substandard'), 0) as substandard_fen,
           coalesce(sum(s.balance_fen) filter (where s.asset_class = 'doubtful'), 0) as doubtful_fen,
           coalesce(sum(s.balance_fen) filter (where s.asset_class = 'loss'), 0) as loss_fen,
           coalesce(sum(s.balance_fen) filter (where s.by_60_days), 0) as by_60_days_fen,
           sum(s.interest_receivable_fen) as interest_receivable_fen,
           sum(s.penalty_receivable_fen) as penalty_receivable_fen,
           sum(s.fee_receivable_fen) as fee_receivable_fen,
           sum(s.off_balance_fen + s.fee_off_balance_fen) as off_balance_fen,
           sum(s.balance_fen) as balance_fen
    from exposed s group by s.product, s.channel, s.region
), before as (
    select distinct on (c.product, c.channel, c.region) c.product, c.channel, c.region, c.on_date,
           c.interest_receivable_fen, c.penalty_receivable_fen, c.fee_receivable_fen,
           c.provision_general_fen + c.provision_specific_fen as provision_fen
    from core.closings c where c.chunk = %(chunk)s and c.on_date < %(day)s
    order by c.product, c.channel, c.region, c.on_date desc
), moved as (
    select l.product, l.channel, l.region, m.fen, m.on_date
    from (
        select w.loan_id, -w.own_fen as fen, w.written_off_on as on_date
        from core.write_offs w
        where w.loan_id >= %(first)s and w.loan_id < %(last)s and w.written_off_on <= %(day)s
        union all
        select r.loan_id, r.recovered_own_fen, r.booked_on from core.repayments r
        where r.kind = 'recovery' and r.loan_id >= %(first)s and r.loan_id < %(last)s
            and r.booked_on <= %(day)s
    ) as m join core.loans l using (loan_id)
), used as (
    select m.product, m.channel, m.region, sum(m.fen) as fen
    from moved m left join before b using (product, channel, region)
    where m.on_date > coalesce(b.on_date, '-infinity')
    group by m.product, m.channel, m.region
), closed as (
    insert into core.closings (on_date, chunk, product, channel, region, loans, normal_fen,
        special_mention_fen, substandard_fen, doubtful_fen, loss_fen, by_60_days_fen, interest_receivable_fen,
        penalty_receivable_fen, off_balance_fen, provision_general_fen, provision_specific_fen,
        fee_receivable_fen)
    select %(day)s, %(chunk)s, product, channel, region, coalesce(e.loans, 0), coalesce(e.normal_fen, 0),
           coalesce(e.special_mention_fen, 0), coalesce(e.substandard_fen, 0), coalesce(e.doubtful_fen, 0),
           coalesce(e.loss_fen, 0), coalesce(e.by_60_days_fen, 0), coalesce(e.interest_receivable_fen, 0),
           coalesce(e.penalty_receivable_fen, 0), coalesce(e.off_balance_fen, 0),
           coalesce(core.round_half_up(e.balance_fen * %(general_share)s, 1), 0),
           coalesce(core.round_half_up(e.special_mention_fen * %(special_mention_share)s, 1)
               + core.round_half_up(e.substandard_fen * %(substandard_share)s, 1)
               + core.round_half_up(e.doubtful_fen * %(doubtful_share)s, 1)
               + core.round_half_up(e.loss_fen * %(loss_share)s, 1), 0),
           coalesce(e.fee_receivable_fen, 0)
    from evening e full join before b using (product, channel, region)
    full join used u using (product, channel, region)
    returning *
), changed as (
    select c.product, c.channel, c.region,
           c.interest_receivable_fen - coalesce(b.interest_receivable_fen, 0) as interest_fen,
           c.penalty_receivable_fen - coalesce(b.penalty_receivable_fen, 0) as penalty_fen,
           c.fee_receivable_fen - coalesce(b.fee_receivable_fen, 0) as fee_fen,
           c.provision_general_fen + c.provision_specific_fen
               - (coalesce(b.provision_fen, 0) + coalesce(u.fen, 0)) as provision_fen
    from closed c left join before b using (product, channel, region)
    left join used u using (product, channel, region)
), booked as (
    insert into core.entries (transaction_id, account, amount_fen, currency, loan_id, idempotency_key,
        booked_on, product, channel, region)
    select concat_ws('/', 'day-end', %(day)s::date, %(chunk)s, c.product, c.channel, c.region),
           e.account, e.fen, 'CNY', '', %(key)s, %(day)s, c.product, c.channel, c.region
    from changed c, lateral (values
        (%(interest_receivable)s, c.interest_fen), (%(interest_income)s, -c.interest_fen),
        (%(interest_receivable)s, c.penalty_fen), (%(penalty_income)s, -c.penalty_fen),
        (%(fees_receivable)s, c.fee_fen), (%(fee_income)s, -c.fee_fen),
        (%(impairment_loss)s, c.provision_fen), (%(loan_loss_provision)s, -c.provision_fen)
    ) as e (account, fen)
    where e.fen <> 0
)
select count(*) from closed
"""

INSERT_PROGRESS = """
insert into core.day_end_progress (on_date, step, chunk, rows_written, idempotency_key)
values (%s, %s, %s, %s, %s)
"""

SELECT_PUBLISHED = "select document from core.product_versions"

# A cell whose date follows the calendar is taken over by the first day-end.
OPEN_DAY = """
update core.business_date set on_date = coalesce(on_date, %s::date) returning on_date
"""

# A move of slots holds this row while a chunk arrives: what comes after the lock sees the chunk.
LOCK_DATE = "select from core.business_date for update"

# Neither while a chunk is leaving nor with a list of chunks that is not the cell's any more.
FINISH_DAY = """
update core.business_date set on_date = %(day)s::date + 1
where on_date = %(day)s and %(steps)s = (
    select count(*) from core.day_end_progress
    where on_date = %(day)s and chunk = any (%(chunks)s::smallint[])
) and not exists (
    select from core.day_end_chunks c
    where c.place = 'leaving' or (c.place = 'owned') <> (c.chunk = any (%(chunks)s::smallint[]))
        and c.place <> 'dealt'
)
"""
SELECT_DATE = "select on_date from core.business_date"

SELECT_DONE = "select chunk, rows_written from core.day_end_progress where on_date = %s and step = %s"

SELECT_STATUS = """
select b.on_date, p.on_date, p.step, count(p.chunk), coalesce(sum(p.rows_written), 0)::bigint, max(p.at),
       (select o.at from core.outbox o order by o.outbox_id limit 1)
from core.business_date b left join core.day_end_progress p
    on p.on_date >= (select max(on_date) from core.day_end_progress)
group by b.on_date, p.on_date, p.step order by p.step
"""
