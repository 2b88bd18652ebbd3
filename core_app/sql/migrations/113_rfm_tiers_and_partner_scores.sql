-- Tiers by recency, frequency and amount: one row of each evening on which a customer's changed. The customers
-- are those of loans, whole evenings of them are written at once: no row is checked for itself. Runs as biyi_owner.

create table core.rfm_tiers (
    customer_id     text not null,
    on_date         date not null,
    recency_days    integer check (recency_days >= 0),
    frequency       integer not null check (frequency >= 0),
    amount_fen      bigint not null check (amount_fen >= 0),
    recency_fifth   smallint check (recency_fifth between 1 and 5),
    frequency_fifth smallint check (frequency_fifth between 1 and 5),
    amount_fifth    smallint check (amount_fifth between 1 and 5),
    tier            text not null,
    version         integer not null,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    primary key (customer_id, on_date),
    check ((tier = 'none') = (recency_fifth is null))
);
create trigger rfm_tiers_append_only before update or delete or truncate on core.rfm_tiers
    for each statement execute function core.refuse_change();

grant select, insert on core.rfm_tiers to biyi_app;
grant select on core.rfm_tiers to biyi_report;

-- What partner banks' models say of customers: events that variables take, known from `received_on` on.
create table core.partner_scores (
    score_id        bigint generated always as identity primary key,
    customer_id     text not null references core.customers,
    partner         text not null,
    model_kind      text not null,
    model_version   text not null,
    score           integer not null check (score between 0 and 1000),
    scored_on       date not null,
    standard        integer not null,
    received_on     date not null check (received_on >= scored_on),
    idempotency_key text not null,
    at              timestamptz not null default now()
);
create index partner_scores_of_customer on core.partner_scores (customer_id, received_on);
create trigger partner_scores_append_only before update or delete or truncate on core.partner_scores
    for each statement execute function core.refuse_change();
grant select, insert on core.partner_scores to biyi_app;
grant select on core.partner_scores to biyi_report;
select core.guard_rows();
