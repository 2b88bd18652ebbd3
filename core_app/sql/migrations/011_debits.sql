-- Instalments collected when they are due: agreements of customers, debit orders, what became of them.
-- Runs as biyi_owner.

insert into core.accounts (account, name_en, name_zh) values ('2241', 'Other payables', '其他应付款');

-- The newest row of a customer holds; a null agreement ends the one before it. An agreement is the channel's
-- number for a bound account, never the account's own.
create table core.debit_agreements (
    agreement_id    bigint generated always as identity primary key,
    customer_id     text not null references core.customers,
    agreement       text check (agreement ~ '^[A-Za-z0-9._-]{4,64}$'),
    agreed_on       date not null,
    idempotency_key text not null,
    at              timestamptz not null default now()
);
create index debit_agreements_newest on core.debit_agreements (customer_id, agreement_id desc);
create trigger debit_agreements_append_only before update or delete or truncate on core.debit_agreements
    for each statement execute function core.refuse_change();

-- One order an attempt; the day's first is written by the day-end before it. What is due is asked for when the
-- order is first looked at. `part_fen` is written before it is booked on the loan; the rest is owed back.
create table core.debit_orders (
    order_id        text primary key check (order_id ~ '^D[0-9a-f]{3}-[0-9a-f]{32}$'),
    loan_id         text not null references core.loans,
    on_date         date not null,
    attempt         smallint not null check (attempt between 1 and attempts_most),
    attempts_most   smallint not null,
    agreement       text not null,
    amount_fen      bigint check (amount_fen > 0),
    channel_kinds   text[] not null check (cardinality(channel_kinds) > 0),
    state           text not null default 'ordered'
        check (state in ('ordered', 'sent', 'unknown', 'paid', 'failed', 'needless')),
    channel         text check (channel is not null or state in ('ordered', 'unknown', 'failed', 'needless')),
    refused_by      text[] not null default '{}',
    valid_until     timestamptz,
    due_at          timestamptz not null,
    give_up_at      timestamptz not null,
    note            text not null default '',
    part_fen        bigint check (part_fen between 0 and amount_fen),
    booked_at       timestamptz check (booked_at is null or (state = 'paid' and part_fen is not null)),
    epoch           bigint not null,
    changed_by      text not null,
    changed_at      timestamptz not null default now(),
    idempotency_key text not null,
    at              timestamptz not null default now(),
    unique (loan_id, on_date, attempt),
    check (amount_fen is not null or state in ('ordered', 'needless'))
) with (fillfactor = 70);
create index debit_orders_due on core.debit_orders (due_at) where state in ('ordered', 'sent', 'unknown');
create index debit_orders_to_book on core.debit_orders (order_id) where state = 'paid' and booked_at is null;

create table core.debit_events (
    event_id bigint generated always as identity primary key,
    order_id text not null,
    state    text not null,
    channel  text,
    note     text not null,
    epoch    bigint not null,
    by_site  text not null,
    at       timestamptz not null
);
create index debit_events_by_order on core.debit_events (order_id, event_id);
create trigger debit_events_append_only before update or delete or truncate on core.debit_events
    for each statement execute function core.refuse_change();

create function core.note_debit() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and old.state in ('paid', 'failed', 'needless') and old.state <> new.state then
        raise exception 'debit % is %: final', old.order_id, old.state using errcode = 'BY104';
    end if;
    if tg_op = 'UPDATE' and (old.state, old.channel, old.note) is not distinct from
                            (new.state, new.channel, new.note) then
        return null;
    end if;
    insert into core.debit_events (order_id, state, channel, note, epoch, by_site, at)
    values (new.order_id, new.state, new.channel, new.note, new.epoch, new.changed_by, new.changed_at);
    return null;
end $$;
create trigger debit_orders_noted after insert or update on core.debit_orders
    for each row execute function core.note_debit();
create trigger debit_orders_kept before delete or truncate on core.debit_orders
    for each statement execute function core.refuse_change();

grant select, insert on core.debit_agreements, core.debit_orders, core.debit_events to biyi_app;
grant update (amount_fen, state, channel, refused_by, valid_until, due_at, note, part_fen, booked_at, epoch,
    changed_by, changed_at) on core.debit_orders to biyi_app;
