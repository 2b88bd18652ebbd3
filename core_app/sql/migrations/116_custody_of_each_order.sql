-- Where each moved order stands with the channel that moved it, until files, orders and ledger agree. Runs as
-- biyi_owner.

-- A corrected file is a later one of the same day: what it says holds, what the earlier one said stays.
alter table core.clearing_lines drop constraint clearing_lines_channel_kind_on_date_fkey;
alter table core.clearings
    add column revision integer not null default 1 check (revision > 0),
    drop constraint clearings_pkey,
    add primary key (channel, kind, on_date, revision);
alter table core.clearing_lines
    add column revision integer not null default 1,
    drop constraint clearing_lines_pkey,
    add primary key (order_id, channel, kind, on_date, revision),
    add foreign key (channel, kind, on_date, revision) references core.clearings;
create index clearing_lines_of_file on core.clearing_lines (channel, kind, on_date);

-- One row an order and a channel that paid it or claims it; `on_date` is the calendar's day of the first of
-- both. `standing` is what was found last, `note` the figures of it, `since` when that began. `reported_on`:
-- the business date on which its money was moved into custody, once.
create table core.custody (
    order_id        text not null,
    channel         text not null,
    kind            text not null check (kind in ('payments', 'debits')),
    on_date         date not null,
    standing        text not null default 'no_file' check (standing in ('no_file', 'no_order', 'not_paid',
        'amount', 'ledger', 'twice', 'withdrawn', 'agrees')),
    note            text not null default '',
    since           timestamptz not null default now(),
    reported_on     date,
    idempotency_key text not null default '',
    at              timestamptz not null default now(),
    primary key (order_id, channel),
    check (standing <> 'agrees' or reported_on is not null)
);
-- Nothing is moved into custody twice, whichever channel claims it.
create unique index custody_reported_once on core.custody (order_id) where reported_on is not null;
create index custody_open on core.custody (channel, kind, on_date) where standing <> 'agrees';

create function core.keep_reported() returns trigger language plpgsql as $$
begin
    if old.reported_on is not null and old.reported_on is distinct from new.reported_on then
        raise exception 'order % is in custody since %: reported once', old.order_id, old.reported_on
            using errcode = 'BY103';
    end if;
    return new;
end $$;
create trigger custody_reported before update on core.custody
    for each row execute function core.keep_reported();
create trigger custody_kept before delete or truncate on core.custody
    for each statement execute function core.refuse_change();

-- Whatever pays an order leaves its row, in the same transaction.
create or replace function core.note_payout() returns trigger language plpgsql as $$
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
    if new.state = 'paid' then
        insert into core.custody (order_id, channel, kind, on_date)
        values (new.order_id, new.channel, 'payments', (new.changed_at at time zone 'Asia/Shanghai')::date)
        on conflict do nothing;  -- the channel's file was here first
    end if;
    return null;
end $$;
create or replace function core.note_debit() returns trigger language plpgsql as $$
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
    if new.state = 'paid' then
        insert into core.custody (order_id, channel, kind, on_date)
        values (new.order_id, new.channel, 'debits', (new.changed_at at time zone 'Asia/Shanghai')::date)
        on conflict do nothing;
    end if;
    return null;
end $$;

-- What was paid before. It was moved with its channel's first file unless that file's differences name it;
-- the rest is looked at by the next day-end.
insert into core.custody (order_id, channel, kind, on_date, standing, since, reported_on, at)
select e.order_id, e.channel, e.kind, (e.at at time zone 'Asia/Shanghai')::date,
       case when m.moved_on is null then 'no_file' else 'agrees' end, e.at, m.moved_on, e.at
from (
    select order_id, channel, 'payments' as kind, at from core.payout_events where state = 'paid'
    union all
    select order_id, channel, 'debits', at from core.debit_events where state = 'paid'
) as e
left join lateral (
    select (c.at at time zone 'Asia/Shanghai')::date as moved_on
    from core.clearing_lines l join core.clearings c using (channel, kind, on_date, revision)
    where l.order_id = e.order_id and l.channel = e.channel and not exists (
        select from jsonb_array_elements_text(c.differences) as d (said)
        where starts_with(d.said, e.order_id || ':'))
    order by c.at limit 1
) as m on true
on conflict do nothing;

grant select, insert on core.custody to biyi_app;
grant insert (order_id, channel, kind, on_date) on core.custody to biyi_payer;
grant update (standing, note, since, reported_on, idempotency_key) on core.custody to biyi_app;
