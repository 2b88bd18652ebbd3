-- Key versions of the administrators' second factor, as 020 has them for customers. Runs as biyi_owner.

alter table access.accounts add constraint accounts_sealed check (
    totp_secret is null or (length(totp_secret) >= 31 and get_byte(totp_secret, 0) = 1));
create index accounts_by_key_version on access.accounts (keys.sealed_version(totp_secret), staff)
    where totp_secret is not null;

-- One guard for every table with sealed columns: the trigger names the columns, the rows of closed versions
-- are refused whichever of them holds one. `to_jsonb` of a bytea is its text, so the value is read as such.
create function keys.refuse_closed_columns() returns trigger language plpgsql
    security definer set search_path = pg_catalog, pg_temp as $$
declare
    whole constant jsonb := to_jsonb(new);
    guarded constant text := tg_table_schema || '.' || tg_table_name;
    found integer;
begin
    select c.key_version into found from keys.closed_versions c, unnest(tg_argv) as name
        where c.relation = guarded
            and c.key_version = keys.sealed_version((whole ->> name)::bytea) limit 1;
    if found is not null then
        raise exception 'key version % of % takes no rows any more', found, guarded using errcode = 'BY120';
    end if;
    return new;
end $$;
create trigger accounts_open_version before insert or update of totp_secret on access.accounts
    for each row execute function keys.refuse_closed_columns('totp_secret');

-- Rows are re-wrapped away from a version that biyi_staff seals with; it need not know of it.
revoke all on function keys.refuse_closed_columns() from public;
