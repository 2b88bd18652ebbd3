-- Who is let in to a product that has a list. The newest row of customer and product counts. Runs as biyi_owner.

create table core.pre_screens (
    pre_screen_id   bigint generated always as identity primary key,
    customer_id     text not null references core.customers,
    product         text not null,
    listed          boolean not null,
    valid_from      date not null,
    valid_to        date check (valid_to >= valid_from),
    reason          text not null,
    staff           text not null,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    check (listed or valid_to is null)
);
create index pre_screens_newest on core.pre_screens (customer_id, product, pre_screen_id desc);
create trigger pre_screens_append_only before update or delete or truncate on core.pre_screens
    for each statement execute function core.refuse_change();

grant select, insert on core.pre_screens to biyi_app;
select core.guard_rows();
