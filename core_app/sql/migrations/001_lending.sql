-- The lending core of one cell, first version. Amounts are fen (1/100 yuan), signed only in the
-- ledger. Personal data are sealed bytes only. Runs as biyi_owner; biyi_app gets the least it needs.

create schema core;

-- The business date, when day-end or a replay sets it; null means the calendar day in Shanghai.
create table core.business_date (
    only_row boolean primary key default true check (only_row),
    on_date  date
);
insert into core.business_date default values;

-- One row a command ever accepted. Inserted first in its transaction, so that uniqueness decides
-- which of two equal requests has the effect, in whatever epoch they arrive.
create table core.commands (
    idempotency_key text primary key check (idempotency_key ~ '^[A-Za-z0-9_-]{8,64}$'),
    request_sm3     bytea not null check (length(request_sm3) = 32),
    kind            text not null,
    epoch           bigint not null,
    status          integer,
    response        jsonb,
    committed_by    text not null,
    at              timestamptz not null default now()
) with (fillfactor = 70);  -- each row is updated once, in place, by its own transaction

create table core.customers (
    customer_id      text primary key check (customer_id ~ '^C[0-9a-f]{24}$'),
    slot             smallint not null check (slot between 0 and 1023),
    name             bytea not null,
    id_number        bytea not null,
    id_number_index  bytea not null unique check (length(id_number_index) = 32),
    phone            bytea not null,
    phone_index      bytea not null check (length(phone_index) = 32),
    idempotency_key  text not null,
    at               timestamptz not null default now()
);
create index customers_by_phone on core.customers (phone_index);

create table core.applications (
    application_id  text primary key,
    customer_id     text not null references core.customers,
    product         text not null,
    product_version integer not null,
    amount_fen      bigint not null check (amount_fen > 0),
    periods         smallint not null check (periods > 0),
    decision        text not null check (decision in ('approved', 'refused')),
    reasons         jsonb not null,
    limit_fen       bigint not null check (limit_fen >= 0),
    decided_on      date not null,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    check (decision = 'approved' or jsonb_array_length(reasons) > 0)
);

create table core.contracts (
    contract_id     text primary key,
    application_id  text not null unique references core.applications,
    customer_id     text not null references core.customers,
    product         text not null,
    product_version integer not null,
    amount_fen      bigint not null check (amount_fen > 0),
    periods         smallint not null check (periods > 0),
    rate_annual     numeric(9, 8) not null check (rate_annual >= 0),
    status          text not null default 'signed' check (status in ('signed', 'drawn')),
    signed_on       date not null,
    idempotency_key text not null,
    at              timestamptz not null default now()
);
create index contracts_by_customer on core.contracts (customer_id);

-- A loan's row is the one thing a repayment changes. What is paid of each component is a total;
-- the plan below never changes, so where the loan stands follows from the two.
create table core.loans (
    loan_id            text primary key,
    contract_id        text not null unique references core.contracts,
    customer_id        text not null references core.customers,
    product            text not null,
    drawn_on           date not null,
    principal_fen      bigint not null check (principal_fen > 0),
    interest_fen       bigint not null check (interest_fen >= 0),
    principal_paid_fen bigint not null default 0 check (principal_paid_fen between 0 and principal_fen),
    interest_paid_fen  bigint not null default 0 check (interest_paid_fen between 0 and interest_fen),
    penalty_paid_fen   bigint not null default 0 check (penalty_paid_fen >= 0),
    balance_fen        bigint not null generated always as (principal_fen - principal_paid_fen) stored,
    idempotency_key    text not null,
    at                 timestamptz not null default now()
) with (fillfactor = 70);
create index loans_by_customer on core.loans (customer_id);

create table core.instalments (
    loan_id       text not null references core.loans,
    period        smallint not null check (period > 0),
    due           date not null,
    principal_fen bigint not null check (principal_fen >= 0),
    interest_fen  bigint not null check (interest_fen >= 0),
    primary key (loan_id, period)
);

create table core.repayments (
    repayment_id    text primary key,
    loan_id         text not null,
    amount_fen      bigint not null check (amount_fen > 0),
    penalty_fen     bigint not null check (penalty_fen >= 0),
    interest_fen    bigint not null check (interest_fen >= 0),
    principal_fen   bigint not null check (principal_fen >= 0),
    booked_on       date not null,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    check (amount_fen = penalty_fen + interest_fen + principal_fen)
);

-- The ledger. Debit positive, credit negative; a transaction is inserted whole, by one statement.
create table core.accounts (
    account text primary key,
    name_en text not null,
    name_zh text not null
);
insert into core.accounts (account, name_en, name_zh) values
    ('1002', 'Bank deposits', '银行存款'),
    ('1303', 'Loans', '贷款'),
    ('6011', 'Interest income', '利息收入'),
    ('6012', 'Penalty interest income', '罚息收入');

create table core.entries (
    entry_id        bigint generated always as identity primary key,
    transaction_id  text not null,
    account         text not null,
    amount_fen      bigint not null check (amount_fen <> 0),
    currency        text not null check (currency = 'CNY'),
    loan_id         text not null,
    idempotency_key text not null,
    booked_on       date not null,
    at              timestamptz not null default now()
);

-- One check a statement, on what that statement inserted: constant cost, and nothing unbalanced
-- can be there even inside a transaction.
create function core.check_entries() returns trigger language plpgsql as $$
begin
    if exists (select from inserted group by transaction_id, currency having sum(amount_fen) <> 0) then
        raise exception 'entries of a transaction do not sum to zero' using errcode = 'BY101';
    end if;
    if exists (select from inserted where account not in (select account from core.accounts)) then
        raise exception 'an entry names an account that is not in the chart' using errcode = 'BY102';
    end if;
    return null;
end $$;
create trigger entries_balance after insert on core.entries
    referencing new table as inserted for each statement execute function core.check_entries();

create function core.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'core.% is append-only: % refused', tg_table_name, tg_op using errcode = 'BY103';
end $$;
create trigger entries_append_only before update or delete or truncate on core.entries
    for each statement execute function core.refuse_change();
create trigger repayments_append_only before update or delete or truncate on core.repayments
    for each statement execute function core.refuse_change();
create trigger instalments_append_only before update or delete or truncate on core.instalments
    for each statement execute function core.refuse_change();

-- What other parts follow: one row a command, in its transaction, without personal data in clear.
create table core.outbox (
    outbox_id       bigint generated always as identity primary key,
    topic           text not null,
    key             text not null,
    payload         jsonb not null,
    idempotency_key text not null,
    at              timestamptz not null default now()
);

grant usage on schema core to biyi_app;
grant select on all tables in schema core to biyi_app;
grant insert on core.commands, core.customers, core.applications, core.contracts, core.loans,
    core.instalments, core.repayments, core.entries, core.outbox to biyi_app;
grant update (status, response) on core.commands to biyi_app;
grant update (status) on core.contracts to biyi_app;
grant update (principal_paid_fen, interest_paid_fen, penalty_paid_fen) on core.loans to biyi_app;
-- `select … for update` needs an update right on some column: the customer's row is the lock under
-- which the legal line is checked; its slot is derived and a check keeps it in range.
grant update (slot) on core.customers to biyi_app;
