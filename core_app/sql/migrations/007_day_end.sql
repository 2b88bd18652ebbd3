-- Day-end, penalties, and loans of every shape. Runs as biyi_owner.
--
-- Where a loan stands on a day follows from its row, its open instalments and its late lines; nothing has
-- to be written for a day to pass. Day-end writes what a day's evening was (snapshots, statements, closing
-- entries) and changes no loan.

-- Customers' business date, chunk by chunk of slots (core_app/day_end/chunks.py): day-end moves a chunk to
-- the next day in the transaction that looks at its evening. Null: core.business_date holds.
create table core.day_end_chunks (
    chunk   smallint primary key check (chunk between 0 and 255),
    on_date date
) with (fillfactor = 70);
insert into core.day_end_chunks (chunk) select generate_series(0, 255);

create table core.day_end_progress (
    on_date         date not null,
    step            text not null check (step in ('close', 'book')),
    chunk           smallint not null,
    rows_written    bigint not null,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    primary key (on_date, step, chunk)
);

-- What holds for a loan besides its totals. `open_period` is the first instalment with anything open, so
-- that a repayment starts reading there. A loan without instalments in the plan's sense (anytime) has one
-- line, due at its end; its interest runs by day: fen times days up to `interest_to` are counted.
alter table core.loans
    add column rate_annual       numeric(9, 8),
    add column plan_version      smallint not null default 1 check (plan_version > 0),
    add column open_period       smallint not null default 1 check (open_period > 0),
    add column anytime           boolean not null default false,
    add column under_line        boolean not null default false,
    add column interest_fen_days bigint not null default 0 check (interest_fen_days >= 0),
    add column interest_to       date,
    add column settled_on        date,
    add column written_off_on    date,
    drop constraint loans_contract_id_key;
update core.loans l set rate_annual = k.rate_annual from core.contracts k where k.contract_id = l.contract_id;
alter table core.loans alter column rate_annual set not null;
create index loans_by_contract on core.loans (contract_id);
-- Day-end looks at a chunk's loans that are open, and at those settled on its day.
create index loans_by_end on core.loans (settled_on, loan_id);

-- An instalment knows where it stands on the axis of all that is paid of its component, so that no sum over
-- the others is needed, and the day its interest runs from. A changed plan is a new version of the
-- instalments that are left.
alter table core.instalments disable trigger instalments_append_only;
alter table core.instalments
    drop constraint instalments_pkey,
    add column plan_version         smallint not null default 1 check (plan_version > 0),
    add column begins               date,
    add column principal_before_fen bigint,
    add column interest_before_fen  bigint;
update core.instalments i
set begins = w.begins, principal_before_fen = w.principal_before_fen, interest_before_fen = w.interest_before_fen
from (
    select p.loan_id, p.period, coalesce(lag(p.due) over w, l.drawn_on) as begins,
           (sum(p.principal_fen) over w - p.principal_fen)::bigint as principal_before_fen,
           (sum(p.interest_fen) over w - p.interest_fen)::bigint as interest_before_fen
    from core.instalments p join core.loans l using (loan_id)
    window w as (partition by p.loan_id order by p.period)
) as w
where w.loan_id = i.loan_id and w.period = i.period;
alter table core.instalments
    alter column begins set not null,
    alter column principal_before_fen set not null,
    alter column interest_before_fen set not null,
    add check (due > begins),
    add primary key (loan_id, plan_version, period);
alter table core.instalments enable trigger instalments_append_only;

update core.loans l set
    open_period = coalesce((
        select min(i.period) from core.instalments i
        where i.loan_id = l.loan_id
            and (i.principal_before_fen + i.principal_fen > l.principal_paid_fen
                or i.interest_before_fen + i.interest_fen > l.interest_paid_fen)
    ), (select max(i.period) + 1 from core.instalments i where i.loan_id = l.loan_id), 1),
    settled_on = case when l.principal_paid_fen = l.principal_fen and l.interest_paid_fen = l.interest_fen
        then coalesce((select max(r.booked_on) from core.repayments r where r.loan_id = l.loan_id), l.drawn_on) end;

-- The penalty of an instalment that was paid on while overdue: fen times days counted up to a day, and what
-- was paid of it. An overdue instalment without a row counts from its due date.
create table core.late_lines (
    loan_id          text not null references core.loans,
    period           smallint not null,
    fen_days         bigint not null check (fen_days >= 0),
    counted_to       date not null,
    penalty_paid_fen bigint not null check (penalty_paid_fen >= 0),
    primary key (loan_id, period)
) with (fillfactor = 70);

-- The plan that a repayment was booked under: a reversal replays that plan's repayments.
alter table core.repayments
    add column number bigint generated always as identity,  -- rises with each that is booked on a loan
    add column kind         text not null default 'repayment'
        check (kind in ('repayment', 'prepayment', 'recovery')),
    add column plan_version smallint not null default 1,
    add column fee_fen      bigint not null default 0 check (fee_fen >= 0),
    add column recovered_own_fen bigint not null default 0 check (recovered_own_fen >= 0),  -- to our provision
    drop constraint repayments_check,
    add check (amount_fen = penalty_fen + interest_fen + principal_fen + fee_fen);
