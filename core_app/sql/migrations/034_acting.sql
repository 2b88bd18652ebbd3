-- Who acts, in every entry of the audit: `biyi.actor` travels with the epoch's guard at the head of each
-- transaction and costs no statement of its own. It names a caller (`channel:app`, `customer:C...`,
-- `staff:li.wei`), or, where several commands share a transaction, is a JSON object of callers by key.
create function audit.acting(key text) returns text language sql stable set search_path = pg_catalog, pg_temp as $$
    select case when left(set, 1) = '{' then set::jsonb ->> key else nullif(set, '') end
    from current_setting('biyi.actor', true) as set
$$;
revoke all on function audit.acting(text) from public;

create or replace function audit.note_told() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    ran core.commands;
begin
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
    insert into audit.entries (line) values (jsonb_strip_nulls(jsonb_build_object(
        'at', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'what', tg_table_name || '.' || lower(tg_op), 'role', session_user,
        'actor', audit.acting(''), 'body', to_jsonb(new)))::text);
    return null;
end $$;
