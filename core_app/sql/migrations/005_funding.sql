-- Funders and what they may still fund, who funded which loan, payouts, voided draws, settlements.
-- Runs as biyi_owner.

-- A partner's share of a loan is not ours: its principal is held for it, what is collected is owed to it.
insert into core.accounts (account, name_en, name_zh) values
    ('1321', 'Assets held for funders', '代理业务资产'),
    ('231401', 'Interest owed to funders', '代理业务负债——利息'),
    ('231402', 'Penalty interest owed to funders', '代理业务负债——罚息');

-- Each funder's lines of a transaction balance by themselves; 'own' is the company.
alter table core.entries add column funder text not null default 'own';
create or replace function core.check_entries() returns trigger language plpgsql as $$
begin
    if exists (
        select from inserted group by transaction_id, funder, currency having sum(amount_fen) <> 0
    ) then
        raise exception 'entries of a transaction do not sum to zero' using errcode = 'BY101';
    end if;
    if exists (select from inserted where account not in (select account from core.accounts)) then
        raise exception 'an entry names an account that is not in the chart' using errcode = 'BY102';
    end if;
    return null;
end $$;
-- Settlement reads a partner's day; our own lines, the most, pay nothing for it.
create index entries_by_partner_day on core.entries (funder, booked_on) where funder <> 'own';

-- One row a published version; the document is canonical JSON, its SM3 is of exactly these bytes.
create table core.funder_versions (
    funder          text not null check (funder ~ '^[a-z][a-z0-9_]{1,39}$' and funder <> 'own'),
    version         integer not null check (version > 0),
    document        text not null,
    document_sm3    bytea not null check (length(document_sm3) = 32),
    published_on    date not null,
    idempotency_key text not null,
    at              timestamptz not null default now(),
    primary key (funder, version)
);
create trigger funder_versions_append_only before update or delete or truncate on core.funder_versions
    for each statement execute function core.refuse_change();

-- This cell's share of each funder's quota, and how much of it is used; null: the funder set no such limit.
create table core.funder_quotas (
    funder       text primary key,
    total_fen    bigint,
    day_fen      bigint,
    used_fen     bigint not null default 0 check (used_fen >= 0),
    day_used_fen bigint not null default 0 check (day_used_fen >= 0),
    used_on      date not null default '-infinity',
    stopped      boolean not null default false,
    constraint quota_total check (used_fen <= total_fen),
    constraint quota_day check (day_used_fen <= day_fen)
) with (fillfactor = 50);  -- each joint draw updates a row of it in place

-- Who funds a loan, the lead last. Instalments and repayments are split by these shares cumulatively, so
-- a funder's part of any total follows from the row and the total alone.
create table core.loan_funders (
    loan_id         text not null references core.loans,
    place           smallint not null check (place >= 0),
    funder          text not null,
    funder_version  integer check ((funder = 'own') = (funder_version is null)),
    share           numeric(9, 8) not null check (share > 0 and share <= 1),
    principal_fen   bigint not null check (principal_fen >= 0),
    interest_fen    bigint not null check (interest_fen >= 0),
    settle_in_days  integer not null check (settle_in_days >= 0),
    passed_over     jsonb not null default '[]',
    idempotency_key text not null,
    at              timestamptz not null default now(),
    primary key (loan_id, place),
    unique (loan_id, funder)
);
insert into core.loan_funders (loan_id, place, funder, share, principal_fen, interest_fen, settle_in_days,
    idempotency_key)
select loan_id, 0, 'own', 1, principal_fen, interest_fen, 0, idempotency_key from core.loans;
create trigger loan_funders_append_only before update or delete or truncate on core.loan_funders
    for each statement execute function core.refuse_change();