create index repayments_by_loan on core.repayments (loan_id, plan_version);
create index repayments_recovered on core.repayments (booked_on, loan_id) where kind = 'recovery';

-- A repayment taken back, and what later ones become without it. Signed: what is added to a split.
create table core.reversals (
    repayment_id    text primary key,
    reason          text not null check (reason ~ '^[a-z][a-z_]{1,39}$'),
    reversed_on     date not null,
    idempotency_key text not null,
    at              timestamptz not null default now()
);
create table core.corrections (
    repayment_id    text not null,
    idempotency_key text not null,
    penalty_fen     bigint not null,
    interest_fen    bigint not null,
    principal_fen   bigint not null,
    corrected_on    date not null,
    at              timestamptz not null default now(),
    primary key (repayment_id, idempotency_key)
);
create table core.write_offs (
    loan_id         text primary key references core.loans,
    principal_fen   bigint not null check (principal_fen > 0),
    own_fen         bigint not null check (own_fen between 0 and principal_fen),  -- our part: what we lose
    days_past_due   integer not null,
    reason          text not null check (reason ~ '^[a-z][a-z_]{1,39}$'),
    written_off_on  date not null,
    idempotency_key text not null,
    at              timestamptz not null default now()
);
-- Entrusted payment: the money of a scene's loan goes to the merchant of the borrower's order.
create table core.entrusted_payments (
    loan_id         text primary key references core.loans,
    merchant_id     text not null,
    merchant_kind   text not null,
    order_id        text not null,
    amount_fen      bigint not null check (amount_fen > 0),
    idempotency_key text not null,
    at              timestamptz not null default now(),
    unique (merchant_id, order_id)
);

-- The evening of a day, loan by loan; written-off loans are not in it.
create table core.loan_snapshots (
    on_date                 date not null,
    loan_id                 text not null,
    customer_id             text not null,
    product                 text not null,
    product_version         integer not null,
    balance_fen             bigint not null,
    principal_overdue_fen   bigint not null,
    interest_overdue_fen    bigint not null,
    penalty_fen             bigint not null,
    days_past_due           integer not null,
    asset_class             text not null
        check (asset_class in ('normal', 'special_mention', 'substandard', 'doubtful', 'loss')),
    by_60_days              boolean not null,
    non_accrual             boolean not null,
    interest_receivable_fen bigint not null,
    penalty_receivable_fen  bigint not null,
    off_balance_fen         bigint not null,
    next_due                date,
    primary key (on_date, loan_id)
);

-- A chunk's day by product: balances by class, what is receivable, what has to be set aside.
create table core.closings (
    on_date                 date not null,
    chunk                   smallint not null,
    product                 text not null,
    loans                   bigint not null,
    normal_fen              bigint not null,
    special_mention_fen     bigint not null,
    substandard_fen         bigint not null,
    doubtful_fen            bigint not null,
    loss_fen                bigint not null,
    by_60_days_fen          bigint not null,
    interest_receivable_fen bigint not null,
    penalty_receivable_fen  bigint not null,
    off_balance_fen         bigint not null,
    provision_general_fen   bigint not null,
    provision_specific_fen  bigint not null,
    primary key (chunk, product, on_date)
);

-- One bill a customer, product and month: all tickets' instalments up to one due date, one amount.
create table core.statements (
    customer_id text not null,
    product     text not null,
    made_on     date not null,
    due         date not null,
    amount_fen  bigint not null check (amount_fen > 0),
    tickets     integer not null check (tickets > 0),
    primary key (customer_id, product, made_on)
);
create table core.statement_lines (
    customer_id   text not null,
    product       text not null,
    made_on       date not null,
    loan_id       text not null,
    period        smallint not null,
    due           date not null,
    penalty_fen   bigint not null,
    interest_fen  bigint not null,
    principal_fen bigint not null,
    primary key (customer_id, product, made_on, loan_id, period)
);

insert into core.accounts (account, name_en, name_zh) values
    ('1132', 'Interest receivable', '应收利息'),
    ('1304', 'Loan-loss provision', '贷款损失准备'),
    ('6021', 'Fee income', '手续费及佣金收入'),
    ('6701', 'Impairment loss', '信用减值损失');

do $$
declare
    kept text;
