-- Audit: every change leaves an entry in its own transaction; a notary seals entries into blocks and signs
-- checkpoints (docs/decisions/024). Runs as biyi_owner. The core has no right here at all: entries come from
-- triggers, so no way of writing can leave one out or make one up. biyi_audit reads, and adds blocks and
-- checkpoints; nobody changes or deletes anything.

create schema audit;

-- The chain's id: another database's blocks cannot be spliced in.
create table audit.chain (
    only_row boolean primary key default true check (only_row),
    chain_id text not null default gen_random_uuid()::text
);
insert into audit.chain default values;

-- One line of JSON an entry, hashed as it stands. Ids, amounts and dates; never personal data in clear.
create table audit.entries (
    xid      xid8 not null default pg_current_xact_id(),
    entry_id bigint generated always as identity,
    line     text not null,
    primary key (xid, entry_id)
);

-- `line` is what is hashed, `digests` the leaves of its entries end to end (32 bytes each).
create table audit.blocks (
    number  bigint primary key check (number > 0),
    upto    xid8 not null unique,
    line    text not null,
    digests bytea not null check (length(digests) % 32 = 0),
    hash    bytea not null check (length(hash) = 32)
);

-- The chain of a site's notary lies in the first cell that is at home there.
create table audit.checkpoints (
    site      text not null,
    number    bigint not null check (number > 0),
    line      text not null,
    signature bytea not null check (length(signature) = 64),
    hash      bytea not null check (length(hash) = 32),
    primary key (site, number)
);

create function audit.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'audit.% is append-only: % refused', tg_table_name, tg_op using errcode = 'BY103';
end $$;
create trigger append_only before update or delete or truncate on audit.entries
    for each statement execute function audit.refuse_change();
create trigger append_only before update or delete or truncate on audit.blocks
    for each statement execute function audit.refuse_change();
create trigger append_only before update or delete or truncate on audit.checkpoints
    for each statement execute function audit.refuse_change();
create trigger append_only before update or delete or truncate on audit.chain
    for each statement execute function audit.refuse_change();

-- What a command did, as its outbox row tells it, beside what is kept of the command itself. Where a loan
-- stands afterwards follows from what was done and is left out, as is what is null. `actor`: the member of
-- staff, or what the session set as biyi.actor.
create function audit.note_told() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    ran core.commands;
begin
    select * into ran from core.commands where idempotency_key = new.idempotency_key;
    insert into audit.entries (line) values (jsonb_strip_nulls(jsonb_build_object(
        'at', to_char(new.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'what', new.topic, 'of', new.key, 'key', new.idempotency_key,
        'actor', coalesce(new.payload ->> 'staff', nullif(current_setting('biyi.actor', true), '')),
        'role', session_user, 'kind', ran.kind, 'status', ran.status, 'epoch', ran.epoch,
        'site', ran.committed_by, 'request', encode(ran.request_sm3, 'hex'),
        'body', new.payload - 'loan'))::text);
    return null;
end $$;
revoke all on function audit.note_told() from public;
create trigger told_is_audited after insert on core.outbox
    for each row execute function audit.note_told();

-- A row of a table that changes without a command: what it says now.
create function audit.note_row() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into audit.entries (line) values (jsonb_strip_nulls(jsonb_build_object(
        'at', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'what', tg_table_name || '.' || lower(tg_op), 'role', session_user,
        'actor', nullif(current_setting('biyi.actor', true), ''),
        'body', to_jsonb(new)))::text);
    return null;
end $$;
revoke all on function audit.note_row() from public;
create trigger payout_event_is_audited after insert on core.payout_events
    for each row execute function audit.note_row();
create trigger business_date_is_audited after update on core.business_date
    for each row execute function audit.note_row();

grant usage on schema audit to biyi_audit;
grant select on all tables in schema audit to biyi_audit;
grant insert on audit.blocks, audit.checkpoints to biyi_audit;