-- One order a draw, written in the draw's transaction. `channel` and `valid_until` are written before the
-- channel is asked: whoever finds the order later knows where its fate is to be asked for.
create table core.payout_orders (
    order_id        text primary key check (order_id ~ '^P[0-9a-f]{3}-[0-9a-f]{32}$'),
    loan_id         text not null unique references core.loans,
    amount_fen      bigint not null check (amount_fen > 0),
    payee_kind      text not null check (payee_kind in ('borrower', 'merchant')),
    payee           text not null,
    channel_kinds   text[] not null check (cardinality(channel_kinds) > 0),
    state           text not null default 'ordered'
        check (state in ('ordered', 'sent', 'unknown', 'paid', 'failed')),
    channel         text check (channel is not null or state in ('ordered', 'unknown', 'failed')),
    refused_by      text[] not null default '{}',
    valid_until     timestamptz,
    due_at          timestamptz not null default now(),
    give_up_at      timestamptz not null,
    note            text not null default '',
    epoch           bigint not null,
    changed_by      text not null,
    changed_at      timestamptz not null default now(),
    idempotency_key text not null,
    at              timestamptz not null default now()
) with (fillfactor = 70);
create index payout_orders_due on core.payout_orders (due_at) where state in ('ordered', 'sent', 'unknown');

create table core.payout_events (
    event_id bigint generated always as identity primary key,
    order_id text not null,
    state    text not null,
    channel  text,
    note     text not null,
    epoch    bigint not null,
    by_site  text not null,
    at       timestamptz not null
);
create index payout_events_by_order on core.payout_events (order_id, event_id);
create trigger payout_events_append_only before update or delete or truncate on core.payout_events
    for each statement execute function core.refuse_change();

-- The history cannot be forgotten by a statement, and what is paid or failed stays so.
create function core.note_payout() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and old.state in ('paid', 'failed') then
        raise exception 'payout % is %: final', old.order_id, old.state using errcode = 'BY104';
    end if;
    if tg_op = 'UPDATE' and (old.state, old.channel, old.note) is not distinct from
                            (new.state, new.channel, new.note) then
        return null;  -- only put off
    end if;
    insert into core.payout_events (order_id, state, channel, note, epoch, by_site, at)
    values (new.order_id, new.state, new.channel, new.note, new.epoch, new.changed_by, new.changed_at);
    return null;
end $$;
create trigger payout_orders_noted after insert or update on core.payout_orders
    for each row execute function core.note_payout();
create trigger payout_orders_kept before delete or truncate on core.payout_orders
    for each statement execute function core.refuse_change();

-- A draw whose money never left: its entries are reversed, its quota is free again.
create table core.draw_voids (
    loan_id         text primary key references core.loans,
    reason          text not null,
    voided_on       date not null,
    idempotency_key text not null,
    at              timestamptz not null default now()
);
create trigger draw_voids_append_only before update or delete or truncate on core.draw_voids
    for each statement execute function core.refuse_change();

-- What a partner was told of one business day of this cell; the SM3 is of this cell's lines.
create table core.settlements (
    funder          text not null,
    on_date         date not null,
    lines           integer not null check (lines >= 0),
    drawn_fen       bigint not null,
    principal_fen   bigint not null,
    interest_fen    bigint not null,
    penalty_fen     bigint not null,
    lines_sm3       bytea not null check (length(lines_sm3) = 32),
    idempotency_key text not null,
    at              timestamptz not null default now(),
    primary key (funder, on_date)
);
create trigger settlements_append_only before update or delete or truncate on core.settlements
    for each statement execute function core.refuse_change();

grant select on core.funder_versions, core.funder_quotas, core.loan_funders, core.payout_orders,
    core.payout_events, core.draw_voids, core.settlements to biyi_app;
grant insert on core.funder_versions, core.funder_quotas, core.loan_funders, core.payout_orders,
    core.payout_events, core.draw_voids, core.settlements to biyi_app;
grant update (total_fen, day_fen, used_fen, day_used_fen, used_on, stopped) on core.funder_quotas to biyi_app;
grant update (state, channel, refused_by, valid_until, due_at, note, epoch, changed_by, changed_at)
    on core.payout_orders to biyi_app;
