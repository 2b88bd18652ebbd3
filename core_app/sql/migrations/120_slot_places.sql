-- Which chunks of slots are this cell's, and how one leaves for another cell (docs/decisions/129). Runs as
-- biyi_owner.
--
-- 'dealt': as at set-up; a cell that a chunk was not dealt to has it so too, and nobody sends it anything of it.
-- 'leaving': nobody reads or writes the chunk; 'gone': its rows are in the cell `peer`. Only the owner changes these.
alter table core.day_end_chunks
    add column place       text not null default 'dealt' check (place in ('dealt', 'owned', 'leaving', 'gone')),
    add column place_epoch bigint not null default 0 check (place_epoch >= 0),
    add column peer        text;
create index day_end_chunks_leaving on core.day_end_chunks (chunk) where place = 'leaving';
grant select on core.day_end_chunks to biyi_staff;

-- What a move finds rows by.
create index customers_by_slot on core.customers (slot);
create index limit_changes_by_customer on core.limit_changes (customer_id);
create index bureau_inquiries_by_customer on core.bureau_inquiries (customer_id);
create index staff_look_runs_by_look on core.staff_look_runs (look_id);
-- What refers to a row that is taken away is looked for by these.
create index customer_tiers_by_application on core.customer_tiers (application_id);
create index bureau_inquiries_by_application on core.bureau_inquiries (application_id);
create index identity_evidence_by_customer on core.identity_evidence (customer_id);
create index staff_assignments_by_customer on core.staff_assignments (customer_id);
create index contacts_by_loan on core.contacts (loan_id);
create index complaints_by_loan on core.complaints (loan_id);
create index coupon_events_by_repayment on core.coupon_events (repayment_id);

-- Head of each transaction, sent with its first statement. `wanted`: the chunks it is for, rising. Null: it may
-- write to any of the cell, so it waits for none to be leaving. The locks are taken before any other and are
-- shared; a move takes them exclusive for an instant, so what began before it has ended and what begins later
-- sees what it wrote. What is raised sends the router to look where the chunk is.
create function core.require_place(wanted smallint[]) returns void language plpgsql as $$
begin
    if wanted is null then
        perform pg_advisory_xact_lock_shared(1936486260, 256);  -- 'slot'; 256 is no chunk: it stands for all
        if exists (select from core.day_end_chunks where place = 'leaving') then
            raise exception 'a chunk of slots is leaving this cell' using errcode = 'BY150';
        end if;
    else
        perform pg_advisory_xact_lock_shared(1936486260, c) from unnest(wanted) as c;
        if exists (select from core.day_end_chunks
                   where chunk = any (wanted) and place in ('leaving', 'gone')) then
            raise exception 'chunks % are not all of this cell', wanted using errcode = 'BY150';
        end if;
    end if;
end $$;

-- Whether a row version was written by a transaction that got its id after a snapshot was taken. An id that a row
-- bears has 32 bits; the upper ones follow from the newest id there is.
create function core.is_newer(written_by xid, than pg_snapshot) returns boolean language sql stable as $$
    select n.newest - ((n.newest - written_by::text::bigint) & 4294967295)
        >= pg_snapshot_xmax(than)::text::bigint
    from (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as newest) as n
$$;

-- What befell a chunk here: one row each, in the transaction that did it, and an entry of the audit. `rows_sm3` is
-- over the checksums of all its tables; the cell it left and the cell it came to have the same.
create table core.slot_moves (
    chunk       smallint not null check (chunk between 0 and 255),
    place_epoch bigint not null check (place_epoch > 0),
    what        text not null check (what in ('leaving', 'stayed', 'arrived', 'left')),
    from_cell   text not null,
    to_cell     text not null,
    row_counts  jsonb not null default '{}',
    rows_sm3    bytea check (length(rows_sm3) = 32),
    at          timestamptz not null default now(),
    check ((rows_sm3 is not null) = (what in ('arrived', 'left')))
);
create trigger slot_moves_append_only before update or delete or truncate on core.slot_moves
    for each statement execute function core.refuse_change();
create trigger slot_moves_are_audited after insert on core.slot_moves
    for each row execute function audit.note_row();

-- Rows that move are neither changed nor told anew: the owner of the tables, in a transaction that says it moves
-- them, may delete them from append-only tables, and what was told and audited of them where they were made is
-- not told again. Both its ends are audited as a whole by core.slot_moves. `session_user` cannot be taken on.
create or replace function core.refuse_change() returns trigger language plpgsql as $$
begin
    if session_user = 'biyi_owner' and current_setting('biyi.moving', true) = 'yes'
        and tg_table_schema = 'core' and tg_op <> 'TRUNCATE' and tg_table_name <> 'slot_moves' then
        return null;
    end if;
    raise exception 'core.% is append-only: % refused', tg_table_name, tg_op using errcode = 'BY103';
end $$;

create or replace function core.refuse_unless_purging() returns trigger language plpgsql as $$
begin
    if session_user = 'biyi_owner' and current_setting('biyi.moving', true) = 'yes' then
        return null;
    end if;
    if current_setting('biyi.purging', true) = 'yes'
        and current_user = (select c.relowner::regrole::text from pg_class c where c.oid = tg_relid) then
        return null;
    end if;
    raise exception 'core.% is append-only: % refused', tg_table_name, tg_op using errcode = 'BY103';
end $$;

create or replace function core.note_payout() returns trigger language plpgsql as $$
begin
    if session_user = 'biyi_owner' and current_setting('biyi.moving', true) = 'yes' then
        return null;
    end if;
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
    if session_user = 'biyi_owner' and current_setting('biyi.moving', true) = 'yes' then
        return null;
    end if;
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

create or replace function audit.note_told() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    ran core.commands;
begin
    if session_user = 'biyi_owner' and current_setting('biyi.moving', true) = 'yes' then
        return null;
    end if;
    select * into ran from core.commands where idempotency_key = new.idempotency_key;
    insert into audit.entries (line) values (jsonb_strip_nulls(jsonb_build_object(
        'at', to_char(new.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'what', new.topic, 'of', new.key, 'key', new.idempotency_key,
        'actor', coalesce(new.payload ->> 'staff', audit.acting(new.idempotency_key)),
        'role', session_user, 'kind', ran.kind, 'status', ran.status, 'epoch', ran.epoch,
        'site', ran.committed_by, 'request', encode(ran.request_sm3, 'hex'),
        'body', new.payload - 'loan'))::text);
    return null;
end $$;

create or replace function audit.note_row() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if session_user = 'biyi_owner' and current_setting('biyi.moving', true) = 'yes'
        and tg_table_name <> 'slot_moves' then
        return null;
    end if;
    insert into audit.entries (line) values (jsonb_strip_nulls(jsonb_build_object(
        'at', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'what', tg_table_name || '.' || lower(tg_op), 'role', session_user,
        'actor', audit.acting(''), 'body', to_jsonb(new)))::text);
    return null;
end $$;
