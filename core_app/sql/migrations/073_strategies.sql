-- Which model decides from which business date on instead of which other, and what it would have decided so
-- far. Of the newest date that has begun the highest number counts; the first cell gives the numbers. Runs as
-- biyi_owner.

create table core.strategies (
    number          bigint primary key,
    model           text not null,
    other           text not null,
    valid_from      date not null,
    back_test       jsonb not null,
    reason          text not null,
    staff           text not null,
    idempotency_key text not null,
    at              timestamptz not null default now()
);
create index strategies_newest on core.strategies (valid_from desc, number desc);
create trigger strategies_append_only before update or delete or truncate on core.strategies
    for each statement execute function core.refuse_change();

grant select, insert on core.strategies to biyi_app;
select core.guard_rows();
