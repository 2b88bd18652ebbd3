-- Coupons: what was issued to whom, what became of it, and the account of what they cost us. Runs as biyi_owner.

insert into core.accounts (account, name_en, name_zh) values
    ('6601', 'Marketing cost', '业务及管理费——营销费用');

create table core.coupons (
    coupon_id       text primary key,
    customer_id     text not null references core.customers,
    kind            text not null,
    benefit         jsonb not null,
    valid_from      date not null,
    valid_to        date not null check (valid_to >= valid_from),
    used_by         text unique references core.repayments (repayment_id),
    reason          text not null,
    staff           text not null,
    issued_on       date not null,
    idempotency_key text not null,
    at              timestamptz not null default now()
);
create index coupons_of_customer on core.coupons (customer_id, valid_to);
create trigger coupons_kept before delete or truncate on core.coupons
    for each statement execute function core.refuse_change();

create table core.coupon_events (
    event_id        bigint generated always as identity primary key,
    coupon_id       text not null references core.coupons,
    what            text not null check (what in ('issued', 'used', 'given_back')),
    repayment_id    text references core.repayments (repayment_id),
    discount_fen    bigint check (discount_fen > 0),
    on_date         date not null,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    check ((what = 'issued') = (repayment_id is null)),
    check ((repayment_id is null) = (discount_fen is null))
);
create unique index coupon_events_once on core.coupon_events (coupon_id, what, repayment_id);
create trigger coupon_events_append_only before update or delete or truncate on core.coupon_events
    for each statement execute function core.refuse_change();

grant select, insert on core.coupons, core.coupon_events to biyi_app;
grant update (used_by) on core.coupons to biyi_app;
grant select on core.coupon_events to biyi_report;
select core.guard_rows();
