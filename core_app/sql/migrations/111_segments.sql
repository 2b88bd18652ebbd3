-- Which segment a customer is in, by days; and the segment an application was priced by. Runs as biyi_owner.

create table core.customer_segments (
    place_id        bigint generated always as identity primary key,
    customer_id     text not null references core.customers,
    segment         text,
    first_day       date not null,
    last_day        date check (last_day >= first_day),
    reason          text not null,
    staff           text not null,
    idempotency_key text not null,
    at              timestamptz not null default now()
);
create index customer_segments_newest on core.customer_segments (customer_id, place_id desc);
create trigger customer_segments_append_only before update or delete or truncate on core.customer_segments
    for each statement execute function core.refuse_change();

alter table core.applications add column segment text;

grant select, insert on core.customer_segments to biyi_app;
select core.guard_rows();
