-- What was committed after a snapshot, as two sums: how much a loss of this site would cost while no copy
-- at the other site has it. Runs as biyi_owner. A ledger line carries its transaction's id, as an outbox
-- row does, so that the sums follow commits and not clocks, and no transaction that committed late is
-- missed. Lines that are there already get this migration's own id.

alter table core.entries add column xid xid8 not null default pg_current_xact_id();
-- Debit lines only: they are what is summed, and half of the index is less to write.
create index entries_by_xid on core.entries (xid) where amount_fen > 0;

-- commits: transactions that ran a command or posted a ledger line. moved_fen: the debit side of the
-- ledger lines they posted, so each movement of money counts once, whichever way it went.
create function core.money_posted_since(since pg_snapshot, out commits bigint, out moved_fen bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    with told as (
        select o.xid from core.outbox o
        where o.xid >= pg_snapshot_xmin(since) and not pg_visible_in_snapshot(o.xid, since)
    ), posted as (
        select e.xid, e.amount_fen from core.entries e
        where e.amount_fen > 0 and e.xid >= pg_snapshot_xmin(since) and not pg_visible_in_snapshot(e.xid, since)
    )
    select (select count(*) from (select xid from told union select xid from posted) as changed),
           (select coalesce(sum(amount_fen), 0)::bigint from posted)
$$;
revoke all on function core.money_posted_since(pg_snapshot) from public;
-- biyi_read learns two sums and sees no line.
grant execute on function core.money_posted_since(pg_snapshot) to biyi_read;
