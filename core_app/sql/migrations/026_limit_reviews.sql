-- What the limit-increase model decided, granted or not, with what that rested on. Runs as biyi_owner.

create table core.limit_reviews (
    review_id       bigint generated always as identity primary key,
    customer_id     text not null references core.customers,
    product         text not null,
    granted_fen     bigint not null check (granted_fen >= 0),
    valid_to        date,
    reasons         jsonb not null,
    facts           jsonb not null,
    decided_on      date not null,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    check ((granted_fen = 0) = (jsonb_array_length(reasons) > 0)),
    check ((granted_fen = 0) = (valid_to is null))
);
create index limit_reviews_by_customer on core.limit_reviews (customer_id, product, decided_on);
create trigger limit_reviews_append_only before update or delete or truncate on core.limit_reviews
    for each statement execute function core.refuse_change();

grant select, insert on core.limit_reviews to biyi_app;
