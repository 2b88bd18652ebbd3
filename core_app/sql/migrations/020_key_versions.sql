-- Key versions of sealed columns: rows of one version only, none under a retired one. Runs as biyi_owner.

create schema keys;

-- The key version that a sealed value names (compliance/protection/fields.py: format byte, two bytes version).
create function keys.sealed_version(stored bytea) returns integer language sql immutable strict parallel safe as
    'select get_byte(stored, 1) * 256 + get_byte(stored, 2)';

-- A customer's row is sealed whole, by one version, and nothing in clear gets into it: a sealed value has its
-- format byte and is 31 bytes or more.
alter table core.customers add constraint customers_sealed check (
    least(length(name), length(id_number), length(phone)) >= 31
    and get_byte(name, 0) = 1 and get_byte(id_number, 0) = 1 and get_byte(phone, 0) = 1
    and keys.sealed_version(name) = keys.sealed_version(id_number)
    and keys.sealed_version(name) = keys.sealed_version(phone));
-- Rows under an old version are found, and counted, by it.
create index customers_by_key_version on core.customers (keys.sealed_version(name), customer_id);

-- Versions that this cell takes no row of any more. Written before the last look, so that what the look did
-- not find cannot come afterwards.
create table keys.closed_versions (
    relation    text not null,
    key_version integer not null check (key_version between 1 and 65535),
    at          timestamptz not null default now(),
    primary key (relation, key_version)
);

-- Rows re-wrapped from one version to another, added up: with the rows that are there, how often each
-- version was used.
create table keys.rewraps (
    relation     text not null,
    from_version integer not null,
    to_version   integer not null,
    row_count    bigint not null check (row_count > 0),
    at           timestamptz not null default now(),
    primary key (relation, from_version, to_version)
);

-- Customers whose key was destroyed on request: their rows are left as they are, and say so.
create table keys.shredded (
    customer_id text primary key,
    at          timestamptz not null default now()
);

create function keys.refuse_closed() returns trigger language plpgsql
    security definer set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from keys.closed_versions c where c.relation = 'core.customers'
               and c.key_version = keys.sealed_version(new.name)) then
        raise exception 'key version % of core.customers takes no rows any more', keys.sealed_version(new.name)
            using errcode = 'BY120';
    end if;
    return new;
end $$;
create trigger customers_open_version before insert or update of name, id_number, phone on core.customers
    for each row execute function keys.refuse_closed();

grant usage on schema keys to biyi_app;
grant select on keys.shredded to biyi_app;
