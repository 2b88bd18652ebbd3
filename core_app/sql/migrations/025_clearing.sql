-- What channels say they booked on a day, compared with our orders and the ledger. Runs as biyi_owner.

-- One row a channel, kind and day, in every cell; `differences` are those of the cell.
create table core.clearings (
    channel         text not null,
    kind            text not null check (kind in ('payments', 'debits')),
    on_date         date not null,
    lines           integer not null check (lines >= 0),
    amount_fen      bigint not null check (amount_fen >= 0),
    differences     jsonb not null,
    file_sm3        bytea not null check (length(file_sm3) = 32),
    idempotency_key text not null,
    at              timestamptz not null default now(),
    primary key (channel, kind, on_date)
);
create trigger clearings_append_only before update or delete or truncate on core.clearings
    for each statement execute function core.refuse_change();

-- An order stands in one file of one channel, ever.
create table core.clearing_lines (
    order_id   text primary key,
    channel    text not null,
    kind       text not null,
    on_date    date not null,
    amount_fen bigint not null check (amount_fen > 0),
    foreign key (channel, kind, on_date) references core.clearings
);
create trigger clearing_lines_append_only before update or delete or truncate on core.clearing_lines
    for each statement execute function core.refuse_change();

create index payout_events_paid on core.payout_events (at) where state = 'paid';
create index debit_events_paid on core.debit_events (at) where state = 'paid';

grant select, insert on core.clearings, core.clearing_lines to biyi_app;
