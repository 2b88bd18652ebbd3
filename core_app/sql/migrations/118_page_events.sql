-- What customers do on our own pages, by a consent of its own: names of the dictionary, instants and nothing that
-- was typed or shown. Kept for the registry's days, and gone with the consent. Runs as biyi_owner.

create table core.page_events (
    event_id        bigint generated always as identity primary key,
    customer_id     text not null references core.customers,
    name            text not null check (name ~ '^[a-z][a-z0-9_]{1,63}$'),
    dwell_ms        integer check (dwell_ms between 0 and 86400000),
    happened_at     timestamptz not null,
    on_date         date not null,
    keep_until      date not null check (keep_until >= on_date),
    idempotency_key text not null,
    at              timestamptz not null default now()
);
create index page_events_of_day on core.page_events (on_date, name);
create index page_events_of_customer on core.page_events (customer_id);
create index page_events_to_forget on core.page_events (keep_until);
create trigger page_events_fixed before update or truncate on core.page_events
    for each statement execute function core.refuse_change();

grant select, insert, delete on core.page_events to biyi_app;
select core.guard_rows();
