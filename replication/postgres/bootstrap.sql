-- Schema biyi: under which epoch this copy may write, and the guard every write transaction calls.
-- Owned by biyi_admin: neither the core nor its migrations can change it.
revoke all on database biyi from public;
grant connect on database biyi to biyi_owner, biyi_app, biyi_payer, biyi_notices, biyi_staff, biyi_read, biyi_audit, biyi_report, biyi_ueba;
create schema if not exists biyi;
grant usage on schema biyi to biyi_owner, biyi_app, biyi_payer, biyi_notices, biyi_staff, biyi_read, biyi_audit, biyi_ueba;

create table if not exists biyi.epoch (
    one   boolean primary key default true check (one),
    epoch bigint not null,
    copy  text not null,
    at    timestamptz not null
);
grant select on biyi.epoch to biyi_owner, biyi_app, biyi_payer, biyi_notices, biyi_staff, biyi_read, biyi_audit, biyi_ueba;

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
grant execute on function biyi.require_epoch(bigint) to biyi_owner, biyi_app, biyi_payer, biyi_notices, biyi_staff, biyi_audit;

-- Up to which instant this copy holds everything its primary had written: the primary's clock, and at
-- a standby the time of the sender's last word when everything it spoke of is replayed. For the age of
-- what is read here, never for a decision. As biyi_admin: others do not see the WAL receiver.
create or replace function biyi.copy_as_of() returns timestamptz
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select case
        when not pg_is_in_recovery() then statement_timestamp()
        else coalesce(
            (select last_msg_send_time from pg_stat_wal_receiver
             where status = 'streaming' and latest_end_lsn <= pg_last_wal_replay_lsn()),
            pg_last_xact_replay_timestamp())
        end
$$;
revoke all on function biyi.copy_as_of() from public;
grant execute on function biyi.copy_as_of() to biyi_read, biyi_ueba;
