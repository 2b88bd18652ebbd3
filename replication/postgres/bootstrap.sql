-- Schema biyi: under which epoch this copy may write, and the guard every write transaction calls.
-- Owned by biyi_admin: neither the core nor its migrations can change it.
revoke all on database biyi from public;
grant connect on database biyi to biyi_owner, biyi_app;
create schema if not exists biyi;
grant usage on schema biyi to biyi_owner, biyi_app;

create table if not exists biyi.epoch (
    one   boolean primary key default true check (one),
    epoch bigint not null,
    copy  text not null,
    at    timestamptz not null
);
grant select on biyi.epoch to biyi_owner, biyi_app;

-- BY001: the caller believes in another epoch. BY002: the session lowered its durability.
create or replace function biyi.require_epoch(wanted bigint) returns void
language plpgsql as $$
declare
    found_epoch bigint;
begin
    select e.epoch into found_epoch from biyi.epoch as e;
    if found_epoch is distinct from wanted then
        raise exception 'epoch is %, the transaction is for %', found_epoch, wanted using errcode = 'BY001';
    end if;
    if pg_catalog.current_setting('synchronous_commit') not in ('on', 'remote_apply') then
        raise exception 'synchronous_commit is lowered' using errcode = 'BY002';
    end if;
end
$$;
revoke all on function biyi.require_epoch(bigint) from public;
grant execute on function biyi.require_epoch(bigint) to biyi_owner, biyi_app;