begin
    foreach kept in array array['day_end_progress', 'reversals', 'corrections', 'write_offs',
        'entrusted_payments', 'loan_snapshots', 'closings', 'statements', 'statement_lines'] loop
        execute format('create trigger %1$s_append_only before update or delete or truncate on core.%1$I
            for each statement execute function core.refuse_change()', kept);
    end loop;
end $$;

-- num / den to the nearest whole, a half up, exactly: both positive or zero, den above zero. The same as
-- core_app/money.py; numeric division would round twice.
create function core.round_half_up(num numeric, den numeric) returns bigint
language sql immutable strict parallel safe as $$ select div(2 * num + den, 2 * den)::bigint $$;

-- Our own part of a joint loan's amount, split as core_app/loans/split.py does.
create function core.own_part(wanted text, total bigint) returns bigint language plpgsql stable as $$
declare
    one record;
    left_fen bigint := total;
    left_share numeric := 1;
    part bigint;
begin
    for one in select funder, share, place = max(place) over () as lead
               from core.loan_funders where loan_id = wanted order by place loop
        part := case when one.lead then left_fen else core.round_half_up(left_fen * one.share, left_share) end;
        if one.funder = 'own' then
            return part;
        end if;
        left_fen := left_fen - part;
        left_share := left_share - one.share;
    end loop;
    return 0;
end $$;

-- A customer's business date. A command that changes loans takes the chunk's lock first, shared, and holds
-- it to its end: day-end moves the date under the same lock, exclusive, so what is dated a day is all there
-- when that day's evening is looked at. Each statement here sees what was committed before it began.
create function core.enter_day(wanted smallint, calendar date) returns date
language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(1684371817, wanted);  -- 'dayi'
    return core.read_day(wanted, calendar);
end $$;
create function core.read_day(wanted smallint, calendar date) returns date language sql stable as $$
    select coalesce(greatest(b.on_date, c.on_date), calendar)
    from core.business_date b left join core.day_end_chunks c on c.chunk = wanted
$$;

-- A loan, its day, and its first open instalments with their late lines, as arrays.
create type core.standing as (
    today date, contract_id text, customer_id text, product text, product_version integer, drawn_on date,
    rate_annual numeric, principal_fen bigint, interest_fen bigint, principal_paid_fen bigint,
    interest_paid_fen bigint, penalty_paid_fen bigint, plan_version smallint, open_period smallint,
    anytime boolean, interest_fen_days bigint, interest_to date, settled_on date, written_off_on date,
    periods smallint[], begins date[], dues date[], principals bigint[], interests bigint[],
    principals_before bigint[], interests_before bigint[],
    fen_days bigint[], counted_to date[], penalties_paid bigint[]
);
create function core.read_loan(wanted text, chunk smallint, calendar date, lines integer)
returns setof core.standing language sql stable as $$
    select core.read_day($2, $3), l.contract_id, l.customer_id, l.product, l.product_version, l.drawn_on,
           l.rate_annual, l.principal_fen, l.interest_fen, l.principal_paid_fen, l.interest_paid_fen,
           l.penalty_paid_fen, l.plan_version, l.open_period, l.anytime, l.interest_fen_days, l.interest_to,
           l.settled_on, l.written_off_on, o.*
    from core.loans l, lateral (
        select array_agg(i.period order by i.period), array_agg(i.begins order by i.period),
               array_agg(i.due order by i.period), array_agg(i.principal_fen order by i.period),
               array_agg(i.interest_fen order by i.period),
               array_agg(i.principal_before_fen order by i.period),
               array_agg(i.interest_before_fen order by i.period),
               array_agg(coalesce(i.fen_days, 0) order by i.period),
               array_agg(coalesce(i.counted_to, i.due) order by i.period),
               array_agg(coalesce(i.penalty_paid_fen, 0) order by i.period)
        from (
            select p.*, t.fen_days, t.counted_to, t.penalty_paid_fen
            from core.instalments p left join core.late_lines t on t.loan_id = p.loan_id and t.period = p.period
            where p.loan_id = l.loan_id and p.plan_version = l.plan_version and p.period >= l.open_period
            order by p.period limit $4
        ) as i
    ) as o
    where l.loan_id = $1
$$;

-- The same under the loan's lock; what is read was committed after the lock was held.
create function core.lock_loan(wanted text, chunk smallint, calendar date, lines integer)
returns setof core.standing language plpgsql as $$
begin
    perform core.enter_day(chunk, calendar);
    perform from core.loans l where l.loan_id = wanted for update;
    return query select * from core.read_loan(wanted, chunk, calendar, lines);
end $$;

grant select on core.day_end_chunks, core.day_end_progress, core.late_lines, core.reversals, core.corrections,
    core.write_offs, core.entrusted_payments, core.loan_snapshots, core.closings, core.statements,
    core.statement_lines to biyi_app;
grant insert on core.day_end_progress, core.late_lines, core.reversals, core.corrections, core.write_offs,
    core.entrusted_payments, core.loan_snapshots, core.closings, core.statements, core.statement_lines
    to biyi_app;
grant update (on_date) on core.day_end_chunks, core.business_date to biyi_app;
grant update (fen_days, counted_to, penalty_paid_fen) on core.late_lines to biyi_app;
grant update (plan_version, open_period, interest_fen, interest_fen_days, interest_to, settled_on,
    written_off_on) on core.loans to biyi_app;
